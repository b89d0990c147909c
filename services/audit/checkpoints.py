"""Sealing the log: a signed note over the size and root of the tree, kept and published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from services.audit.encoding import canonical_body
from services.audit.ledger import Draft, append, edge_of, sealed_up
from services.audit.notes import sign_note, vkey_of
from services.audit.succession import (
    CHANGES,
    KeyChange,
    keep_change,
    load_changes,
    sign_change,
    way,
)
from services.audit.tables import CHECKPOINTS
from shared.db import insert_new, reading
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload, ConfigurationError
from shared.faultpoints import reached
from shared.keys import (
    Reread,
    announce_key,
    load_private,
    next_key,
    replace_file,
    replace_key,
)
from shared.outbox import Unit
from shared.proof import Checkpoint, VerifierKey, key_ids, parse_vkey

LOG_NAME = "countersign/log"
SEALING = "checkpoints"
VKEY = "checkpoints.vkey"
LOG_CHAIN = ids.derive("log")
MOST_UNSEALED = 1000


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The log's name and key, which is asked each time: a rotated one signs from then on.

    ``changes`` are what leads from earlier keys to it.
    """

    name: str
    key: Callable[[], Ed25519PrivateKey] = field(repr=False)
    changes: Callable[[], tuple[KeyChange, ...]]

    @property
    def vkey(self) -> VerifierKey:
        return vkey_of(self.name, self.key())


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
    changes = Reread(folder / CHANGES, lambda _: load_changes(folder))
    return Signer(name=LOG_NAME, key=key, changes=changes)


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
    return Reread(folder / VKEY, _vkeys)


def rotate_checkpoints(folder: Path) -> VerifierKey:
    """A new key for sealing, which the old one signs for; returns its verifier key.

    What the old one sealed is still checked with its own. The change and the verifier key are
    there before the new key signs anything, and nothing is left of the old private key.
    """
    new = next_key(folder, SEALING)
    change = sign_change(LOG_NAME, load_private(folder / f"{SEALING}.ed25519"), new)
    keep_change(folder, change)
    _keep_vkeys(folder, change.new, *_vkeys(folder / VKEY))
    replace_key(folder, SEALING, new)
    return change.new


def announce_checkpoints(folder: Path) -> VerifierKey:
    """The verifier key of the next key for sealing, made known while the one in use seals on."""
    next_ = VerifierKey(name=LOG_NAME, public_key=announce_key(folder, SEALING).public_bytes_raw())
    current, *others = _vkeys(folder / VKEY)
    _keep_vkeys(folder, current, next_, *others)
    return next_


def _keep_vkeys(folder: Path, *vkeys: VerifierKey) -> None:
    lines = dict.fromkeys(f"{vkey.text()}\n" for vkey in vkeys)
    replace_file(folder / VKEY, "".join(lines).encode())


def _vkeys(path: Path) -> tuple[VerifierKey, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(parse_vkey(line) for line in lines)
    except (OSError, BadPayload) as error:
        raise ConfigurationError("no readable checkpoints.vkey: copy it from the audit") from error


def sign_edge(unit: Unit, deps: Any) -> SignedCheckpoint:
    """Seal everything in the ledger as this transaction sees it, and tell of it.

    Where the key was changed since the last seal, the change is entered first. Raises
    `StoreUnavailable` for a key that nobody handed the log over to.
    """
    key, name = deps.signer.key(), deps.signer.name
    _enter_changes(unit, deps, vkey_of(name, key))
    frontier = edge_of(unit.db).frontier
    checkpoint = Checkpoint(origin=name, size=frontier.size, root=frontier.root())
    signed = SignedCheckpoint(
        size=frontier.size,
        root=checkpoint.root.hex(),
        note=sign_note(checkpoint.text(), name, key),
        at=rfc3339(unit.now),
    )
    row = {"size": signed.size, "root": signed.root, "note": signed.note, "at": signed.at}
    sealed_up(unit.db)
    if insert_new(unit.db, CHECKPOINTS, [row]):
        body = {"size": signed.size, "root": signed.root, "note": signed.note}
        subject = f"checkpoint/{signed.size}"
        unit.publish(Topic.CHECKPOINT_SIGNED, body, subject=subject, chain=LOG_CHAIN)
    return signed


def _enter_changes(unit: Unit, deps: Any, vkey: VerifierKey) -> None:
    """It stands in the tree that the new key seals first, so none can be slipped in or left out."""
    last = last_checkpoint(unit.db)
    if last is None or _is_of(vkey, last):
        return
    changes = way(deps.signer.changes(), key_ids(last.note), vkey)
    append(unit.db, deps.vault, [_entry_of(change, unit.now) for change in changes])


def _is_of(vkey: VerifierKey, checkpoint: SignedCheckpoint) -> bool:
    return vkey.key_id in key_ids(checkpoint.note)


def _entry_of(change: KeyChange, at: datetime) -> Draft:
    topic, subject = str(Topic.KEY_CHANGED), f"key/{change.new.key_id.hex()}"
    body = {"old": change.old.text(), "new": change.new.text(), "note": change.note}
    return Draft(
        at=rfc3339(at),
        topic=topic,
        actor="service:audit",
        subject=subject,
        chain=LOG_CHAIN,
        message_id=ids.fresh(),
        cause=None,
        body=canonical_body(body),
    )


def seal_waiting(deps: Any) -> None:
    """The timer's part: seal what is not sealed yet, unless it is checkpoints alone.

    A key that was changed seals in any case, so that whoever trusts it alone can prove the log.
    """
    with reading(deps.engine) as db:
        waiting, last = edge_of(db).unsealed, last_checkpoint(db)
    if waiting or (last is not None and not _is_of(deps.signer.vkey, last)):
        with deps.unit_of_work.begin() as unit:
            sign_edge(unit, deps)
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
