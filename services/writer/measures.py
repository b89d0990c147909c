"""The figures of the writer: cards, decisions, changes, and what stops them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select

from services.writer import policy_store, switch
from services.writer.tables import changes, decisions, outbox, proposals
from shared.db import reading
from shared.domain.schema import parse_instant
from shared.figures import outbox_measures, seconds_since
from shared.metrics import Measure, measure
from shared.office import working_between


def measures(engine: Engine, clock: Callable[[], datetime]) -> Iterable[Measure]:
    """All of the database of the writer."""
    now = clock()
    with reading(engine) as db:
        found = [*_cards(db, now), *_decisions(db), *_changes(db, now), *_stops(db, now)]
    yield from found
    yield from outbox_measures(engine, outbox, clock)


def _cards(db: Connection, now: datetime) -> Iterable[Measure]:
    pending = proposals.c.state == "pending"
    oldest_card = func.min(proposals.c.created_at)
    count, oldest = db.execute(select(func.count(), oldest_card).where(pending)).one()
    yield measure("pending_cards", count)
    yield measure("oldest_card_seconds", seconds_since(oldest, now))
    # While writing is stopped the clocks of the cards stand still.
    counts = oldest and not switch.is_stopped(db)
    minutes = (
        working_between(policy_store.office_in_force(db), parse_instant(oldest), now)
        if counts
        else 0
    )
    yield measure("oldest_card_working_seconds", minutes * 60)


def _decisions(db: Connection) -> Iterable[Measure]:
    by = decisions.c.verdict
    for verdict, count in db.execute(select(by, func.count()).group_by(by)):
        yield measure("decisions_total", count, verdict=verdict)


def _changes(db: Connection, now: datetime) -> Iterable[Measure]:
    state, table = changes.c.state, changes.c
    for name, count in db.execute(select(state, func.count()).group_by(state)):
        yield measure("changes", count, state=name)
    unknown = db.scalar(select(func.min(table.updated_at)).where(state == "unknown"))
    yield measure("unknown_change_seconds", seconds_since(unknown, now))
    silent = (state == "intended") & table.receipt.is_(None)
    waiting = db.scalar(select(func.min(table.intended_at)).where(silent))
    yield measure("receipt_wait_seconds", seconds_since(waiting, now))


def _stops(db: Connection, now: datetime) -> Iterable[Measure]:
    found = policy_store.current(db)
    stop = switch.state(db, found.problem if found else None)
    held = (changes.c.state == "intended") & changes.c.held.isnot(None)
    count = db.scalar(select(func.count()).where(held)) or 0
    yield measure("held_changes", count if stop.stopped else 0, why="stopped")
    yield measure("held_changes", 0 if stop.stopped else count, why="cap")
    since = (now - stop.since).total_seconds() if stop.stopped and stop.since else 0.0
    yield measure("writing_stopped", stop.stopped)
    yield measure("writing_stopped_seconds", since)
    yield measure("policy_invalid", stop.problem is not None)
