"""What waits in each queue and how queues are bound: read beside the broker, not through it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.errors import BrokerUnavailable

QUERY = """
SELECT counted.queue, counted.waiting, messages.body
FROM (SELECT queue, count(*) AS waiting, min(id) AS oldest FROM messages GROUP BY queue) AS counted
JOIN messages ON messages.id = counted.oldest
"""


def depths(path: Path) -> dict[str, tuple[int, float | None]]:
    """Queue → messages waiting or in hand, and the age of the oldest in seconds.

    The age is that of the envelope: a message that was retried is as old as its first try.
    Raises `BrokerUnavailable`.
    """
    rows = _rows(path, QUERY)
    return {queue: (waiting, _age(body)) for queue, waiting, body in rows}


def bindings(path: Path) -> set[tuple[str, str, str]]:
    """Every binding as exchange, routing key and queue. Raises `BrokerUnavailable`."""
    return set(_rows(path, "SELECT exchange, routing_key, queue FROM bindings"))


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
            return db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise BrokerUnavailable("the broker's file cannot be read") from error


def _age(body: bytes) -> float:
    try:
        born = datetime.fromisoformat(json.loads(body)["at"])
    except (ValueError, KeyError, TypeError):
        return 0.0
    return max(0.0, (datetime.now(UTC) - born).total_seconds())
