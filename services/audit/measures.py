"""The figures of audit: the log, its seals, the search index and the balance of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import datetime

from sqlalchemy import Connection, select

from services.audit.balance import Balance, balance
from services.audit.checkpoints import last_checkpoint
from services.audit.deps import Deps
from services.audit.lag import oldest_unhandled
from services.audit.tables import ENTRIES, OUTBOX
from shared.db import reading
from shared.domain.topics import Topic
from shared.figures import outbox_measures, seconds_since
from shared.metrics import Measure, measure


def measures(deps: Deps) -> Iterable[Measure]:
    """All of the database of audit and its index."""
    now = deps.clock()
    # The index first: what is appended meanwhile makes it look behind, never ahead.
    position = deps.index.complete_up_to().seq
    with reading(deps.engine) as db:
        found = [*_log(db, now), *_seal(db, now), *_index(db, position, now)]
    yield from found
    yield from outbox_measures(deps.engine, OUTBOX, deps.clock)


def balance_measures(deps: Deps) -> Iterable[Measure]:
    """Where the accepted events are; 0 in the difference is right."""
    counted = balance(deps)
    for field in fields(Balance):
        yield measure("events", getattr(counted, field.name), state=field.name)
    yield measure("balance_difference", counted.difference)


def ages(deps: Deps) -> Callable[[str, int], float]:
    """The age of the oldest message of a queue, for a broker that does not tell it."""
    return lambda queue, waiting: oldest_unhandled(deps.books, queue, waiting, deps.clock())


def behind(deps: Deps) -> tuple[int, float]:
    """How many entries cannot be searched yet, and the age of the oldest of them in seconds."""
    position = deps.index.complete_up_to().seq
    with reading(deps.engine) as db:
        return _size(db) - position, _age_of(db, position, deps.clock())


def _log(db: Connection, now: datetime) -> Iterable[Measure]:
    size = _size(db)
    yield measure("ledger_entries", size)
    yield measure("ledger_append_age_seconds", _age_of(db, size - 1, now))


def _seal(db: Connection, now: datetime) -> Iterable[Measure]:
    last = last_checkpoint(db)
    yield measure("checkpoint_age_seconds", seconds_since(last.at if last else None, now))
    # A checkpoint's own entry needs no other one.
    unsealed = select(ENTRIES.c.at).where(
        ENTRIES.c.seq >= (last.size if last else 0), ENTRIES.c.topic != Topic.CHECKPOINT_SIGNED
    )
    oldest = db.scalar(unsealed.order_by(ENTRIES.c.seq).limit(1))
    yield measure("unsealed_seconds", seconds_since(oldest, now))


def _index(db: Connection, position: int, now: datetime) -> Iterable[Measure]:
    yield measure("index_behind_entries", max(0, _size(db) - position))
    yield measure("index_behind_seconds", _age_of(db, position, now))


def _size(db: Connection) -> int:
    last = db.scalar(select(ENTRIES.c.seq).order_by(ENTRIES.c.seq.desc()).limit(1))
    return 0 if last is None else int(last) + 1


def _age_of(db: Connection, seq: int, now: datetime) -> float:
    """Age of an entry in seconds; 0 where there is none."""
    return seconds_since(db.scalar(select(ENTRIES.c.at).where(ENTRIES.c.seq == seq)), now)
