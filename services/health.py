"""`countersign health`: whether a process lives, for the probes of containers."""

from __future__ import annotations

import sys

import click

from services.installation import Installation
from shared.domain.topics import SERVICES
from shared.heartbeat import why_not_alive

PROCESSES = ("web", *(f"{name}-worker" for name in SERVICES))
SECONDS = 5


@click.command()
@click.argument("process", required=False, type=click.Choice(PROCESSES))
@click.pass_obj
def health(home: Installation, process: str | None) -> None:
    """Say whether PROCESS (or each of them) lives; the exit status is 1 if not.

    A worker lives while each of its loops moves; the web process while it answers.
    """
    is_well = True
    for name in [process] if process else PROCESSES:
        reason = why_not(home, name)
        is_well = is_well and reason is None
        click.echo(f"{'✓' if reason is None else '✗'} {name}{f': {reason}' if reason else ''}")
    sys.exit(0 if is_well else 1)


def why_not(home: Installation, process: str) -> str | None:
    """Why a process of this installation counts as dead; ``None``: it lives."""
    if process != "web":
        return why_not_alive(home.wake, process.removesuffix("-worker"))
    import requests

    try:
        answer = requests.get(f"http://127.0.0.1:{home.run.port}/healthz", timeout=SECONDS)
    except requests.RequestException as error:
        return f"no answer on port {home.run.port}: {type(error).__name__}"
    return None if answer.ok else f"it answered {answer.status_code}"
