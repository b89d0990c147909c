"""The tables of the classifier: questions to the model, and events for another try."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, Text, select

from services.classifier.budget import Spending
from shared.db import reading, upsert
from shared.domain.event import Event, EventSchema
from shared.domain.schema import dump, load, rfc3339
from shared.lease import lease_table
from shared.outbox import Outbox

NAME = "classifier"
KEPT = timedelta(days=30)

metadata = MetaData()
outbox = Outbox(metadata, NAME)
spending = Spending(metadata)
leases = lease_table(metadata)

# Only events that led to a proposal: a person may ask for another try at those.
remembered = Table(
    "remembered",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("chain", String, nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("at", String, nullable=False, index=True),
)


def remember(connection: Connection, event: Event, chain: str, at: datetime) -> None:
    """Keep the event for another try."""
    row = {
        "event_id": event.id,
        "chain": chain,
        "event": json.dumps(dump(EventSchema, event), ensure_ascii=False),
        "at": rfc3339(at),
    }
    upsert(connection, remembered, row, key=["event_id"])


def recalled(engine: Engine, event_id: str) -> Event | None:
    """The event again, or ``None`` if it was not kept or has been forgotten."""
    with reading(engine) as connection:
        query = select(remembered.c.event).where(remembered.c.event_id == event_id)
        text = connection.scalar(query)
    event: Event | None = load(EventSchema, json.loads(text)) if text else None
    return event


def forget(connection: Connection, chains: Sequence[str]) -> None:
    """A person was erased: nothing that was kept of these chains stays."""
    connection.execute(remembered.delete().where(remembered.c.chain.in_(chains)))
    connection.execute(spending.asks.delete().where(spending.asks.c.chain.in_(chains)))
    outbox.forget(connection, chains)


def prune(connection: Connection, now: datetime) -> None:
    """Forget what no retry, replay or second try can ask for any more."""
    connection.execute(remembered.delete().where(remembered.c.at < rfc3339(now - KEPT)))
    spending.prune(connection, now)
    outbox.prune(connection, now - KEPT)
