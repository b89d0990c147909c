"""The durable inbox: accepts a request's happenings once, in one commit with its bytes and counts.

What is refused goes the same way: the log must not be easier to lose than what it tells of.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, literal_column, select

from services.ingest.group_commit import GroupCommit
from services.ingest.hook import Endpoint, Hook
from services.ingest.raw import RawFiles, is_large
from services.ingest.retention import days_of
from services.ingest.source import WHY_ASIDE, Identity, Outcome, Source
from services.ingest.store import accepted, deliveries, refusals, tallies
from services.ingest.writer_connection import (
    PreparedInsert,
    PreparedUpdate,
    WriterConnection,
)
from shared.bell import Bell
from shared.canonical import sha256_hex
from shared.db import insert_new, reading, turn_to_write
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.faultpoints import reached

SHOWN_ONE_BY_ONE = 20
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """``is_verified``: the signature was right and the body could not be read."""

    source: str
    endpoint: str
    reason: str
    detail: str
    received_at: datetime
    is_verified: bool = False
    raw_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one request adds: rows, and what its bytes cost. ``tally`` counts a repeat as one."""

    delivery: dict[str, Any] | None = None
    events: tuple[Row, ...] = ()
    refusal: Row | None = None
    raw_file: Row | None = None
    tally: tuple[str, str, str, str]
    at: str
    detail: str = ""


@dataclass(kw_only=True)
class _Flood:
    """How many equal refusals came in this minute; beyond the first they share a row."""

    minute: str = ""
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, minute: str, key: tuple[str, str, str]) -> int:
        with self.lock:
            if minute != self.minute:
                self.minute, self.counts = minute, Counter()
            self.counts[key] += 1
            return self.counts[key]


class Inbox:
    """One per process, made after the fork. ``bell`` wakes the relay at each commit."""

    def __init__(self, engine: Engine, files: RawFiles, bell: Bell) -> None:
        self._engine = engine
        self._writer = WriterConnection(engine)
        self._files = files
        self._bell = bell
        self._flood = _Flood()
        self._group: GroupCommit[Entry, Outcome] = GroupCommit(self._commit, turn_to_write(engine))

    def accept(
        self, source: Source, endpoint: Endpoint, hook: Hook, found: Sequence[Identity]
    ) -> Outcome:
        """Durable when it returns: `Outcome.DUPLICATE` if nothing was new, else whether something
        of it goes further (`Outcome.STORED`), or why not. Raises `StoreUnavailable`.
        """
        at = rfc3339(hook.received_at)
        delivery = _delivery_row(source, endpoint, hook, at)
        events = tuple(
            _event_row(source, endpoint, identity, delivery["id"], position, at)
            for position, identity in enumerate(found)
        )
        raw_file = self._keep(source, hook, delivery)
        fate = source.fate([identity.type for identity in found])
        reason = "" if fate is Outcome.STORED else str(fate)
        tally = (source.name, endpoint.name, "accepted", reason)
        outcome = self._group.add(
            Entry(
                delivery=delivery,
                events=events,
                raw_file=raw_file,
                tally=tally,
                at=at,
                detail=WHY_ASIDE.get(fate, ""),
            )
        )
        return fate if outcome is Outcome.STORED else outcome

    def refuse(self, refusal: Refusal) -> None:
        """Log what was not let in. Raises `StoreUnavailable`."""
        self._group.add(self._refused(refusal, secrets.token_hex(16)))

    def set_aside(
        self, source: Source, endpoint: Endpoint, hook: Hook, reason: str, detail: str
    ) -> None:
        """Keep the bytes of a verified request that cannot be read. Raises `StoreUnavailable`."""
        at = rfc3339(hook.received_at)
        delivery = _delivery_row(source, endpoint, hook, at)
        refusal = Refusal(
            source=source.name,
            endpoint=endpoint.name,
            reason=reason,
            detail=detail,
            received_at=hook.received_at,
            is_verified=True,
            raw_sha256=delivery["raw_sha256"],
        )
        refused = self._refused(refusal, delivery["id"])
        # Of a flood the hash in the log is enough.
        is_kept = refused.refusal is not None and refused.refusal["id"] == delivery["id"]
        raw_file = self._keep(source, hook, delivery) if is_kept else None
        self._group.add(
            Entry(
                delivery=delivery if is_kept else None,
                refusal=refused.refusal,
                raw_file=raw_file,
                tally=refused.tally,
                at=at,
                detail=detail,
            )
        )

    def _refused(self, refusal: Refusal, id_: str) -> Entry:
        at = rfc3339(refusal.received_at)
        key = (refusal.source, refusal.endpoint, refusal.reason)
        due = at
        if self._flood.next(at[:16], key) > SHOWN_ONE_BY_ONE:
            id_ = ids.derive("refusals", *key, at[:16])
            # Summed up when the minute is over for every process, however late its commit.
            due = rfc3339(refusal.received_at + timedelta(seconds=120))
        row = {
            "id": id_,
            "source": refusal.source,
            "endpoint": refusal.endpoint,
            "reason": refusal.reason,
            "detail": refusal.detail,
            "is_verified": int(refusal.is_verified),
            "received_at": at,
            "raw_sha256": refusal.raw_sha256,
            "count": 0,
            "due_at": due,
        }
        tally = (refusal.source, refusal.endpoint, "refused", refusal.reason)
        return Entry(refusal=row, tally=tally, at=at, detail=refusal.detail)

    def _keep(self, source: Source, hook: Hook, delivery: dict[str, Any]) -> Row | None:
        """Bytes too large for the row go to a file, on the disk before the row is."""
        if not is_large(hook.body):
            return None
        self._files.write(delivery["raw_sha256"], hook.body)
        reached("ingest.file_written")
        delivery["content"] = None
        with reading(self._engine) as connection:
            days = days_of(connection, source)
        expires = hook.received_at + timedelta(days=days)
        return {
            "sha256": delivery["raw_sha256"],
            "size": len(hook.body),
            "expires_at": rfc3339(expires),
            "source": source.name,
        }

    def _commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        reached("ingest.before_commit")
        with self._writer.writing() as connection:
            news = _insert_events(connection, entries)
            _insert_deliveries(connection, entries, news)
            _insert_refusals(connection, [e.refusal for e in entries if e.refusal])
            self._files.register(connection, [e.raw_file for e in entries if e.raw_file])
            outcomes = [_outcome(entry, news) for entry in entries]
            _count(connection, entries, outcomes)
            self._bell.ring(connection, "ingest.relay")
        reached("ingest.after_commit")
        return outcomes


def _delivery_row(source: Source, endpoint: Endpoint, hook: Hook, at: str) -> dict[str, Any]:
    kept = {name: hook.headers[name] for name in source.kept_headers if name in hook.headers}
    return {
        "id": f"{time.time_ns():016x}{secrets.token_hex(8)}",
        "source": source.name,
        "endpoint": endpoint.name,
        "received_at": at,
        "method": hook.method,
        "url": hook.url,
        "headers": json.dumps(kept),
        "options": json.dumps(dict(hook.options)) if hook.options else None,
        "raw_sha256": sha256_hex(hook.body),
        "size": len(hook.body),
        "content": hook.body,
        "is_expired": 0,
    }


def _event_row(
    source: Source, endpoint: Endpoint, identity: Identity, delivery: str, position: int, at: str
) -> Row:
    return {
        "id": ids.event_id(source.name, endpoint.name, identity.dedup_key),
        "source": source.name,
        "endpoint": endpoint.name,
        "dedup_key": identity.dedup_key,
        "type": identity.type,
        "delivery_id": delivery,
        "position": position,
        "received_at": at,
        "replays": 0,
    }


def _insert_events(connection: Connection, entries: Sequence[Entry]) -> set[str]:
    """Insert what is new; returns the deliveries that brought something new."""
    rows = [row for entry in entries for row in entry.events]
    brought = {row["delivery_id"] for row in rows}
    if _ADD_EVENT.run(connection, rows) == len(rows):
        return brought
    found = connection.scalars(
        select(accepted.c.delivery_id).where(accepted.c.id.in_([row["id"] for row in rows]))
    )
    return brought & set(found)


def _insert_deliveries(connection: Connection, entries: Sequence[Entry], news: set[str]) -> None:
    """Every verified request that is not a mere repeat; a repeat's bytes are there already."""
    rows = [
        entry.delivery
        for entry in entries
        if entry.delivery and (not entry.events or entry.delivery["id"] in news)
    ]
    _ADD_DELIVERY.run(connection, rows)


def _insert_refusals(connection: Connection, rows: Sequence[Row]) -> None:
    _ADD_REFUSAL.run(connection, rows)
    _ONE_MORE_REFUSAL.run(connection, [{"id_": row["id"]} for row in rows])


def _outcome(entry: Entry, news: set[str]) -> Outcome:
    if entry.refusal:
        return Outcome.REFUSED
    if not entry.events or (entry.delivery and entry.delivery["id"] in news):
        return Outcome.STORED
    return Outcome.DUPLICATE


def _count(connection: Connection, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
    """Add up per endpoint, day and result."""
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        source, endpoint, result, reason = entry.tally
        if outcome is Outcome.DUPLICATE:
            result, reason = "duplicate", ""
        key = (source, endpoint, entry.at[:10], result, reason)
        row = sums.setdefault(key, {**dict(zip(_TALLY_KEY, key, strict=True)), "more": 0})
        row.update(more=row["more"] + 1, at_=entry.at, detail_=entry.detail)
    rows = [sums[key] for key in sorted(sums)]
    if _ADD_TO_TALLY.run(connection, rows) == len(rows):
        return
    fresh = [
        {
            **{name: row[f"{name}_"] for name in _KEY_COLUMNS},
            "count": 0,
            "last_at": "",
            "detail": "",
        }
        for row in rows
    ]
    if insert_new(connection, tallies, fresh):
        missing = _not_counted(connection, rows)
        _ADD_TO_TALLY.run(connection, missing)


def _not_counted(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Those whose tally was made just now and stands at nothing."""
    query = select(*(tallies.c[name] for name in _KEY_COLUMNS)).where(tallies.c.count == 0)
    empty = {tuple(row) for row in connection.execute(query)}
    return [row for row in rows if tuple(row[f"{name}_"] for name in _KEY_COLUMNS) in empty]


_ADD_EVENT = PreparedInsert(
    accepted,
    (
        "id",
        "source",
        "endpoint",
        "dedup_key",
        "type",
        "delivery_id",
        "position",
        "received_at",
        "replays",
    ),
)
_ADD_DELIVERY = PreparedInsert(deliveries, deliveries.c.keys())
_ADD_REFUSAL = PreparedInsert(
    refusals,
    [name for name in refusals.c.keys() if name != "sent_at"],  # noqa: SIM118
)
_KEY_COLUMNS = ("source", "endpoint", "day", "result", "reason")
_TALLY_KEY = tuple(f"{name}_" for name in _KEY_COLUMNS)
_ADD_TO_TALLY = PreparedUpdate(
    tallies.update()
    .where(*(tallies.c[name] == bindparam(f"{name}_") for name in _KEY_COLUMNS))
    .values(
        count=tallies.c.count + bindparam("more"),
        last_at=bindparam("at_"),
        detail=bindparam("detail_"),
    )
)
_ONE_MORE_REFUSAL = PreparedUpdate(
    refusals.update()
    .where(refusals.c.id == bindparam("id_"))
    .values(count=refusals.c.count + literal_column("1"))
)
