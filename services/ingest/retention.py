"""How long each source's raw bytes are kept: as the source says, or as an admin has set."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select, update

from services.ingest.source import Source
from services.ingest.sources import KNOWN
from services.ingest.store import raw_files, retention
from shared.db import upsert
from shared.domain.schema import parse_instant, rfc3339

SHORTEST, LONGEST = 1, 3650


def days_by_source(connection: Connection) -> dict[str, int]:
    """Of every source."""
    changed = {row.source: row.days for row in connection.execute(select(retention))}
    return {name: changed.get(name, source.keep_days) for name, source in KNOWN.items()}


def days_of(connection: Connection, source: Source) -> int:
    found = connection.scalar(select(retention.c.days).where(retention.c.source == source.name))
    return source.keep_days if found is None else int(found)


def keep_for(connection: Connection, source: Source, days: int) -> None:
    """From now on, and for what is kept already: bytes that are gone stay gone."""
    shift = timedelta(days=days - days_of(connection, source))
    upsert(connection, retention, {"source": source.name, "days": days}, key=["source"])
    if not shift:
        return
    theirs = select(raw_files.c.sha256, raw_files.c.expires_at).where(
        raw_files.c.source == source.name
    )
    for sha256, expires_at in connection.execute(theirs).all():
        moved = rfc3339(parse_instant(expires_at) + shift)
        row = update(raw_files).where(raw_files.c.sha256 == sha256)
        connection.execute(row.values(expires_at=moved))
