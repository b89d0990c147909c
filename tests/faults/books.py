"""What each part of an installation has stored, read-only: SQLite files or PostgreSQL schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, RowMapping, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from services.audit.search.index import open_index
from services.audit.service import INDICES
from services.installation import Installation
from shared.bus.depths import depths

# Waits at the sender, who tries again after pauses of its own.
OUTSIDE = "notices of the CRM"
# The name of a waiting room, and what a message in there still holds open.
ROOM = ".in."
HELD_OPEN = {"events without an end", "open changes", "open cards", "open drafts"}
SERVICES = ("ingest", "classifier", "writer", "audit")
UNENDED = (
    "SELECT count(*) FROM changes WHERE state NOT IN ('applied', 'failed', 'stale')",
    "SELECT count(*) FROM proposals WHERE state = 'pending'",
    "SELECT count(*) FROM drafts WHERE state IN ('promoting', 'discarding')",
)
Rows = Sequence[RowMapping]


@dataclass(kw_only=True)
class Books:
    """What ``home`` holds at this moment, and the differences found so far."""

    home: Installation
    differences: list[str] = field(default_factory=list)

    def read(self, database: str, query: str) -> Rows:
        with self._engine(database).connect() as connection:
            return connection.execute(text(query)).mappings().all()

    def count(self, database: str, query: str) -> int:
        with self._engine(database).connect() as connection:
            return int(connection.scalar(text(query)) or 0)

    def depths(self) -> dict[str, int]:
        """Messages by queue; RabbitMQ counts only those that nobody has in hand."""
        return {queue: found[0] for queue, found in depths(self.home.bus_url).items()}

    def expect(self, holds: bool, difference: str) -> None:
        if not holds:
            self.differences.append(difference)

    def _engine(self, database: str) -> Engine:
        url = self.home.database(database) if database != "crm" else self._crm()
        if (parsed := make_url(url)).get_backend_name() == "sqlite":
            url = f"sqlite:///file:{parsed.database}?mode=ro&uri=true"
        return create_engine(url, poolclass=NullPool)

    def _crm(self) -> str:
        """The CRM is an outside system: its file is its own on either column."""
        return self.home.embedded_database("crm")


def entries_to_index(home: Installation, books: Books) -> int:
    """How far the search index is behind the log."""
    indexed = open_index(home.search_index, INDICES).stored_up_to().seq
    return books.count("audit", "SELECT count(*) FROM entries") - indexed


def waiting(home: Installation) -> dict[str, int]:
    """What is still on its way, by place; an empty answer means that nothing waits."""
    books = Books(home=home)
    found: dict[str, Any] = {
        queue: number for queue, number in books.depths().items() if not queue.endswith(".parked")
    }
    accepted = books.count("ingest", "SELECT count(*) FROM accepted")
    ended = "SELECT count(*) FROM event_ends WHERE outcome IS NOT NULL OR failed"
    found["events without an end"] = accepted - books.count("audit", ended)
    found["events to send"] = books.count(
        "ingest", "SELECT count(*) FROM accepted WHERE sent_at IS NULL"
    )
    for place, query in zip(("changes", "cards", "drafts"), UNENDED, strict=True):
        found[f"open {place}"] = books.count("writer", query)
    for name in SERVICES:
        query = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
        found[f"outbox of {name}"] = books.count(name, query)
    found["entries to index"] = entries_to_index(home, books)
    found[OUTSIDE] = books.count("crm", "SELECT count(*) FROM notice WHERE state = 'waiting'")
    return {place: number for place, number in found.items() if number}


def is_resting(left: Mapping[str, int]) -> bool:
    """Whether what waits only waits for a clock: at the sender, or in a waiting room of ours."""
    rooms = {place for place in left if ROOM in place}
    return bool(left) and not set(left) - rooms - {OUTSIDE} - (HELD_OPEN if rooms else set())
