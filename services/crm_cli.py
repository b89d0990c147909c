"""The commands `countersign crm`: letting our apps into the CRMs, and what became of it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from shared.errors import ConfigurationError
from shared.settings import load_settings

if TYPE_CHECKING:
    from services.wiring import Home
    from shared.crm.accounts import Account
    from shared.crm.grants import Grants

_WRITE = click.option("--write", is_flag=True, help="The app that writes, not the one that reads.")


@click.group()
def crm() -> None:
    """The accounts at CRMs."""


@crm.command()
@click.argument("account")
@_WRITE
@click.pass_obj
def authorize(home: Home, account: str, *, write: bool) -> None:
    """Let the app of ACCOUNT into the CRM: open the address, agree, paste where it leads."""
    from shared.crm import FLOWS
    from shared.crm.oauth import code_of

    one = _account(home, account, write=write)
    if one.vendor not in FLOWS:
        raise ConfigurationError(f"[{account}] needs no authorisation: {one.vendor} takes a token")
    flow, state, grants = FLOWS[one.vendor](one), secrets.token_urlsafe(32), one.need_grants()
    click.echo(f"Open this as an admin of the CRM:\n\n{flow.address(state)}\n")
    click.echo("You are then sent to an address that may show nothing. Paste it here whole.")
    grants.keep(one.name, flow.first(code_of(click.prompt("Address"), state)))
    click.echo(f"[{account}] is authorised to {'write' if write else 'read'}.")


@crm.command()
@_WRITE
@click.pass_obj
def grants(home: Home, *, write: bool) -> None:
    """What became of the grants: ready, or what to do."""
    found = grants_of(home, write=write)
    for one in found.states() if found else ():
        click.echo(f"{one.account:20} {one.state:11} {one.reason}".rstrip())


@crm.command()
@_WRITE
@click.pass_obj
def reseal(home: Home, *, write: bool) -> None:
    """Seal the grants with the key in use, after `keys rotate crm-read-grants` or `…write…`."""
    found = grants_of(home, write=write)
    click.echo(f"{found.reseal() if found else 0} grants are sealed with the key in use.")


def _account(home: Home, name: str, *, write: bool) -> Account:
    from shared.crm.accounts import accounts_of

    path = home.crms(write=write)
    if not path.exists():
        raise ConfigurationError(f"no CRM accounts yet: write {path}")
    for one in accounts_of(path.read_text(encoding="utf-8"), grants_of(home, write=write)):
        if one.name == name:
            return one
    raise ConfigurationError(f"{path} has no account [{name}]")


def grants_of(home: Home, *, write: bool) -> Grants | None:
    """The grants of one side; ``None`` where there is no such side."""
    from shared.crm.grant_settings import ReadGrantSettings, WriteGrantSettings

    given = home.environment("writer", "worker")
    if write:
        return load_settings(WriteGrantSettings, given).write_grants()
    return load_settings(ReadGrantSettings, given).read_grants()
