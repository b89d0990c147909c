"""What waits in a bus file at one moment: read beside the broker, never through it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from shared.bus.transports.batching import HEADERS
from shared.bus.transports.sqlite.store import Store
from shared.bus.waiting import PARKED, Waiting, place_of, why_parked

QUERY = "SELECT queue, properties, body FROM messages ORDER BY queue, rank, id"


@contextmanager
def standing_still(path: Path) -> Iterator[None]:
    """Nobody puts, takes or settles a message meanwhile."""
    store = Store(path)
    try:
        with store.transaction(durable=False):
            yield
    finally:
        store.close()


@contextmanager
def moment(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that goes on seeing the file as it is now."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM queues").fetchone()
        yield db


def messages(db: sqlite3.Connection) -> Iterator[Waiting]:
    """Everything that waits, is delayed, parked or in somebody's hand, each queue in order."""
    for name, properties, body in db.execute(QUERY):
        if (found := place_of(name)) is None:
            continue
        given = json.loads(properties)
        headers: dict[str, Any] = given.get(HEADERS) or {}
        yield Waiting(
            queue=found[0],
            place=found[1],
            message_id=str(given.get("message_id") or ""),
            text=bytes(body).decode("utf-8", errors="replace"),
            attempt=int(headers.get("attempt") or 0),
            reason=why_parked(headers) if found[1] == PARKED else "",
        )
