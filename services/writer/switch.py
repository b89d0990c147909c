"""The stop switch: one row that every write checks, and the times it stood on stop."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from services.writer.office import Stop
from services.writer.tables import stop_intervals, stop_switch
from services.writer.views import StopView
from shared.db import upsert
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import Topic
from shared.errors import Conflict
from shared.outbox import Unit


def is_stopped(db: Connection) -> bool:
    return bool(db.scalar(select(stop_switch.c.stopped).where(stop_switch.c.id == 1)))


def turn(db: Connection, *, stopped: bool, person: str, reason: str, at: datetime) -> bool:
    """Turn the switch. False: it stood there already."""
    if is_stopped(db) == stopped:
        return False
    row = {"id": 1, "stopped": stopped, "person": person, "reason": reason, "since": rfc3339(at)}
    upsert(db, stop_switch, row, key=["id"])
    if stopped:
        upsert(db, stop_intervals, {"since": rfc3339(at), "until": None}, key=["since"])
    else:
        running = stop_intervals.c.until.is_(None)
        db.execute(stop_intervals.update().where(running).values(until=rfc3339(at)))
    return True


def stop(unit: Unit, *, person: str, reason: str) -> None:
    """Stop writing and tell the log. Raises `Conflict` where it is stopped already."""
    if not turn(unit.db, stopped=True, person=person, reason=reason, at=unit.now):
        raise Conflict("Writing is stopped already.")
    _tell(unit, Topic.WRITING_STOPPED, person, reason)


def resume(unit: Unit, *, person: str, reason: str) -> None:
    """Let writing go on and tell the log. Raises `Conflict` where it was not stopped."""
    if not turn(unit.db, stopped=False, person=person, reason=reason, at=unit.now):
        raise Conflict("Writing is not stopped.")
    _tell(unit, Topic.WRITING_RESUMED, person, reason)


def _tell(unit: Unit, topic: Topic, person: str, reason: str) -> None:
    actor = f"person:{person}"
    unit.publish(topic, {"reason": reason}, subject="writing", actor=actor, key=rfc3339(unit.now))


def stops(db: Connection) -> tuple[Stop, ...]:
    """Every time writing was stopped, oldest first."""
    rows = db.execute(select(stop_intervals).order_by(stop_intervals.c.since))
    return tuple(
        Stop(
            since=parse_instant(row.since),
            until=parse_instant(row.until) if row.until else None,
        )
        for row in rows
    )


def state(db: Connection, problem: str | None) -> StopView:
    """What the banner shows."""
    row = db.execute(select(stop_switch).where(stop_switch.c.id == 1)).first()
    if row is None or not row.stopped:
        return StopView(stopped=False, person=None, reason=None, since=None, problem=problem)
    return StopView(
        stopped=True,
        person=row.person,
        reason=row.reason,
        since=parse_instant(row.since),
        problem=problem,
    )
