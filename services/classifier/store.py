"""The tables of the classifier: questions to the model, and events for another try."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, Text, select

from services.classifier.budget import Spending
from shared.db import reading, upsert_all
from shared.domain.event import Event, EventSchema
from shared.domain.schema import load, rfc3339
from shared.lease import lease_table
from shared.outbox import Outbox, Unit

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


def remember(unit: Unit, event: Mapping[str, Any]) -> None:
    """Keep an event, plain and checked, for another try; those of a batch are written together."""
    memory = next((one for one in unit.endings if isinstance(one, _Memory)), _Memory())
    unit.before_commit(memory)
    row = {
        "event_id": event["id"],
        "chain": unit.cause.chain if unit.cause else event["id"],
        "event": json.dumps(event, ensure_ascii=False),
        "at": rfc3339(unit.now),
    }
    memory.rows.append(row)


@dataclass(eq=False, kw_only=True)
class _Memory:
    """What one commit remembers."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, unit: Unit) -> None:
        upsert_all(unit.db, remembered, self.rows, key=["event_id"])


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
