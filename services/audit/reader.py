"""Reading the ledger: entries with their bodies opened, where these were not erased."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from services.audit.ledger import chunks, stored_ciphers
from services.audit.tables import BODIES, ENTRIES, PERSON_CHAINS
from services.audit.vault import Vault, unseal
from shared.domain.ledger import LedgerEntry
from shared.domain.schema import parse_instant

STEP = 500
_ENTRIES = select(ENTRIES, BODIES.c.sealed, BODIES.c.fits).join_from(
    ENTRIES, BODIES, ENTRIES.c.seq == BODIES.c.seq, isouter=True
)
_AFTER = (
    _ENTRIES.where(ENTRIES.c.seq >= bindparam("first"))
    .order_by(ENTRIES.c.seq)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One entry as it is kept. ``body`` and ``salt`` are ``None`` once erased; ``leaf`` is hex."""

    seq: int
    at: str
    topic: str
    actor: str
    subject: str
    chain: str
    message_id: str
    cause: str | None
    commitment: str
    leaf: str
    body: Mapping[str, Any] | None
    salt: str | None
    fits: bool

    def entry(self) -> LedgerEntry:
        return LedgerEntry(
            seq=self.seq,
            at=parse_instant(self.at),
            topic=self.topic,
            actor=self.actor,
            subject=self.subject,
            chain=self.chain,
            message_id=self.message_id,
            cause=self.cause,
            commitment=self.commitment,
        )


def after(db: Connection, vault: Vault, seq: int, limit: int = STEP) -> list[Logged]:
    """The entries from ``seq`` on, at most ``limit``."""
    return _open(db, vault, _AFTER, {"first": seq, "most": limit})


def everything(db: Connection, vault: Vault, upto: int | None = None) -> Iterator[Logged]:
    """All entries in order, a few at a time."""
    seq = 0
    while (upto is None or seq < upto) and (found := after(db, vault, seq)):
        yield from (one for one in found if upto is None or one.seq < upto)
        seq = found[-1].seq + 1


def one(db: Connection, vault: Vault, seq: int) -> Logged | None:
    found = _open(db, vault, _ENTRIES.where(ENTRIES.c.seq == seq))
    return found[0] if found else None


def of_chain(db: Connection, vault: Vault, chain: str) -> list[Logged]:
    """All entries of one chain, in ledger order."""
    return _open(db, vault, _ENTRIES.where(ENTRIES.c.chain == chain).order_by(ENTRIES.c.seq))


def size(db: Connection) -> int:
    """How many entries the ledger has."""
    last = db.scalar(select(func.max(ENTRIES.c.seq)))
    return 0 if last is None else int(last) + 1


def of_messages(db: Connection, vault: Vault, ids: Sequence[str]) -> list[Logged]:
    """The entries of these messages, in ledger order; fewer where the log lacks some."""
    found = list[Logged]()
    for some in chunks(ids):
        found += _open(db, vault, _ENTRIES.where(ENTRIES.c.message_id.in_(some)))
    return sorted(found, key=lambda logged: logged.seq)


def of_chains_before(db: Connection, vault: Vault, chains: Sequence[str], seq: int) -> list[Logged]:
    """The entries of these chains below ``seq``, in ledger order."""
    found = list[Logged]()
    for some in chunks(chains):
        query = _ENTRIES.where(ENTRIES.c.chain.in_(some), ENTRIES.c.seq < seq)
        found += _open(db, vault, query)
    return sorted(found, key=lambda logged: logged.seq)


def chains_of_contacts(db: Connection, vault: Vault, keys: Sequence[str]) -> list[str]:
    """The chains that speak of any of these contact keys (``e=…``, ``t=…``)."""
    hashes = vault.persons(keys)
    query = select(PERSON_CHAINS.c.chain).where(PERSON_CHAINS.c.person.in_(hashes)).distinct()
    return list(db.scalars(query))


def newest_of(db: Connection, chain: str) -> int:
    """The last entry of a chain; -1 where it has none."""
    last = db.scalar(select(func.max(ENTRIES.c.seq)).where(ENTRIES.c.chain == chain))
    return -1 if last is None else last


def _open(
    db: Connection, vault: Vault, query: Select[Any], values: Mapping[str, Any] | None = None
) -> list[Logged]:
    rows = db.execute(query, values).all()
    ciphers = stored_ciphers(db, vault, list({row.chain for row in rows}))
    found = []
    for row in rows:
        cipher = ciphers.get(row.chain)
        salt: str | None = None
        body: Mapping[str, Any] | None = None
        if cipher is not None and row.sealed is not None:
            opened, data = unseal(cipher, row.seq, bytes(row.sealed))
            salt, body = opened.hex(), json.loads(data)
        found.append(
            Logged(
                seq=row.seq,
                at=row.at,
                topic=row.topic,
                actor=row.actor,
                subject=row.subject,
                chain=row.chain,
                message_id=row.message_id,
                cause=row.cause,
                commitment=row.commitment,
                leaf=bytes(row.nodes[:32]).hex(),
                body=body,
                salt=salt,
                fits=row.fits is not False,
            )
        )
    return found
