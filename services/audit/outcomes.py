"""How each accepted event ended so far: one row per event, the one source of the balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from services.audit.tables import EVENT_ENDS
from shared.bus.envelope import Envelope
from shared.db import insert_new, upsert_all
from shared.domain.event import OWN_SOURCE
from shared.domain.topics import Topic

Row = dict[str, object]
REJECTED = "rejected"
_ON_THE_WAY = {Topic.EVENT_RECEIVED, Topic.EVENT_CLASSIFIED}


@dataclass(frozen=True, kw_only=True)
class End:
    """What one message says about an event. ``None`` leaves what is known as it is.

    An ``outcome`` also says whether it failed.
    """

    event: str
    outcome: str | None = None
    failed: bool | None = None

    def then(self, later: End) -> End:
        """Both, the later one over this one."""
        if later.outcome is not None:
            return later
        failed = self.failed if later.failed is None else later.failed
        return replace(self, failed=failed)


def end_of(envelope: Envelope) -> End | None:
    """What the message says about the end of an event, if anything."""
    body = envelope.body
    match envelope.topic:
        case Topic.EVENT_RECEIVED:
            return End(event=str(body.get("id", envelope.chain)))
        case Topic.EVENT_CLASSIFIED if _is_own(body):
            return None
        case Topic.EVENT_CLASSIFIED:
            return End(event=envelope.chain, outcome=str(body.get("outcome")), failed=False)
        case Topic.EVENT_REJECTED if body.get("accepted") and body.get("event_id"):
            return End(event=str(body["event_id"]), outcome=REJECTED, failed=False)
        case Topic.EVENT_FAILED:
            return End(event=str(body.get("event_id", envelope.chain)), failed=True)
        case Topic.MESSAGE_PARKED if body.get("topic") in _ON_THE_WAY:
            return End(event=envelope.chain, failed=True)
        case Topic.MESSAGE_REPLAYED if body.get("topic") in _ON_THE_WAY:
            return End(event=envelope.chain, failed=False)
        case Topic.EVENT_REPLAYED:
            return End(event=str(body.get("event_id", envelope.chain)), failed=False)
        case _:
            return None


def _is_own(body: Mapping[str, Any]) -> bool:
    """Whether it answers what a person asked: nobody accepted an event."""
    event = body.get("event")
    return isinstance(event, Mapping) and event.get("source") == OWN_SOURCE


def record_ends(db: Connection, ends: Iterable[End]) -> None:
    """Later messages win over earlier ones."""
    last: dict[str, End] = {}
    for end in ends:
        last[end.event] = last[end.event].then(end) if end.event in last else end
    heard, failed, ended = list[Row](), list[Row](), list[Row]()
    for end in last.values():
        row = {"event": end.event, "failed": bool(end.failed)}
        if end.outcome is not None:
            ended.append({**row, "outcome": end.outcome})
        else:
            (heard if end.failed is None else failed).append(row)
    insert_new(db, EVENT_ENDS, heard)
    upsert_all(db, EVENT_ENDS, failed, key=["event"])
    upsert_all(db, EVENT_ENDS, ended, key=["event"])
