"""The databases of all services in one view, read only: what is counted and nothing else.

PostgreSQL's role ``reconciler`` may read exactly these columns (see `services.rights`). Embedded,
the files are opened side by side. Each table stands under the name of its service on both.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url

from shared.db import open_database
from shared.domain.topics import AUDIT, INGEST, SERVICES

_metadata = MetaData()

ACCEPTED = Table(
    "accepted",
    _metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String),
    Column("received_at", String),
    Column("sent_at", String),
    Column("sent_as", String),
    schema=INGEST,
)
ENTRIES = Table(
    "entries",
    _metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("at", String),
    Column("topic", String),
    Column("subject", String),
    Column("chain", String),
    Column("message_id", String),
    schema=AUDIT,
)
EVENT_ENDS = Table(
    "event_ends",
    _metadata,
    Column("event", String, primary_key=True),
    Column("outcome", String),
    Column("failed", Boolean),
    schema=AUDIT,
)
OUTBOXES = {
    service: Table(
        "outbox",
        _metadata,
        Column("seq", Integer, primary_key=True),
        Column("message_id", String),
        Column("chain", String),
        Column("created_at", String),
        Column("sent_at", String),
        schema=service,
    )
    for service in SERVICES
}
INBOXES = {
    service: Table("inbox", _metadata, Column("message_id", String), schema=service)
    for service in SERVICES
}


def open_books(url: str) -> Engine:
    """``postgresql+psycopg://…`` of the reconciler, or ``sqlite:///<folder>`` of the files."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return open_database(url)
    folder = Path(parsed.database or "")
    engine = create_engine("sqlite://", creator=lambda: _side_by_side(folder), pool_size=4)
    event.listen(engine, "begin", _begin)
    return engine


def _side_by_side(folder: Path) -> Any:
    connection = sqlite3.connect(
        "file::memory:", uri=True, timeout=10, isolation_level=None, check_same_thread=False
    )
    for service in SERVICES:
        connection.execute(
            f"ATTACH DATABASE ? AS {service}", (f"file:{folder / service}.db?mode=ro",)
        )
        # Read from the pages that the kernel holds anyway: each copy of our own would fill up
        # as the databases grow, once per connection and database.
        connection.execute(f"PRAGMA {service}.cache_size=-256")
        connection.execute(f"PRAGMA {service}.mmap_size=268435456")
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
