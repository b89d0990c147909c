"""What audit has to tell people: messages that nobody could handle."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from services.audit.tables import ENTRIES
from shared.domain.schema import parse_instant
from shared.domain.topics import Topic
from shared.notifications.channels import Kind
from shared.notifications.due import News
from shared.notifications.notifier import Ear


def collect(db: Connection, ear: Ear) -> Iterator[News]:
    """Dead letters among the entries that this channel has not read; a new one begins now."""
    if ear.seen is None:
        return
    parked = (ENTRIES.c.topic == Topic.MESSAGE_PARKED) & (ENTRIES.c.seq >= ear.seen)
    query = select(ENTRIES.c.seq, ENTRIES.c.at, ENTRIES.c.subject).where(parked)
    for row in db.execute(query.order_by(ENTRIES.c.seq)):
        yield News(
            kind=Kind.DEAD_LETTER,
            subject=str(row.seq),
            at=parse_instant(row.at),
            title="A message could not be handled",
            text=f"{row.subject}. `countersign dead list` tells why.",
            path="/status",
        )
