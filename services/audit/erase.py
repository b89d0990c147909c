"""Erasing a person from the log: keys, bodies and index entries go, every proof stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from services.audit import reader
from services.audit.deps import Deps
from services.audit.ledger import chunks
from services.audit.search.words import emails_of, phone_query
from services.audit.tables import BODIES, CHAIN_KEYS, ENTRIES, OUTBOX, PERSON_CHAINS, UNMASKINGS
from shared.db import reading
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload


@dataclass(frozen=True, kw_only=True)
class Erased:
    """``chains`` are what the other services clean by; ``entries`` how many lost their content."""

    chains: tuple[str, ...]
    entries: int


def query_keys(contact: str) -> list[str]:
    """The contact keys that a typed e-mail address or phone number means. Raises `BadPayload`."""
    if emails := emails_of(contact):
        return [f"e={email}" for email in emails]
    if keys := phone_query(contact):
        return keys
    raise BadPayload("give an e-mail address or a phone number")


def chains_of(deps: Deps, contact: str) -> tuple[str, ...]:
    """The chains that speak of a contact. Raises `BadPayload`."""
    with reading(deps.engine) as db:
        return tuple(reader.chains_of_contacts(db, deps.vault, query_keys(contact)))


def erase(deps: Deps, contact: str, *, reason: str, actor: str) -> Erased:
    """Destroy the keys of every chain that speaks of the contact, then what the index holds.

    A second run finishes what a crash cut off. Raises `BadPayload`.
    """
    keys = query_keys(contact)
    with deps.unit_of_work.begin() as unit:
        _overwrite_deleted(unit.db)
        chains = reader.chains_of_contacts(unit.db, deps.vault, keys)
        seqs = _blank(unit.db, chains, rfc3339(unit.now))
        unit.publish(
            Topic.PERSON_ERASED,
            {
                "person": deps.vault.person(keys[0]).hex(),
                "chains": len(chains),
                "entries": len(seqs),
                "reason": reason,
            },
            subject="person/erased",
            chain=ids.derive("erasures"),
            actor=actor,
            key=ids.fresh(),
        )
    deps.index.erase(erased_seqs(deps))
    _flush(deps)
    return Erased(chains=tuple(chains), entries=len(seqs))


def _blank(db: Connection, chains: Sequence[str], at: str) -> list[int]:
    """Destroy keys and bodies of the chains; returns the entries that lost their content."""
    seqs = list[int]()
    for some in chunks(chains):
        of_chains = select(ENTRIES.c.seq).where(ENTRIES.c.chain.in_(some))
        seqs += db.scalars(of_chains)
        keys = update(CHAIN_KEYS).where(CHAIN_KEYS.c.chain.in_(some))
        db.execute(keys.values(wrapped=None, erased_at=at))
        db.execute(delete(BODIES).where(BODIES.c.seq.in_(of_chains)))
        db.execute(delete(PERSON_CHAINS).where(PERSON_CHAINS.c.chain.in_(some)))
        db.execute(delete(UNMASKINGS).where(UNMASKINGS.c.chain.in_(some)))
        messages = update(OUTBOX.outbox).where(OUTBOX.outbox.c.chain.in_(some))
        db.execute(messages.where(OUTBOX.outbox.c.sent_at.is_not(None)).values(body=None))
    return seqs


def erased_seqs(deps: Deps) -> list[int]:
    """Every entry without content: the index may hold none of them."""
    with reading(deps.engine) as db:
        without = select(ENTRIES.c.seq).join(CHAIN_KEYS, CHAIN_KEYS.c.chain == ENTRIES.c.chain)
        return list(db.scalars(without.where(CHAIN_KEYS.c.wrapped.is_(None))))


def _overwrite_deleted(db: Connection) -> None:
    """SQLite keeps deleted bytes in free pages unless told otherwise."""
    if db.dialect.name == "sqlite":
        db.exec_driver_sql("PRAGMA secure_delete=ON")


def _flush(deps: Deps) -> None:
    """The log beside the database still holds what was overwritten: cut it."""
    if deps.engine.dialect.name == "sqlite":
        with deps.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None, "an open connection has a driver's"
            raw.rollback()
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
