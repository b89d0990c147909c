"""`countersign dead` and `countersign replay`: what could not be handled, and sending it again."""

from __future__ import annotations

import click

from services.wiring import Home
from shared.bus.letters import Letter, letters
from shared.bus.publisher import Publisher
from shared.bus.topology import parked, work_queues
from shared.errors import NotFound


@click.group()
def dead() -> None:
    """Messages that could not be handled."""


@dead.command("list")
@click.option("--queue", type=click.Choice(work_queues()), help="Only this queue.")
@click.pass_obj
def list_(home: Home, queue: str | None) -> None:
    """Each dead letter with its reason."""
    count = 0
    for letter in letters(home.bus_url, [queue] if queue else None):
        click.echo(f"{letter.message_id}  {letter.queue:10}  {letter.topic:18}  {letter.reason}")
        count += 1
    click.echo(f"{count} dead letters" if count else "No dead letters.")


@dead.command()
@click.argument("message_id")
@click.pass_obj
def show(home: Home, message_id: str) -> None:
    """One dead letter in full."""
    for letter in letters(home.bus_url):
        if letter.message_id == message_id:
            click.echo(f"queue:  {parked(letter.queue)}\nreason: {letter.reason}\n")
            click.echo(letter.delivery.text)
            return
    raise NotFound(f"no dead letter {message_id}: `countersign dead list` shows all")


@click.command()
@click.argument("message_id", required=False)
@click.option("--queue", type=click.Choice(work_queues()), help="All of this queue.")
@click.option("--topic", help="All of this topic.")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.pass_obj
def replay(
    home: Home,
    message_id: str | None,
    queue: str | None,
    topic: str | None,
    *,
    everything: bool,
    dry_run: bool,
) -> None:
    """Send dead letters on their way again: one, or all that match a filter.

    The id is kept, so whatever had its effect already has it once only. They go at once and the
    log does not say who sent them; the page of the dead letters tells it so.
    """
    if not (message_id or queue or topic or everything):
        raise click.UsageError("say which: a message id, --queue, --topic or --all")
    publisher = Publisher(home.bus_url)
    count = 0
    for letter in letters(home.bus_url, [queue] if queue else None):
        wanted = message_id in {None, letter.message_id}
        if not wanted or topic not in {None, letter.topic}:
            continue
        count += 1
        click.echo(f"{'would send' if dry_run else 'sent'}  {letter.message_id}  {letter.topic}")
        if not dry_run:
            _send_again(publisher, letter)
    publisher.close()
    click.echo(f"{count} messages" if count else "Nothing matches.")


def _send_again(publisher: Publisher, letter: Letter) -> None:
    """Publish, confirm, then acknowledge: a crash between doubles it, which the inbox absorbs."""
    delivery = letter.delivery
    publisher.requeue(letter.queue, delivery.message_id, delivery.text)
    publisher.acknowledge([delivery.message])
