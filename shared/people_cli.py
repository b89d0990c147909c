"""``countersign people …``: adding people and giving them links and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import click

from shared.errors import PipelineError
from shared.people import TOKEN_LIFE, People
from shared.people_file import Account
from shared.roles import ROLES


@dataclass(frozen=True, kw_only=True)
class PeopleCommands:
    """What the commands work on; the group's ``ctx.obj``."""

    people: People
    public_url: str

    def link(self, account: Account) -> str:
        secret = self.people.make_link(account.id)
        return f"{self.public_url.rstrip('/')}/sign-in/{secret}"


class Commands(click.Group):
    """Errors of ours end a command with their sentence, not with a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def people() -> None:
    """Who may use this installation."""


@people.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), required=True)
@click.option("--email", help="Address; it can be typed at sign-in in place of the id.")
@click.pass_obj
def add(commands: PeopleCommands, name: str, roles: tuple[str, ...], email: str | None) -> None:
    """Add NAME and print a one-time sign-in link."""
    account = commands.people.add(name, roles=roles, email=email)
    click.echo(f"{account.name} is here as “{account.id}”: {', '.join(account.roles)}.")
    _print_link(commands, account)


@people.command()
@click.argument("name")
@click.pass_obj
def link(commands: PeopleCommands, name: str) -> None:
    """Print a new one-time sign-in link; it lives 15 minutes."""
    _print_link(commands, _found(commands, name))


@people.command()
@click.argument("name")
@click.pass_obj
def disable(commands: PeopleCommands, name: str) -> None:
    """Sign NAME out everywhere, at once, and keep them out."""
    account = commands.people.disable(_found(commands, name).id)
    click.echo(f"{account.name} is disabled.")


@people.command()
@click.argument("name")
@click.pass_obj
def enable(commands: PeopleCommands, name: str) -> None:
    """Let NAME in again."""
    account = commands.people.enable(_found(commands, name).id)
    click.echo(f"{account.name} is enabled.")


@people.command(name="list")
@click.pass_obj
def list_(commands: PeopleCommands) -> None:
    """Everybody, with roles."""
    for account in commands.people.all():
        mark = "  (disabled)" if account.disabled else ""
        click.echo(f"{account.id:<24} {account.name:<30} {', '.join(account.roles)}{mark}")


@people.command()
@click.argument("name")
@click.option("--called", default="made on the command line", help="What the token is for.")
@click.option("--days", default=TOKEN_LIFE.days, type=click.IntRange(1, 3650), show_default=True)
@click.pass_obj
def token(commands: PeopleCommands, name: str, called: str, days: int) -> None:
    """Print a new API token of NAME; it is shown this once."""
    account = _found(commands, name)
    click.echo(commands.people.make_token(account.id, called, life=timedelta(days=days)))


@people.command()
@click.argument("name")
@click.password_option()
@click.pass_obj
def password(commands: PeopleCommands, name: str, password: str) -> None:
    """Set the password of NAME; it is asked for, not given as an argument."""
    account = _found(commands, name)
    commands.people.set_password(account.id, password)
    click.echo(f"{account.name} can sign in as “{account.id}”.")


@people.command()
@click.argument("name")
@click.argument("roles", nargs=-1, required=True, type=click.Choice(ROLES))
@click.pass_obj
def roles(commands: PeopleCommands, name: str, roles: tuple[str, ...]) -> None:
    """Give NAME exactly these ROLES."""
    account = commands.people.set_roles(_found(commands, name).id, roles)
    click.echo(f"{account.name}: {', '.join(account.roles)}.")


def _found(commands: PeopleCommands, name: str) -> Account:
    account = commands.people.find(name)
    if account is None:
        raise click.ClickException(f"Nobody is called “{name}”: see `countersign people list`.")
    return account


def _print_link(commands: PeopleCommands, account: Account) -> None:
    click.echo("Sign in within 15 minutes, once:")
    click.echo(f"  {commands.link(account)}")
