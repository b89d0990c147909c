"""Appending to the ledger: one batch, one transaction, one moved edge of the tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Table, bindparam, select, update

from services.audit.encoding import entry_leaf
from services.audit.merkle import Frontier, inclusion_path
from services.audit.tables import BODIES, CHAIN_KEYS, EDGE, ENTRIES, PERSON_CHAINS
from services.audit.vault import SALT_SIZE, Vault, seal
from shared.db import insert_new
from shared.domain.ledger import LedgerEntry
from shared.domain.schema import parse_instant
from shared.domain.topics import Topic
from shared.errors import StoreUnavailable
from shared.key_ring import KEY_SIZE
from shared.proof import HASH_SIZE, leaf_hash

MOST_VALUES = 500

# Asked at every append: building a statement costs more than running it.
_EDGE = select(EDGE.c.frontier, EDGE.c.unsealed)
_EDGE_LOCKED = _EDGE.with_for_update()
_MOVE = (
    update(EDGE)
    .where(EDGE.c.size == bindparam("from_size"))
    .values(
        size=bindparam("to_size"),
        frontier=bindparam("to_frontier"),
        unsealed=bindparam("then_unsealed"),
    )
)
_KNOWN = select(ENTRIES.c.message_id).where(
    ENTRIES.c.message_id.in_(bindparam("ids", expanding=True))
)
_KEYS = select(CHAIN_KEYS.c.chain, CHAIN_KEYS.c.wrapped).where(
    CHAIN_KEYS.c.chain.in_(bindparam("chains", expanding=True))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An entry to be: all but its place in the log.

    ``body`` are canonical bytes, ``fits`` whether they fit the schema of the topic, ``persons``
    the hashes of the contacts in it.
    """

    at: str
    topic: str
    actor: str
    subject: str
    chain: str
    message_id: str
    cause: str | None
    body: bytes
    fits: bool = True
    persons: tuple[bytes, ...] = ()


class Placed(NamedTuple):
    """A draft that has its place; ``salt`` opens the commitment."""

    draft: Draft
    seq: int
    salt: bytes
    commitment: str

    def entry(self) -> LedgerEntry:
        draft = self.draft
        return LedgerEntry(
            seq=self.seq,
            at=parse_instant(draft.at),
            topic=draft.topic,
            actor=draft.actor,
            subject=draft.subject,
            chain=draft.chain,
            message_id=draft.message_id,
            cause=draft.cause,
            commitment=self.commitment,
        )


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The right edge of the tree, and how many entries but checkpoints follow the last one."""

    frontier: Frontier
    unsealed: int


def append(db: Connection, vault: Vault, drafts: Sequence[Draft]) -> list[Placed]:
    """Append what is not in the ledger yet, in order; returns what was appended.

    The edge is read and moved inside the caller's write transaction, and moved only from the
    size that was read: a second appender waits, or fails with `StoreUnavailable`.
    """
    edge = edge_of(db, lock=True)
    fresh = _fresh(db, drafts)
    if not fresh:
        return []
    ciphers = _ciphers(db, vault, fresh)
    placed, leaves, bodies = list[Placed](), list[bytes](), list[tuple[Any, ...]]()
    random = os.urandom(len(fresh) * (SALT_SIZE + 12))
    for seq, draft in enumerate(fresh, edge.frontier.size):
        start = (seq - edge.frontier.size) * (SALT_SIZE + 12)
        salt, nonce = random[start : start + 32], random[start + 32 : start + 44]
        commitment = sha256(salt + draft.body).hexdigest()
        leaves.append(_leaf(draft, seq, commitment))
        placed.append(Placed(draft=draft, seq=seq, salt=salt, commitment=commitment))
        cipher = ciphers[draft.chain]
        if cipher is not None:
            sealed = seal(cipher, seq, salt, draft.body, nonce)
            bodies.append((seq, draft.fits, sealed))
    frontier = _store(db, edge.frontier, placed, leaves)
    _insert(db, BODIES, bodies)
    _remember_persons(db, fresh, ciphers)
    _move(db, edge, frontier, fresh)
    return placed


def edge_of(db: Connection, *, lock: bool = False) -> Edge:
    """The edge as the transaction sees it; made at the first append."""
    row = db.execute(_EDGE_LOCKED if lock else _EDGE).first()
    if row is not None:
        return Edge(frontier=Frontier.from_bytes(row[0]), unsealed=row[1])
    if lock:
        first = {"one": 1, "size": 0, "frontier": Frontier().to_bytes(), "unsealed": 0}
        insert_new(db, EDGE, [first])
    return Edge(frontier=Frontier(), unsealed=0)


def sealed_up(db: Connection) -> None:
    """Note that a checkpoint covers everything."""
    db.execute(update(EDGE).values(unsealed=0))


def node(db: Connection, level: int, index: int) -> bytes:
    """A complete node of the tree. Raises `StoreUnavailable` where the ledger has lost it."""
    query = select(ENTRIES.c.nodes).where(ENTRIES.c.seq == ((index + 1) << level) - 1)
    nodes = db.scalar(query) or b""
    found = bytes(nodes[level * HASH_SIZE : (level + 1) * HASH_SIZE])
    if len(found) != HASH_SIZE:
        raise StoreUnavailable(f"the ledger lacks node {index} of level {level}")
    return found


def proof(db: Connection, seq: int, size: int) -> list[bytes]:
    """The inclusion path of an entry in the tree of the first ``size`` entries."""
    return inclusion_path(lambda level, index: node(db, level, index), seq, size)


def _leaf(draft: Draft, seq: int, commitment: str) -> bytes:
    return leaf_hash(
        entry_leaf(
            seq=seq,
            at=draft.at,
            topic=draft.topic,
            actor=draft.actor,
            subject=draft.subject,
            chain=draft.chain,
            message_id=draft.message_id,
            cause=draft.cause,
            commitment=commitment,
        )
    )


def _fresh(db: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """The first of each message id that is not in the ledger."""
    by_id = {draft.message_id: draft for draft in reversed(drafts)}
    for ids in chunks(list(by_id)):
        for id_ in db.scalars(_KNOWN, {"ids": ids}):
            del by_id[id_]
    return [draft for draft in drafts if by_id.get(draft.message_id) is draft]


def _ciphers(db: Connection, vault: Vault, drafts: Sequence[Draft]) -> dict[str, AESGCM | None]:
    """The cipher of each chain, made where the chain is new; ``None`` for an erased one."""
    chains = list(dict.fromkeys(draft.chain for draft in drafts))
    ciphers = stored_ciphers(db, vault, chains)
    rows = []
    for chain in chains:
        if chain not in ciphers:
            key = os.urandom(KEY_SIZE)
            ciphers[chain] = AESGCM(key)
            rows.append((chain, vault.wrap(chain, key), None))
    _insert(db, CHAIN_KEYS, rows)
    return ciphers


def stored_ciphers(db: Connection, vault: Vault, chains: Sequence[str]) -> dict[str, AESGCM | None]:
    """The ciphers of the chains that have one; ``None`` for an erased chain."""
    ciphers: dict[str, AESGCM | None] = {}
    for some in chunks(chains):
        for chain, wrapped in db.execute(_KEYS, {"chains": some}):
            ciphers[chain] = None if wrapped is None else vault.unwrap(chain, wrapped)
    return ciphers


def _store(
    db: Connection, frontier: Frontier, placed: Sequence[Placed], leaves: Sequence[bytes]
) -> Frontier:
    """Insert the entries with the nodes each completes; returns the new edge."""
    grown, nodes = frontier.append(leaves)
    completed = [b""] * len(placed)
    for level, index, hash_ in nodes:  # Lower levels come first, as they stand in `nodes`.
        completed[((index + 1) << level) - 1 - frontier.size] += hash_
    rows = [
        (
            one.seq,
            one.draft.at,
            one.draft.topic,
            one.draft.actor,
            one.draft.subject,
            one.draft.chain,
            one.draft.message_id,
            one.draft.cause,
            one.commitment,
            nodes_,
        )
        for one, nodes_ in zip(placed, completed, strict=True)
    ]
    _insert(db, ENTRIES, rows)
    return grown


def _insert(
    db: Connection, table: Table, rows: Sequence[tuple[Any, ...]], *, repeats: str = ""
) -> None:
    """All columns of all rows in one statement; building each row anew would double the cost."""
    if not rows:
        return
    mark = "?" if db.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(table.columns))
    names = ", ".join(table.columns.keys())
    db.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) VALUES ({marks}) {repeats}",  # noqa: S608 - our own names
        list(rows),
    )


def _remember_persons(
    db: Connection, drafts: Sequence[Draft], ciphers: dict[str, AESGCM | None]
) -> None:
    pairs = dict.fromkeys(
        (person, draft.chain)
        for draft in drafts
        if draft.persons and ciphers[draft.chain] is not None
        for person in draft.persons
    )
    _insert(db, PERSON_CHAINS, list(pairs), repeats="ON CONFLICT DO NOTHING")


def _move(db: Connection, edge: Edge, frontier: Frontier, drafts: Sequence[Draft]) -> None:
    unsealed = sum(draft.topic != Topic.CHECKPOINT_SIGNED for draft in drafts)
    moved = db.execute(
        _MOVE,
        {
            "from_size": edge.frontier.size,
            "to_size": frontier.size,
            "to_frontier": frontier.to_bytes(),
            "then_unsealed": edge.unsealed + unsealed,
        },
    )
    if moved.rowcount != 1:
        raise StoreUnavailable("another process appends to the ledger")


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[at : at + MOST_VALUES] for at in range(0, len(values), MOST_VALUES))
