"""The commands `countersign keys`, `reload` and `sign-out-everyone`: changing secrets in use."""

from __future__ import annotations

import os
import secrets
import signal
from typing import TYPE_CHECKING

import click

from services.installation import Installation, pass_installation
from services.occupied import owner
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from services.wiring import Home

DISTRUSTED = ".distrusted"


@click.group()
def keys() -> None:
    """The keys of this installation."""


@keys.command("list")
@pass_installation
def list_(home: Installation) -> None:
    """Every key that signatures are checked with, by its id; the one in use is marked."""
    from shared.keys import key_id, load_public, load_publics

    for name in ("decisions", "checkpoints"):
        current = key_id(load_public(home.keys / f"{name}.pub"))
        for id_ in load_publics(home.keys, name):
            click.echo(f"{name:12} {id_}{'  signs' if id_ == current else ''}")


@keys.command()
@click.argument("name", type=click.Choice(["decisions", "checkpoints", "metrics"]))
@click.option(
    "--distrust-old",
    is_flag=True,
    help="Decisions only: what the old key signed and is not written yet is refused.",
)
@pass_installation
def rotate(home: Installation, name: str, *, distrust_old: bool) -> None:
    """A new key or token NAME, used from the next signature on; no restart.

    Old public keys stay, so everything signed before is still proved.
    """
    if distrust_old and name != "decisions":
        raise click.UsageError("only decisions can be distrusted: old seals must stay provable")
    if name == "metrics":
        _rotate_metrics(home)
        return
    from services.audit.checkpoints import rotate_checkpoints
    from shared.keys import rotate_key

    if name == "checkpoints":
        rotate_checkpoints(home.keys)
        vkey = (home.keys / "checkpoints.vkey").read_text(encoding="utf-8").strip()
        click.echo(f"New verifier key, for whoever checks the log elsewhere: {vkey}")
    else:
        click.echo(f"Decisions are signed by {rotate_key(home.keys, name)} from now on.")
    if distrust_old:
        _distrust(home)
    click.echo(f"Copy {home.keys} to where you keep the keys.")


def _distrust(home: Installation) -> None:
    from shared.keys import key_id, load_public

    current = key_id(load_public(home.keys / "decisions.pub"))
    for path in home.keys.glob("decisions-*.pub"):
        if key_id(load_public(path)) != current:
            path.rename(path.with_suffix(DISTRUSTED))
            click.echo(
                f"{path.name} is no longer trusted: open approvals under it must be repeated"
            )


def _rotate_metrics(home: Installation) -> None:
    from shared.keys import replace_file

    replace_file(home.keys / "metrics.token", secrets.token_hex(32).encode())
    click.echo(f"The new token is in {home.keys / 'metrics.token'}. Now `countersign reload`.")


@click.command()
@pass_installation
def reload(home: Installation) -> None:
    """Let the running product begin anew with the secrets of now, process by process.

    Workers finish what is in hand; web processes change over without a refused connection.
    """
    pid = owner(home.root)
    if pid is None:
        raise ConfigurationError(f"no product runs in {home.root}")
    os.kill(pid, signal.SIGUSR1)
    click.echo(f"Process {pid} is told. `/readyz` says when all is well.")


@click.command("sign-out-everyone")
@click.pass_obj
def sign_out_everyone(home: Home) -> None:
    """End every session: each person signs in again."""
    from sqlalchemy import delete

    from shared.db import open_database, writing
    from shared.sessions import SESSIONS

    engine = open_database(home.database("sessions"), pooled=False)
    with writing(engine) as db:
        ended = db.execute(delete(SESSIONS)).rowcount
    engine.dispose()
    click.echo(f"{ended} sessions have ended. API tokens go on: `countersign people` ends those.")
