"""`countersign erase`: a person's content goes from every store; the proofs stay."""

from __future__ import annotations

import click

from services.installation import Installation
from services.wiring import Home
from shared.bus.letters import forget
from shared.bus.publisher import Publisher
from shared.domain.topics import AUDIT


@click.command()
@click.argument("contact")
@click.option("--reason", required=True, help="Why, for the log; do not name the person.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase(home: Home, contact: str, reason: str, *, yes: bool) -> None:
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
    # One process of several may read its own dead letters alone: each worker sees to its own.
    queues = None if isinstance(home, Installation) else [AUDIT]
    publisher = Publisher(home.bus_url)
    forget(publisher, erased.chains, queues)
    publisher.close()
    click.echo(f"{erased.entries} entries in {len(erased.chains)} chains have no content any more.")
    click.echo("Dead letters about them go too. The proofs stay: `countersign verify`.")
    click.echo("The CRM itself was not touched.")
