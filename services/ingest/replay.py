"""Sending accepted happenings on their way again: one, or all that match a filter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, true, update

from services.ingest.store import accepted
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import NotFound
from shared.outbox import Unit

MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Which:
    """All that is given must hold; ``since`` is inclusive, ``until`` exclusive."""

    event_id: str | None = None
    source: str | None = None
    endpoint: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self) -> ColumnElement[bool]:
        wanted: ColumnElement[bool] = true()
        for column, value in (
            (accepted.c.id, self.event_id),
            (accepted.c.source, self.source),
            (accepted.c.endpoint, self.endpoint),
            (accepted.c.type, self.type),
        ):
            if value is not None:
                wanted &= column == value
        if self.since:
            wanted &= accepted.c.received_at >= rfc3339(self.since)
        if self.until:
            wanted &= accepted.c.received_at < rfc3339(self.until)
        return wanted


def matching(unit: Unit, which: Which) -> list[str]:
    """The ids of what would be sent, in order; what has not been sent yet is none of them.

    Raises `NotFound` for an event id that does not exist. This alone is the dry run.
    """
    query = (
        select(accepted.c.id)
        .where(which.condition(), accepted.c.sent_at.is_not(None))
        .order_by(accepted.c.seq)
        .limit(MOST)
    )
    found = list(unit.db.scalars(query))
    if which.event_id and not found:
        raise NotFound("There is no such event, or it is still waiting to be sent.")
    return found


def replay(unit: Unit, which: Which, *, reason: str, actor: str) -> list[str]:
    """Mark as unsent what matches and log that; the relay does the rest. Returns the ids.

    Each gets a new message id, since consumers drop an id they have handled. Raises `NotFound`.
    """
    found = matching(unit, which)
    for id_ in found:
        again = update(accepted).where(accepted.c.id == id_)
        unit.db.execute(again.values(sent_at=None, replays=accepted.c.replays + 1))
        rounds = unit.db.scalar(select(accepted.c.replays).where(accepted.c.id == id_))
        unit.publish(
            Topic.EVENT_REPLAYED,
            {"event_id": id_, "queue": None, "message_id": None, "reason": reason},
            subject=f"event/{id_}",
            chain=id_,
            actor=actor,
            key=str(rounds),
        )
    return found
