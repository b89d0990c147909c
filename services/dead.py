"""`countersign dead` and `countersign replay`: what could not be handled, and sending it again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from services.wiring import Home
from shared.bus.envelope import Envelope, body_of, encode, traceparent
from shared.bus.letters import UNKNOWN, Letter, letters
from shared.bus.publisher import Publisher
from shared.bus.topology import parked, work_queues
from shared.dead_letters import decision
from shared.domain import ids
from shared.domain.schema import now
from shared.domain.topics import TOPICS, Topic
from shared.errors import BrokerUnavailable, NotFound
from shared.outbox import Outgoing


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
@click.option("--reason", default="sent again by hand", help="For the log.")
@click.pass_obj
def replay(
    home: Home,
    message_id: str | None,
    queue: str | None,
    topic: str | None,
    *,
    everything: bool,
    dry_run: bool,
    reason: str,
) -> None:
    """Send dead letters on their way again: one, or all that match a filter.

    Their workers send them within ten seconds, and the log keeps that it was asked for. The id is
    kept, so whatever had its effect already has it once only.
    """
    if not (message_id or queue or topic or everything):
        raise click.UsageError("say which: a message id, --queue, --topic or --all")
    chosen = [
        letter
        for letter in letters(home.bus_url, [queue] if queue else None)
        if message_id in {None, letter.message_id} and topic in {None, letter.topic}
    ]
    for letter in chosen:
        click.echo(f"{'would send' if dry_run else 'sends'}  {letter.message_id}  {letter.topic}")
    if not dry_run:
        _tell(home.bus_url, chosen, reason)
    click.echo(f"{len(chosen)} messages" if chosen else "Nothing matches.")


def _tell(broker_url: str, chosen: Sequence[Letter], reason: str) -> None:
    """Straight to the broker: who runs this needs no database."""
    told = [_replayed(letter, reason) for letter in chosen]
    publisher = Publisher(broker_url)
    refused = publisher.send([Outgoing(id=e.id, topic=e.topic, text=encode(e)) for e in told])
    publisher.close()
    if refused:
        raise BrokerUnavailable(f"the broker refused {len(refused)} of {len(told)}: try again")


def _replayed(letter: Letter, reason: str) -> Envelope:
    subject = f"message/{letter.message_id}"
    chain = subject if letter.chain == UNKNOWN else letter.chain
    topic = Topic.MESSAGE_REPLAYED
    return Envelope(
        id=ids.fresh(),
        topic=topic,
        schema=TOPICS[topic].version,
        chain=chain,
        cause=None,
        actor="person:command-line",
        subject=subject,
        at=now(),
        traceparent=traceparent(chain),
        body=body_of(topic, decision(letter, reason)),
    )
