"""What a backup lacks: named from the log's newer checkpoints, or from what was left over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, select

from services.audit import ledger
from services.audit.ledger import edge_of
from services.audit.merkle import root_of
from services.backup.manifest import Reach, event_line
from services.ingest.store import accepted
from services.installation import Installation
from services.writer.tables import changes
from shared.db import in_schema, open_database, reading
from shared.errors import BadPayload, BadSignature, ConfigurationError, StoreUnavailable
from shared.proof import VerifierKey, open_checkpoint

STEP = 500


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What was left of an installation: a folder of database files, or a PostgreSQL URL."""

    where: str

    def open(self, name: str) -> Engine:
        """Raises `ConfigurationError` where there is no such thing."""
        if "://" in self.where:
            return open_database(in_schema(self.where, name), pooled=False)
        file = Path(self.where) / f"{name}.db"
        if not file.exists():
            raise ConfigurationError(f"{self.where} holds no {name}.db")
        return open_database(f"sqlite:///{file.resolve()}", pooled=False)


def newer_checkpoint(note: str, reach: Reach, keys: Sequence[VerifierKey]) -> str:
    """One sentence: how many entries the log had when this checkpoint was signed.

    Raises `ConfigurationError` for a note that the log's keys did not sign.
    """
    try:
        checkpoint = open_checkpoint(note, keys)
    except (BadPayload, BadSignature) as error:
        raise ConfigurationError(f"this is no checkpoint of this log: {error}") from error
    lost = checkpoint.size - reach.entries
    if lost > 0:
        return f"The log had {checkpoint.size} entries by then: {lost} are not in the backup."
    return f"The backup reaches further than that checkpoint of {checkpoint.size} entries."


def lost_events(home: Installation, left: LeftOver) -> Iterator[dict[str, str]]:
    """Every event that was accepted and is not in what was restored, oldest first."""
    query = select(accepted).order_by(accepted.c.seq)
    for row in _lacking(home, left, "ingest", accepted, query):
        yield event_line(row)


def lost_changes(home: Installation, left: LeftOver) -> Iterator[dict[str, str]]:
    """Every change that was written to the CRM and that what was restored does not know."""
    query = select(changes).where(changes.c.state == "applied").order_by(changes.c.intended_at)
    for row in _lacking(home, left, "writer", changes, query):
        yield {name: str(getattr(row, name)) for name in ("id", "record", "finished_at")}


def lost_entries(left: LeftOver, reach: Reach) -> str:
    """One sentence: how far the old log went on, and whether it is the same log."""
    engine = left.open("audit")
    try:
        with reading(engine) as db:
            size = edge_of(db).frontier.size
            same = size >= reach.entries and _root(db, reach.entries) == reach.root
    except StoreUnavailable:
        return "The log that was left over cannot be read."
    finally:
        engine.dispose()
    if not same:
        return "The log that was left over is NOT the one of the backup."
    return f"The log that was left over goes on for {size - reach.entries} entries."


def _root(db: Connection, size: int) -> str:
    return root_of(lambda level, index: ledger.node(db, level, index), size).hex()


def _lacking(
    home: Installation, left: LeftOver, name: str, table: Table, query: Any
) -> Iterator[Any]:
    old, new = left.open(name), open_database(home.database(name), pooled=False)
    try:
        with reading(old) as there, reading(new) as here:
            rows = there.execute(query.execution_options(yield_per=STEP))
            for some in rows.partitions():
                known = select(table.c.id).where(table.c.id.in_([row.id for row in some]))
                found = set(here.scalars(known))
                yield from (row for row in some if row.id not in found)
    finally:
        old.dispose()
        new.dispose()
