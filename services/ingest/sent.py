"""Which messages of accepted and refused happenings the broker has confirmed."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from services.ingest.store import accepted, refusals
from shared.domain import ids
from shared.domain.topics import Topic

STEP = 500


def sent_ids(connection: Connection, since: str) -> Iterator[tuple[str, str]]:
    """Id and topic of the newest message of each, sent after ``since`` (RFC 3339)."""
    query = select(accepted.c.id, accepted.c.sent_as, accepted.c.replays).where(
        accepted.c.sent_at > since
    )
    for row in connection.execute(query.execution_options(yield_per=STEP)):
        yield event_message(row.id, row.sent_as, row.replays), row.sent_as
    query = select(refusals.c.id).where(refusals.c.sent_at > since)
    for id_ in connection.execute(query.execution_options(yield_per=STEP)).scalars():
        yield refusal_message(id_), str(Topic.EVENT_REJECTED)


def event_message(event: str, topic: str, replays: int) -> str:
    """The id of an accepted happening's message; sent on purpose again it has another."""
    return ids.message_id(event, topic, f"event/{event}#{replays}")


def refusal_message(refusal: str) -> str:
    return ids.message_id(refusal, str(Topic.EVENT_REJECTED), f"request/{refusal}")
