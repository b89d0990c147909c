"""The figures of ingest: requests by verdict, what waits for the broker, refused signatures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, func, select

from services.ingest.mailboxes.standing import mailbox_measures
from services.ingest.signed_text import Reason
from services.ingest.store import accepted, outbox, refusals, tallies
from shared.db import reading
from shared.domain.schema import rfc3339
from shared.figures import outbox_measures, passed_over, seconds_since
from shared.metrics import Measure, measure

RECENT = timedelta(minutes=10)
SIGNATURE = (Reason.MISMATCH, Reason.MISSING, Reason.MALFORMED, Reason.STALE)


def measures(engine: Engine, clock: Callable[[], datetime]) -> Iterable[Measure]:
    """All of the database of ingest."""
    yield from _hooks(engine)
    yield from _inbox(engine, clock())
    yield from outbox_measures(engine, outbox, clock)
    yield from mailbox_measures(engine, clock())


def disk_measures(folder: Path) -> Iterable[Measure]:
    yield measure("disk_free_bytes", shutil.disk_usage(folder).free)


def _hooks(engine: Engine) -> Iterable[Measure]:
    names = ("source", "endpoint", "result", "reason")
    by = [tallies.c[name] for name in names]
    with reading(engine) as db:
        rows = db.execute(select(*by, func.sum(tallies.c.count)).group_by(*by)).all()
    for *labels, count in rows:
        yield measure("hooks_total", count, **dict(zip(names, labels, strict=True)))


def _inbox(engine: Engine, now: datetime) -> Iterable[Measure]:
    """A happening that was passed over was refused by the broker, as in an outbox."""
    unsent = select(func.count(), func.min(accepted.c.received_at))
    with reading(engine) as db:
        waiting, oldest = db.execute(unsent.where(accepted.c.sent_at.is_(None))).one()
        lost = passed_over(db, accepted.c.seq, accepted.c.sent_at) if waiting else 0
        refused = select(func.coalesce(func.sum(refusals.c.count), 0)).where(
            refusals.c.received_at > rfc3339(now - RECENT),
            refusals.c.reason.in_(map(str, SIGNATURE)),
        )
        recent = db.scalar(refused) or 0
    yield measure("inbox_unsent", waiting)
    yield measure("inbox_age_seconds", seconds_since(oldest, now))
    yield measure("unroutable_messages", lost, service="ingest-inbox")
    yield measure("refused_signatures_recent", recent)
