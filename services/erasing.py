"""`countersign erase`: a person's content goes from every store; the proofs stay."""

from __future__ import annotations

import time
from collections.abc import Collection

import click

from services.installation import Installation
from shared.bus.letters import letters
from shared.bus.publisher import Publisher
from shared.bus.transports.sqlite import file_of
from shared.bus.transports.sqlite.schema import cut_log
from shared.errors import StoreUnavailable

TRIES, PAUSE = 100, 0.1


@click.command()
@click.argument("contact")
@click.option("--reason", required=True, help="Why, for the log; do not name the person.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase(home: Installation, contact: str, reason: str, *, yes: bool) -> None:
    """Erase the person with the e-mail address or phone number CONTACT. It cannot be undone.

    The log and the search are clean when this ends; the services clean their stores when they hear
    of it, within seconds while they run. The CRM is not touched: erase the record there yourself.
    """
    from services.audit.commands import deps_of
    from services.audit.erase import chains_of
    from services.audit.erase import erase as erase_person

    deps = deps_of(home)
    chains = chains_of(deps, contact)
    if not yes:
        click.confirm(f"Erase the content of {len(chains)} chains for ever?", abort=True)
    erased = erase_person(deps, contact, reason=reason, actor="person:command-line")
    dropped = forget_letters(home, set(erased.chains))
    _cut_log_of_bus(home)
    click.echo(f"{erased.entries} entries in {len(erased.chains)} chains have no content any more.")
    if dropped:
        click.echo(f"{dropped} dead letters about them are gone.")
    click.echo("The proofs stay: `countersign verify`. The CRM itself was not touched.")


def forget_letters(home: Installation, chains: Collection[str]) -> int:
    """Take the dead letters of these chains away; returns how many. Raises `BrokerUnavailable`."""
    publisher, count = Publisher(home.bus_url), 0
    for letter in letters(home.bus_url):
        if letter.chain in chains:
            publisher.acknowledge([letter.delivery.message])
            count += 1
    publisher.close()
    return count


def _cut_log_of_bus(home: Installation) -> None:
    """The embedded broker's file forgets what was taken; RabbitMQ drops its segments by itself."""
    if (file := file_of(home.bus_url)) is None:
        return
    for _ in range(TRIES):
        if cut_log(file):
            return
        time.sleep(PAUSE)
    raise StoreUnavailable("the broker's file is busy: run the command again to finish")
