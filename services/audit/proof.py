"""The proof of one entry: its line, its path to the last seal, and whether that holds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from services.audit import ledger, reader
from services.audit.checkpoints import SignedCheckpoint, last_checkpoint
from services.audit.deps import Deps
from shared.db import reading
from shared.domain.ledger import LedgerEntry, commitment
from shared.errors import BadPayload, BadSignature, NotFound, StoreUnavailable
from shared.proof import leaf_hash, open_checkpoint, verify_inclusion


@dataclass(frozen=True, kw_only=True)
class Proof:
    """``checkpoint`` is the signed note that seals ``size`` entries, ``proof`` the path in hex.

    ``body_opens`` says whether the kept body is the one committed to; ``None``: it was erased.
    """

    entry: LedgerEntry
    leaf_hash: str
    proof: tuple[str, ...]
    checkpoint: str | None
    size: int
    proved: bool
    body_opens: bool | None
    sentence: str


def prove(deps: Deps, seq: int) -> Proof:
    """Everything is computed anew from what is kept. Raises `NotFound`."""
    with reading(deps.engine) as db:
        logged = reader.one(db, deps.vault, seq)
        if logged is None:
            raise NotFound(f"the log has no entry {seq}")
        last = last_checkpoint(db)
        sealed = last if last is not None and last.size > seq else None
        path = _path(db, seq, sealed)
    entry = logged.entry()
    leaf = leaf_hash(entry.leaf())
    proved = sealed is not None and _holds(deps, leaf, seq, path, sealed)
    opens = None
    if logged.body is not None and logged.salt is not None:
        opens = commitment(bytes.fromhex(logged.salt), logged.body) == logged.commitment
    return Proof(
        entry=entry,
        leaf_hash=leaf.hex(),
        proof=tuple(hash_.hex() for hash_ in path),
        checkpoint=sealed.note if sealed else None,
        size=sealed.size if sealed else 0,
        proved=proved and opens is not False,
        body_opens=opens,
        sentence=_sentence(seq, sealed, proved=proved, opens=opens),
    )


def _path(db: Connection, seq: int, sealed: SignedCheckpoint | None) -> list[bytes]:
    if sealed is None:
        return []
    try:
        return ledger.proof(db, seq, sealed.size)
    except StoreUnavailable:
        return []


def _holds(deps: Deps, leaf: bytes, seq: int, path: list[bytes], sealed: SignedCheckpoint) -> bool:
    try:
        checkpoint = open_checkpoint(sealed.note, deps.vkeys())
    except (BadPayload, BadSignature):
        return False
    return checkpoint.size == sealed.size and verify_inclusion(
        leaf_hash=leaf, index=seq, size=checkpoint.size, path=path, root=checkpoint.root
    )


def _sentence(
    seq: int, sealed: SignedCheckpoint | None, *, proved: bool, opens: bool | None
) -> str:
    if sealed is None:
        return f"Entry {seq} is in the log and is sealed within a minute."
    if not proved:
        return f"NOT PROVED: entry {seq} does not lead to the sealed log. Run `countersign verify`."
    if opens is False:
        return f"NOT PROVED: the content of entry {seq} is not the one it is committed to."
    end = "; its content was erased" if opens is None else " and its content is unaltered"
    return f"Proved: entry {seq} is in the sealed log of {sealed.size} entries{end}."
