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
from services.audit.reader import size
from services.audit.tables import ENTRIES, OUTBOX
from shared.db import reading
from shared.domain.topics import Topic
from shared.errors import StoreUnavailable
from shared.figures import outbox_measures, seconds_since
from shared.metrics import Measure, measure


def measures(deps: Deps) -> Iterable[Measure]:
    """All of the database of audit."""
    now = deps.clock()
    with reading(deps.engine) as db:
        found = [*_log(db, now), *_seal(db, now)]
    yield from found
    yield from outbox_measures(deps.engine, OUTBOX, deps.clock)


def search_measures(deps: Deps) -> Iterable[Measure]:
    """How far search sees. While it is away that is unknown, and the log's figures go on."""
    try:
        entries, seconds = behind(deps)
    except StoreUnavailable:
        yield measure("search_up", 0)
        return
    yield measure("search_up", 1)
    yield measure("index_behind_entries", max(0, entries))
    yield measure("index_behind_seconds", seconds)


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
    """How many entries cannot be searched yet, and the age of the oldest of them in seconds.

    Raises `StoreUnavailable` where search does not answer.
    """
    # The index first: what is appended meanwhile makes it look behind, never ahead.
    position = deps.index.complete_up_to().seq
    with reading(deps.engine) as db:
        return size(db) - position, _age_of(db, position, deps.clock())


def _log(db: Connection, now: datetime) -> Iterable[Measure]:
    entries = size(db)
    yield measure("ledger_entries", entries)
    yield measure("ledger_append_age_seconds", _age_of(db, entries - 1, now))


def _seal(db: Connection, now: datetime) -> Iterable[Measure]:
    last = last_checkpoint(db)
    yield measure("checkpoint_age_seconds", seconds_since(last.at if last else None, now))
    # A checkpoint's own entry needs no other one.
    unsealed = select(ENTRIES.c.at).where(
        ENTRIES.c.seq >= (last.size if last else 0), ENTRIES.c.topic != Topic.CHECKPOINT_SIGNED
    )
    oldest = db.scalar(unsealed.order_by(ENTRIES.c.seq).limit(1))
    yield measure("unsealed_seconds", seconds_since(oldest, now))


def _age_of(db: Connection, seq: int, now: datetime) -> float:
    """Age of an entry in seconds; 0 where there is none."""
    return seconds_since(db.scalar(select(ENTRIES.c.at).where(ENTRIES.c.seq == seq)), now)
