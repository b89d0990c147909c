"""Erasing a person from the log: keys, bodies and index entries go, every proof stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from services.audit import reader
from services.audit.contacts import own_record
from services.audit.deps import Deps
from services.audit.ledger import chunks
from services.audit.search.words import emails_of, phone_query
from services.audit.tables import BODIES, CHAIN_KEYS, ENTRIES, OUTBOX, PERSON_CHAINS, UNMASKINGS
from shared.db import cut_log, reading
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload
from shared.outbox import Unit

EVERYTHING = 2**62


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
    """The chains that speak of a contact, or are about their record. Raises `BadPayload`."""
    with reading(deps.engine) as db:
        return tuple(_chains(db, deps, query_keys(contact)))


def _chains(db: Connection, deps: Deps, keys: Sequence[str]) -> list[str]:
    """A webhook about a person's record need not name them: the record leads to it."""
    named = reader.chains_of_contacts(db, deps.vault, keys)
    told = reader.of_chains_before(db, deps.vault, named, EVERYTHING)
    bodies = [one.body for one in told if one.topic == Topic.EVENT_CLASSIFIED and one.body]
    records = sorted({record for body in bodies for record in own_record(body, keys)})
    about = reader.chains_of_contacts(db, deps.vault, records)
    return list(dict.fromkeys([*named, *about]))


def erase(deps: Deps, contact: str, *, reason: str, actor: str) -> Erased:
    """Destroy the keys of every chain that speaks of the contact, then what the index holds.

    A second run finishes what a crash cut off. Raises `BadPayload`.
    """
    keys = query_keys(contact)
    with deps.unit_of_work.begin() as unit:
        chains = _chains(unit.db, deps, keys)
        entries = 0
        for some in list(chunks(chains)) or [()]:
            seqs = _blank(unit.db, some, rfc3339(unit.now))
            entries += len(seqs)
            body = {
                "person": deps.vault.persons(keys)[0].hex(),
                "chains": some,
                "entries": len(seqs),
                "reason": reason,
            }
            _tell(unit, body, actor)
    deps.index.erase(erased_seqs(deps))
    cut_log(deps.engine)
    return Erased(chains=tuple(chains), entries=entries)


def _tell(unit: Unit, body: dict[str, Any], actor: str) -> None:
    """The other services forget what they hold of these chains when they hear it."""
    unit.publish(
        Topic.PERSON_ERASED,
        body,
        subject="person/erased",
        chain=ids.derive("erasures"),
        actor=actor,
        key=ids.fresh(),
    )


def _blank(db: Connection, chains: Sequence[str], at: str) -> list[int]:
    """Destroy keys and bodies of the chains; returns the entries that lost their content."""
    of_chains = select(ENTRIES.c.seq).where(ENTRIES.c.chain.in_(chains))
    seqs = list(db.scalars(of_chains))
    keys = update(CHAIN_KEYS).where(CHAIN_KEYS.c.chain.in_(chains))
    db.execute(keys.values(wrapped=None, erased_at=at))
    db.execute(delete(BODIES).where(BODIES.c.seq.in_(of_chains)))
    db.execute(delete(PERSON_CHAINS).where(PERSON_CHAINS.c.chain.in_(chains)))
    db.execute(delete(UNMASKINGS).where(UNMASKINGS.c.chain.in_(chains)))
    OUTBOX.forget(db, chains)
    return seqs


def erased_seqs(deps: Deps) -> list[int]:
    """Every entry without content: the index may hold none of them."""
    with reading(deps.engine) as db:
        without = select(ENTRIES.c.seq).join(CHAIN_KEYS, CHAIN_KEYS.c.chain == ENTRIES.c.chain)
        return list(db.scalars(without.where(CHAIN_KEYS.c.wrapped.is_(None))))
