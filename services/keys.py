"""The commands `countersign keys`, `reload` and `sign-out-everyone`: changing secrets in use."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.elsewhere import pass_installation
from services.installation import Installation
from services.occupied import owner
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from services.wiring import Home

DISTRUSTED = "decisions.distrusted"


@click.group()
def keys() -> None:
    """The keys of this installation."""


@keys.command("list")
@pass_installation
def list_(home: Installation) -> None:
    """Every key by a fingerprint that tells nothing else, what it does, and since when."""
    tell_keys(home.keys)


def tell_keys(folder: Path) -> None:
    """Print every key in the folder."""
    from services.kept_keys import kept_keys

    for key in kept_keys(folder):
        click.echo(f"{key.name:17} {key.fingerprint}  {key.since:10}  {key.does}")


def _rotate_decisions(home: Installation) -> None:
    from shared.keys import rotate_key

    click.echo(f"Decisions are signed by {rotate_key(home.keys, 'decisions')} from now on.")


def _rotate_checkpoints(home: Installation) -> None:
    from services.audit.checkpoints import rotate_checkpoints

    vkey = rotate_checkpoints(home.keys).text()
    click.echo(f"New verifier key, for whoever checks the log elsewhere: {vkey}")


def _rotate_ledger(home: Installation) -> None:
    from services.audit.vault import LEDGER_KEY
    from shared.key_ring import renew_ring

    renew_ring(home.keys / LEDGER_KEY)
    _rewrap(home)


def _rewrap(home: Home) -> None:
    from services.audit.commands import deps_of
    from services.audit.rewrapping import rewrap

    deps = deps_of(home)
    click.echo(f"{rewrap(deps)} keys of chains are wrapped with the newest key.")
    deps.engine.dispose()


def _rotate_endpoints(home: Installation) -> None:
    from services.wiring import endpoints_of

    endpoints_of(home).rotate_key()
    click.echo("The secrets of endpoints are sealed anew; senders notice nothing.")


def _rotate_grants(home: Installation, name: str) -> None:
    """In two steps: a process opens what another seals only after it was started anew."""
    from services.crm_cli import grants_of
    from shared.crm.sealing import ANNOUNCED, next_keys
    from shared.keys import replace_file

    path = home.keys / f"{name}.key"
    keys = next_keys(path.read_text(encoding="utf-8"))
    replace_file(path, keys.encode())
    if ANNOUNCED in keys:
        click.echo(
            "A new key is announced. Now `countersign reload`, wait for /readyz, again this."
        )
        return
    grants = grants_of(home, write=name == "crm-write-grants")
    click.echo(f"{grants.reseal() if grants else 0} grants are sealed with the new key.")
    click.echo("Now `countersign reload`: until then tokens that are renewed get the old one.")


def _rotate_metrics(home: Installation) -> None:
    from shared.keys import replace_file

    replace_file(home.keys / "metrics.token", secrets.token_hex(32).encode())
    click.echo(f"The new token is in {home.keys / 'metrics.token'}. Now `countersign reload`.")


ROTATE: Mapping[str, Callable[[Installation], None]] = {
    "decisions": _rotate_decisions,
    "checkpoints": _rotate_checkpoints,
    "ledger": _rotate_ledger,
    "endpoints": _rotate_endpoints,
    "metrics": _rotate_metrics,
    "crm-read-grants": partial(_rotate_grants, name="crm-read-grants"),
    "crm-write-grants": partial(_rotate_grants, name="crm-write-grants"),
}


@keys.command()
@click.argument("name", type=click.Choice(list(ROTATE)))
@click.option(
    "--distrust-old",
    is_flag=True,
    help="Decisions only: what the old key signed and is not written yet is refused.",
)
@pass_installation
def rotate(home: Installation, name: str, *, distrust_old: bool) -> None:
    """A new key or token NAME, in use from now on; no restart.

    Old public keys stay, and old keys go on opening what a backup of before holds.
    """
    if distrust_old and name != "decisions":
        raise click.UsageError("only decisions can be distrusted: old seals must stay provable")
    ROTATE[name](home)
    if distrust_old:
        _distrust(home)
    click.echo(f"Copy {home.keys} to where you keep the keys.")


@keys.command("rewrap")
@click.pass_obj
def rewrap_(home: Home) -> None:
    """Wrap the keys of all chains with the newest key in `ledger.key`, as `rotate ledger` does."""
    _rewrap(home)


def _distrust(home: Installation) -> None:
    """The newest key alone is left; the others are kept under a name that nobody reads."""
    from shared.keys import keep_publics, load_publics

    trusted, *others = load_publics(home.keys, "decisions").values()
    kept = home.keys / DISTRUSTED
    before = load_publics(home.keys, "decisions", kept.suffix).values() if kept.exists() else ()
    keep_publics(kept, [*others, *before])
    keep_publics(home.keys / "decisions.pub", [trusted])
    click.echo("No other is trusted any more: open approvals under another must be repeated.")


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
