"""Sealing the log: a signed note over the size and root of the tree, kept and published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from services.audit.ledger import edge_of, sealed_up
from services.audit.notes import sign_note, vkey_of
from services.audit.tables import CHECKPOINTS
from shared.db import insert_new, reading
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload, ConfigurationError
from shared.faultpoints import reached
from shared.keys import Reread, load_private, replace_file, replace_key, write_secret
from shared.outbox import Unit
from shared.proof import Checkpoint, VerifierKey, parse_vkey

LOG_NAME = "countersign/log"
VKEY = "checkpoints.vkey"
LOG_CHAIN = ids.derive("log")
MOST_UNSEALED = 1000


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The log's name and key, which is asked each time: a rotated one signs from then on."""

    name: str
    key: Callable[[], Ed25519PrivateKey] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SignedCheckpoint:
    """``root`` is hex, ``note`` the C2SP signed note, ``at`` RFC 3339 text."""

    size: int
    root: str
    note: str
    at: str


def load_signer(folder: Path) -> Signer:
    """From ``checkpoints.ed25519`` and its vkey file, which is made where it is missing.

    Raises `ConfigurationError`, also where no vkey file belongs to it.
    """
    key = Reread(folder / "checkpoints.ed25519", load_private)
    write_vkey(folder)
    public = key().public_key().public_bytes_raw()
    if all(vkey.public_key != public for vkey in load_vkeys(folder)()):
        raise ConfigurationError("no checkpoints.vkey is of checkpoints.ed25519: restore it")
    return Signer(name=LOG_NAME, key=key)


def write_vkey(folder: Path) -> None:
    """Make ``checkpoints.vkey`` of the private key, unless it is there."""
    path = folder / VKEY
    if not path.exists():
        key = load_private(folder / "checkpoints.ed25519")
        path.write_text(vkey_of(LOG_NAME, key).text() + "\n", encoding="utf-8")


def load_vkeys(folder: Path) -> Callable[[], tuple[VerifierKey, ...]]:
    """The keys that checkpoints are checked with, the newest first; a new one counts at once.

    Raises `ConfigurationError` where there is none.
    """
    return Reread(folder, _vkeys)


def rotate_checkpoints(folder: Path) -> str:
    """A new key for sealing; what the old one sealed is still checked with its own vkey.

    The new vkey is there before the new key signs anything. Returns its key id in hex.
    """
    old = _vkey(folder / VKEY)
    key = Ed25519PrivateKey.generate()
    new = vkey_of(LOG_NAME, key)
    for vkey in (old, new):
        kept = folder / f"checkpoints-{vkey.key_id.hex()}.vkey"
        if not kept.exists():
            write_secret(kept, f"{vkey.text()}\n".encode())
    replace_key(folder, "checkpoints", key)
    replace_file(folder / VKEY, f"{new.text()}\n".encode())
    return new.key_id.hex()


def _vkeys(folder: Path) -> tuple[VerifierKey, ...]:
    newest = _vkey(folder / VKEY)
    older = [_vkey(path) for path in sorted(folder.glob("checkpoints-*.vkey"))]
    return (newest, *(vkey for vkey in older if vkey != newest))


def _vkey(path: Path) -> VerifierKey:
    try:
        return parse_vkey(path.read_text(encoding="utf-8").strip())
    except (OSError, BadPayload) as error:
        raise ConfigurationError("no readable checkpoints.vkey: copy it from the audit") from error


def sign_edge(unit: Unit, signer: Signer) -> SignedCheckpoint:
    """Seal everything in the ledger as this transaction sees it, and tell of it."""
    frontier = edge_of(unit.db).frontier
    checkpoint = Checkpoint(origin=signer.name, size=frontier.size, root=frontier.root())
    signed = SignedCheckpoint(
        size=frontier.size,
        root=checkpoint.root.hex(),
        note=sign_note(checkpoint.text(), signer.name, signer.key()),
        at=rfc3339(unit.now),
    )
    row = {"size": signed.size, "root": signed.root, "note": signed.note, "at": signed.at}
    sealed_up(unit.db)
    if insert_new(unit.db, CHECKPOINTS, [row]):
        body = {"size": signed.size, "root": signed.root, "note": signed.note}
        subject = f"checkpoint/{signed.size}"
        unit.publish(Topic.CHECKPOINT_SIGNED, body, subject=subject, chain=LOG_CHAIN)
    return signed


def seal_waiting(deps: Any) -> None:
    """The timer's part: seal what is not sealed yet, unless it is checkpoints alone."""
    with reading(deps.engine) as db:
        waiting = edge_of(db).unsealed
    if waiting:
        with deps.unit_of_work.begin() as unit:
            sign_edge(unit, deps.signer)
            reached("audit.sealed")


def last_checkpoint(db: Connection) -> SignedCheckpoint | None:
    """The newest checkpoint."""
    newest = select(CHECKPOINTS).order_by(CHECKPOINTS.c.size.desc()).limit(1)
    row = db.execute(newest).mappings().first()
    return None if row is None else SignedCheckpoint(**row)


def covering_checkpoint(db: Connection, seq: int) -> SignedCheckpoint | None:
    """The newest checkpoint, if it covers the entry."""
    last = last_checkpoint(db)
    return last if last is not None and last.size > seq else None
