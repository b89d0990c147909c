"""Exchanges, queues and bindings in a bus file: declared, compared, deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed

TYPES: Final = frozenset({"direct", "fanout", "topic"})


def declare_exchange(
    db: sqlite3.Connection,
    name: str,
    *,
    kind: str,
    durable: bool,
    auto_delete: bool,
    arguments: Mapping[str, Any] | None,
) -> None:
    """Make the exchange, or find it as it is declared here. Raises `PreconditionFailed`."""
    if kind not in TYPES:
        raise PreconditionFailed(f"exchange '{name}' has the unknown type '{kind}'")
    wanted = (kind, int(durable), int(auto_delete), _text(arguments))
    found = db.execute(
        "SELECT type, durable, auto_delete, arguments FROM exchanges WHERE name = ?", (name,)
    ).fetchone()
    if found is None:
        db.execute("INSERT INTO exchanges VALUES (?, ?, ?, ?, ?)", (name, *wanted))
    elif found != wanted:
        raise _differs("exchange", name, wanted, found)


def declare_queue(
    db: sqlite3.Connection,
    name: str,
    *,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Mapping[str, Any] | None,
) -> None:
    """Make the queue, or find it as it is declared here. Raises `PreconditionFailed`."""
    wanted = (int(durable), int(exclusive), int(auto_delete), _text(arguments))
    found = db.execute(
        "SELECT durable, exclusive, auto_delete, arguments FROM queues WHERE name = ?", (name,)
    ).fetchone()
    if found is None:
        db.execute("INSERT INTO queues VALUES (?, ?, ?, ?, ?)", (name, *wanted))
    elif found != wanted:
        raise _differs("queue", name, wanted, found)


def require_exchange(db: sqlite3.Connection, name: str) -> None:
    """Raise `NotFound` unless the exchange is there."""
    if not db.execute("SELECT 1 FROM exchanges WHERE name = ?", (name,)).fetchone():
        raise NotFound(f"NOT_FOUND - no exchange '{name}'")


def require_queue(db: sqlite3.Connection, name: str) -> None:
    """Raise `NotFound` unless the queue is there."""
    if not db.execute("SELECT 1 FROM queues WHERE name = ?", (name,)).fetchone():
        raise NotFound(f"NOT_FOUND - no queue '{name}'")


def bind(db: sqlite3.Connection, queue: str, exchange: str, routing_key: str) -> None:
    require_queue(db, queue)
    require_exchange(db, exchange)
    db.execute("INSERT OR IGNORE INTO bindings VALUES (?, ?, ?)", (exchange, routing_key, queue))


def unbind(db: sqlite3.Connection, queue: str, exchange: str, routing_key: str) -> None:
    db.execute(
        "DELETE FROM bindings WHERE exchange = ? AND routing_key = ? AND queue = ?",
        (exchange, routing_key, queue),
    )


def count_ready(db: sqlite3.Connection, queue: str) -> int:
    """How many messages wait; leased ones are not counted, as on RabbitMQ."""
    query = "SELECT count(*) FROM messages WHERE queue = ? AND owner IS NULL"
    return int(db.execute(query, (queue,)).fetchone()[0])


def purge(db: sqlite3.Connection, queue: str) -> int:
    """Delete the waiting messages and return their number; leased ones stay."""
    return db.execute("DELETE FROM messages WHERE queue = ? AND owner IS NULL", (queue,)).rowcount


def delete_queue(db: sqlite3.Connection, name: str, *, if_empty: bool) -> int:
    """Delete the queue with its messages and bindings. Raises `PreconditionFailed`."""
    waiting = count_ready(db, name)
    if if_empty and waiting:
        raise PreconditionFailed(f"queue '{name}' holds {waiting} messages")
    for statement in (
        "DELETE FROM messages WHERE queue = ?",
        "DELETE FROM bindings WHERE queue = ?",
        "DELETE FROM queues WHERE name = ?",
    ):
        db.execute(statement, (name,))
    return waiting


def delete_exchange(db: sqlite3.Connection, name: str, *, if_unused: bool) -> None:
    """Delete the exchange with its bindings. Raises `PreconditionFailed`."""
    used = db.execute("SELECT 1 FROM bindings WHERE exchange = ?", (name,)).fetchone()
    if if_unused and used:
        raise PreconditionFailed(f"exchange '{name}' is in use")
    db.execute("DELETE FROM bindings WHERE exchange = ?", (name,))
    db.execute("DELETE FROM exchanges WHERE name = ?", (name,))


def _text(arguments: Mapping[str, Any] | None) -> str:
    return json.dumps(arguments or {}, sort_keys=True)


def _differs(kind: str, name: str, wanted: object, found: object) -> ChannelError:
    return PreconditionFailed(
        f"PRECONDITION_FAILED - {kind} '{name}' was declared as {found}, not as {wanted}; "
        "give it a new name, or empty and delete it first"
    )
