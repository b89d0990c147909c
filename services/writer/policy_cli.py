"""`countersign policy check|show|diff`: look at the policy file before it comes into force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from services.writer import policy_store
from services.writer.policy_watch import described, unfit_stages
from services.writer.service import Connectors, WorkerSettings, connectors
from shared.crm.rights import RIGHTS
from shared.db import open_database, reading
from shared.errors import ConfigurationError, CRMUnavailable, Rejected
from shared.policy import Policy, Stage, check_classes, load_policy
from shared.settings import load_settings

FILE = click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)


@click.group()
def policy() -> None:
    """What may be written at all: check a file, show it, compare it with what is in force."""


@policy.command()
@FILE
@click.pass_obj
def check(home: Any, file: Path | None) -> None:
    """Say whether FILE (default: the installation's own) is a valid policy.

    Where the CRM answers, each listed field is held against its own metadata: money, owner,
    consent, stage, sensitive and read-only fields cannot be listed.
    """
    found = load_policy(file or home.policy)
    linked = _linked(home)
    if linked is not None:
        if untried := unfit_stages(found, linked):
            raise ConfigurationError("the policy lists what cannot be tried: " + "; ".join(untried))
        if forbidden := _forbidden(linked, found):
            words = "; ".join(forbidden)
            raise ConfigurationError(f"the policy lists what cannot be listed: {words}")
        _say_where(linked, found)
        _say_limits(linked, found)
    click.echo(f"valid: {len(found.fields)} fields, version {found.version[:16]}")


def _linked(home: Any) -> Connectors | None:
    """The accounts of this installation; nothing, and a word of it, where they cannot be read."""
    try:
        settings = load_settings(WorkerSettings, home.environment("writer", "worker"))
        return connectors(settings, open_database(settings.database_url))
    except ConfigurationError as error:
        click.echo(f"not held against the CRM accounts: {error}")
        return None


def _forbidden(linked: Connectors, found: Policy) -> list[str]:
    """What the CRMs themselves forbid; nothing, and a word of it, where they cannot be asked."""
    try:
        return check_classes(found, described(linked.readers, found))
    except (CRMUnavailable, Rejected) as error:
        click.echo(f"not held against the CRM's own fields: {error}")
        return []


def _say_where(linked: Connectors, found: Policy) -> None:
    for (crm, object_, name), rule in sorted(found.fields.items()):
        if rule.is_open and rule.stage is Stage.SANDBOX:
            account = linked.sandboxes[crm]
            click.echo(f"{crm}.{object_}.{name} is tried in {account}, then promoted by a person")


def _say_limits(linked: Connectors, found: Policy) -> None:
    """What the notes and tasks that this policy opens cannot do in their CRM."""
    opened = {(rule.crm, rule.object) for rule in found.fields.values() if rule.is_open}
    for crm, object_ in sorted(opened):
        if crm in linked.vendors:
            for text in RIGHTS[linked.vendors[crm]].limits.get(object_, ()):
                click.echo(f"{crm}.{object_}: {text}")


@policy.command()
@FILE
@click.pass_obj
def show(home: Any, file: Path | None) -> None:
    """List every field with its mode, stage, approvers, expiry and caps."""
    for (crm, object_, name), rule in sorted(load_policy(file or home.policy).fields.items()):
        click.echo(
            f"{crm}.{object_}.{name:<20} {rule.mode:<10} {rule.stage:<8}"
            f" {'/'.join(rule.roles):<10} {rule.expiry_hours:>3} h"
            f" {rule.per_hour:>4}/h {rule.per_day:>5}/d  {rule.reason}"
        )


@policy.command()
@FILE
@click.pass_obj
def diff(home: Any, file: Path | None) -> None:
    """Compare FILE with the policy in force; “!” marks every field that gains a right."""
    lines = list(policy_store.differences(_in_force(home), load_policy(file or home.policy)))
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo("no difference")


def _in_force(home: Any) -> Policy | None:
    with reading(open_database(home.database("writer"))) as db:
        found = policy_store.current(db)
    return found.policy if found else None
