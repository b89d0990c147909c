"""`countersign source`: endpoints and their secrets, from the command line."""

from __future__ import annotations

from typing import Any

import click

from services.ingest.endpoints import Endpoints, new_name
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.sources import SOURCES

_NAME = click.option("--name", default=DEFAULT_ENDPOINT, show_default=True, help="Endpoint.")
_SECRET = click.option(
    "--secret", help="The vendor's secret; “-” asks for it. One is made where it is left out."
)


@click.group()
def source() -> None:
    """Where webhooks come in, and what each sender needs."""


@source.command("add")
@click.argument("source_name", metavar="SOURCE", type=click.Choice(list(SOURCES)))
@click.option("--name", help=f"Endpoint; {DEFAULT_ENDPOINT}, or an unguessable one if it must be.")
@_SECRET
@click.option("--public-url", help="Its whole address, where a proxy changes the path.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the source.")
@click.pass_obj
def add(
    home: Any,
    source_name: str,
    name: str | None,
    secret: str | None,
    public_url: str | None,
    options: tuple[str, ...],
) -> None:
    """Open an endpoint; shows the address to paste and, once, its secret."""
    given = dict(option.partition("=")[::2] for option in options)
    unknown = set(given) - set(SOURCES[source_name].setup.options)
    if unknown:
        raise click.UsageError(f"{source_name} has no option {', '.join(sorted(unknown))}")
    endpoint = Endpoints(home.endpoints).add(
        source_name,
        name or new_name(source_name),
        secrets=(asked,) if (asked := _asked(secret)) else (),
        public_url=public_url,
        options=given,
    )
    _show(home, endpoint, is_given=secret is not None)


@source.command("rotate")
@click.argument("source_name", metavar="SOURCE", type=click.Choice(list(SOURCES)))
@_NAME
@_SECRET
@click.pass_obj
def rotate(home: Any, source_name: str, name: str, secret: str | None) -> None:
    """A new secret; the one before stays valid until the next rotation."""
    endpoint = Endpoints(home.endpoints).rotate(source_name, name, secret=_asked(secret))
    _show(home, endpoint, is_given=secret is not None)
    click.echo("The secret before is still accepted; rotate once more to end it.")


@source.command("list")
@click.pass_obj
def list_(home: Any) -> None:
    """Every endpoint with its address; secrets are never shown again."""
    endpoints = Endpoints(home.endpoints).all()
    for endpoint in endpoints:
        count = len(endpoint.secrets)
        state = "NO SECRET: it refuses" if not count else f"{count} secret{'s' * (count > 1)}"
        click.echo(f"{endpoint.source:18}  {_address(home, endpoint)}  {state}")
    if not endpoints:
        click.echo("No endpoints. `countersign source add SOURCE` opens one.")


def _asked(secret: str | None) -> str | None:
    """A secret on the command line stays in the shell's history; “-” keeps it out."""
    return str(click.prompt("Secret", hide_input=True)) if secret == "-" else secret  # noqa: S105


def _address(home: Any, endpoint: Endpoint) -> str:
    return endpoint.public_url or f"{home.public_url.rstrip('/')}{endpoint.path}"


def _show(home: Any, endpoint: Endpoint, *, is_given: bool) -> None:
    setup = SOURCES[endpoint.source].setup
    click.echo(f"Address  {_address(home, endpoint)}")
    click.echo(f"Where    {setup.screen}")
    click.echo(f"Needs    {setup.credential}")
    for name, help_ in setup.options.items():
        click.echo(f"Option   {name} = {endpoint.options.get(name, '')!r}: {help_}")
    if is_given:
        return
    if setup.made_by == "us":
        click.echo(f"Secret   {endpoint.secrets[0]}   (shown this once)")
        return
    name = "" if endpoint.name == DEFAULT_ENDPOINT else f" --name {endpoint.name}"
    click.echo(f"Then     countersign source rotate {endpoint.source}{name} --secret -")
    click.echo(f"         and enter {setup.form}; until then every request is refused")
