"""`countersign source`: endpoints and their secrets, from the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from services.ingest import setting_up
from services.ingest.deps import WebDeps
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.setting_up import Opened
from services.ingest.sources import KNOWN, SOURCES
from services.ingest.states import Last, endpoint_details, endpoint_states, recent_requests
from shared.domain.schema import rfc3339
from shared.settings import load_settings

ACTOR = "person:command-line"
LOOK_SECONDS = 0.5
_SOURCE = click.argument("source_name", metavar="SOURCE", type=click.Choice(list(SOURCES)))
_NAME = click.option("--name", default=DEFAULT_ENDPOINT, show_default=True, help="Endpoint.")
_SECRET = click.option(
    "--secret", help="The vendor's secret; “-” asks for it. One is made where it is left out."
)


@click.group()
def source() -> None:
    """Where webhooks come in, and what each sender needs."""


@source.command("add")
@_SOURCE
@click.option("--name", default="", help=f"{DEFAULT_ENDPOINT}, or unguessable if it must be.")
@_SECRET
@click.option("--secret-file", "secret_files", multiple=True, help="File that holds the secret.")
@click.option("--public-url", default="", help="Its whole address, where a proxy changes the path.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the source.")
@click.pass_obj
def add(
    home: Any,
    source_name: str,
    name: str,
    secret: str | None,
    secret_files: tuple[str, ...],
    public_url: str,
    options: tuple[str, ...],
) -> None:
    """Open an endpoint; shows the address to paste and, once, its secret."""
    with _deps(home) as deps:
        opened = setting_up.open_endpoint(
            deps,
            source_name,
            actor=ACTOR,
            name=name,
            secret=_asked(secret),
            secret_files=secret_files,
            public_url=public_url,
            options=dict(option.partition("=")[::2] for option in options),
        )
    _show(home, opened)


@source.command("rotate")
@_SOURCE
@_NAME
@_SECRET
@click.pass_obj
def rotate(home: Any, source_name: str, name: str, secret: str | None) -> None:
    """A new secret; the one before stays valid until it is dropped or the next rotation."""
    with _deps(home) as deps:
        opened = setting_up.rotate_secret(
            deps, source_name, name, actor=ACTOR, secret=_asked(secret)
        )
        held = deps.endpoints.secrets(source_name, name)
    _show(home, opened)
    for old in held[1:]:
        click.echo(f"Still valid: {old.mark}; `{_command('drop', opened.endpoint)} {old.mark}`")


@source.command("drop")
@_SOURCE
@click.argument("mark")
@_NAME
@click.pass_obj
def drop(home: Any, source_name: str, mark: str, name: str) -> None:
    """End the secret with this MARK, as `rotate` and `list` show it."""
    with _deps(home) as deps:
        setting_up.drop_secret(deps, source_name, name, mark, actor=ACTOR)
    click.echo(f"The secret {mark} opens nothing any more.")


@source.command("remove")
@_SOURCE
@_NAME
@click.confirmation_option(prompt="Its address answers 404 from then on. Remove it?")
@click.pass_obj
def remove(home: Any, source_name: str, name: str) -> None:
    """Close an endpoint; what came in stays."""
    with _deps(home) as deps:
        setting_up.remove_endpoint(deps, source_name, name, actor=ACTOR)
    click.echo(f"The endpoint {name} of {source_name} is removed.")


@source.command("keep")
@click.argument("source_name", metavar="SOURCE", type=click.Choice(list(KNOWN)))
@click.argument("days", type=int)
@click.pass_obj
def keep(home: Any, source_name: str, days: int) -> None:
    """Keep the raw bytes of SOURCE for so many DAYS; hashes stay."""
    with _deps(home) as deps:
        setting_up.keep_raw(deps, source_name, days, actor=ACTOR)
    click.echo(f"Raw bytes of {source_name} are kept for {days} days.")


@source.command("list")
@click.pass_obj
def list_(home: Any) -> None:
    """Every endpoint with its address, secrets by their marks, and its last request."""
    with _deps(home) as deps:
        states = endpoint_states(deps)
        for state in states:
            marks = [held.mark for held in deps.endpoints.secrets(state.source, state.name)]
            secrets = f"secrets {' '.join(marks)}" if marks else "NO SECRET: it refuses"
            last = f"last {_said(state.last)}" if state.last else "nothing came yet"
            click.echo(f"{state.source:18}  {state.url}  {secrets}  {last}")
    if not states:
        click.echo("No endpoints. `countersign source add SOURCE` opens one.")


@source.command("test")
@_SOURCE
@_NAME
@click.option("--seconds", default=300, show_default=True, help="How long to wait.")
@click.pass_obj
def test(home: Any, source_name: str, name: str, seconds: int) -> None:
    """Wait for the next request and say whether it was taken; refused is exit status 1."""
    with _deps(home) as deps:
        click.echo(f"Send a test to {endpoint_details(deps, source_name, name).state.url} now …")
        last = _wait(deps, source_name, name, seconds)
    if last is None:
        raise click.ClickException(f"nothing came in {seconds} s: is the address right there?")
    click.echo(_said(last))
    if last.advice:
        click.echo(f"What it means: {last.advice}.")
    if last.result == "refused" and last.reason != "handshake":
        sys.exit(1)


def _wait(deps: WebDeps, source_name: str, name: str, seconds: int) -> Last | None:
    """The first request from now on."""
    since, end = rfc3339(deps.clock()), time.monotonic() + seconds
    while True:
        for last in recent_requests(deps, source_name, name):
            if last.at >= since:
                return last
        if time.monotonic() >= end:
            return None
        time.sleep(LOOK_SECONDS)


@contextmanager
def _deps(home: Any) -> Iterator[WebDeps]:
    """What the pages of ingest work with, for one command."""
    from services.ingest.service import WebSettings, wire_web

    deps = wire_web(load_settings(WebSettings, home.environment("ingest", "web")))
    try:
        yield deps
    finally:
        deps.engine.dispose()


def _asked(secret: str | None) -> str:
    """A secret on the command line stays in the shell's history; “-” keeps it out."""
    asked = click.prompt("Secret", hide_input=True) if secret == "-" else secret  # noqa: S105
    return str(asked or "")


def _said(last: Last) -> str:
    why = f", {last.reason}" if last.reason else ""
    detail = f": {last.detail}" if last.detail else ""
    return f"{last.result}{why}{detail} ({last.at})"


def _command(act: str, endpoint: Endpoint) -> str:
    name = "" if endpoint.name == DEFAULT_ENDPOINT else f" --name {endpoint.name}"
    return f"countersign source {act} {endpoint.source}{name}"


def _show(home: Any, opened: Opened) -> None:
    endpoint, setup = opened.endpoint, SOURCES[opened.endpoint.source].setup
    click.echo(f"Address  {endpoint.public_url or home.public_url.rstrip('/') + endpoint.path}")
    click.echo(f"Where    {setup.screen}")
    click.echo(f"Needs    {setup.credential}")
    for name, option in setup.options.items():
        held = endpoint.options.get(name) or option.default or "not set"
        click.echo(f"Option   {name} = {held}: {option.hint}")
    if opened.secret:
        click.echo(f"Secret   {opened.secret}   (shown this once)")
    elif not endpoint.secrets:
        click.echo(f"Then     {_command('rotate', endpoint)} --secret -")
        click.echo(f"         and enter {setup.form}; until then every request is refused")
