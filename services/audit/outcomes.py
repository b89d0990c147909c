"""How each accepted event ended so far: one row per event, the one source of the balance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from services.audit.tables import EVENT_ENDS
from shared.bus.envelope import Envelope
from shared.db import insert_new
from shared.domain.topics import Topic

REJECTED = "rejected"
_ON_THE_WAY = {Topic.EVENT_RECEIVED, Topic.EVENT_CLASSIFIED}


@dataclass(frozen=True, kw_only=True)
class End:
    """What one message says about an event. ``None`` leaves what is known as it is."""

    event: str
    outcome: str | None = None
    failed: bool | None = None


def end_of(envelope: Envelope) -> End | None:
    """What the message says about the end of an event, if anything."""
    body = envelope.body
    match envelope.topic:
        case Topic.EVENT_RECEIVED:
            return End(event=str(body.get("id", envelope.chain)))
        case Topic.EVENT_CLASSIFIED:
            return End(event=envelope.chain, outcome=str(body.get("outcome")), failed=False)
        case Topic.EVENT_REJECTED if body.get("accepted") and body.get("event_id"):
            return End(event=str(body["event_id"]), outcome=REJECTED, failed=False)
        case Topic.EVENT_FAILED:
            return End(event=str(body.get("event_id", envelope.chain)), failed=True)
        case Topic.MESSAGE_PARKED if body.get("topic") in _ON_THE_WAY:
            return End(event=envelope.chain, failed=True)
        case Topic.EVENT_REPLAYED:
            return End(event=str(body.get("event_id", envelope.chain)), failed=False)
        case _:
            return None


def record_ends(db: Connection, ends: Iterable[End]) -> None:
    """Later messages win over earlier ones."""
    for end in ends:
        first = {"event": end.event, "outcome": end.outcome, "failed": bool(end.failed)}
        if end.outcome is None and end.failed is None:
            insert_new(db, EVENT_ENDS, [first])
            continue
        known = {"outcome": end.outcome, "failed": end.failed}
        changed = {name: value for name, value in known.items() if value is not None}
        if insert_new(db, EVENT_ENDS, [first]) == 0:
            rows = EVENT_ENDS.update().where(EVENT_ENDS.c.event == end.event)
            db.execute(rows.values(**changed))
