"""`countersign notices`: which channels there are, and whether they take a message."""

from __future__ import annotations

import sys

import click

from services.wiring import Home
from shared.errors import NotFound
from shared.notifications.channels import Channel
from shared.notifications.sending import Message, deliver


@click.group()
def notices() -> None:
    """Telling people: chat, mail and more, through apprise."""


@notices.command("list")
@click.pass_obj
def list_(home: Home) -> None:
    """Each channel and what it is told; addresses are not shown."""
    channels = home.channels()()
    for channel in channels:
        who = f" for {channel.person}" if channel.person else ""
        scheme = channel.url.partition(":")[0]
        click.echo(f"{channel.name} ({scheme}){who}: {', '.join(channel.tells)}")
        click.echo(
            f"  digest {channel.digest}, hours {channel.hours}, "
            f"new cards after {channel.delay_minutes} min"
        )
    if not channels:
        click.echo("Nobody is told anything: deploy/runbooks/notices.md")


@notices.command()
@click.argument("name", required=False)
@click.pass_obj
def test(home: Home, name: str | None) -> None:
    """Send a test notice to channel NAME, or to all, and say what came back."""
    found = [one for one in home.channels()() if name in {None, one.name}]
    if not found:
        raise NotFound("no such channel: `countersign notices list` shows all")
    failed = [channel for channel in found if not _try(home, channel)]
    sys.exit(1 if failed else 0)


def _try(home: Home, channel: Channel) -> bool:
    message = Message(
        title="Countersign can reach you",
        text=f"This is a test of the channel {channel.name}.\n{home.public_url}/status",
        tone="success",
    )
    reason = deliver(channel.url, message)
    click.echo(f"{'✓' if reason is None else '✗'} {channel.name}: {reason or 'delivered'}")
    return reason is None
