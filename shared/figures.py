"""Figures that several services have: outbox, notices, loops and memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, func, select

from shared.db import reading
from shared.domain.schema import parse_instant
from shared.heartbeat import overdue
from shared.metrics import Measure, measure
from shared.notifications.tables import NoticeTables
from shared.outbox import Outbox
from shared.processes import LONGEST_NAME


def seconds_since(moment: str | None, now: datetime) -> float:
    """Age of a stored time; 0 where there is none."""
    return max(0.0, (now - parse_instant(moment)).total_seconds()) if moment else 0.0


def outbox_measures(
    engine: Engine, outbox: Outbox, clock: Callable[[], datetime]
) -> Iterable[Measure]:
    """What a service has not handed to the broker yet."""
    table, service = outbox.outbox, outbox.service
    waits = table.c.sent_at.is_(None)
    with reading(engine) as db:
        count, oldest = db.execute(
            select(func.count(), func.min(table.c.created_at)).where(waits)
        ).one()
        unroutable = passed_over(db, table.c.seq, table.c.sent_at) if count else 0
    yield measure("outbox_unsent", count, service=service)
    yield measure("outbox_age_seconds", seconds_since(oldest, clock()), service=service)
    yield measure("unroutable_messages", unroutable, service=service)


def passed_over(db: Connection, seq: Column[int], sent_at: Column[str]) -> int:
    """Rows that wait although later ones were sent: the broker has refused these."""
    last = select(func.max(seq)).where(sent_at.isnot(None)).scalar_subquery()
    query = select(func.count()).where(sent_at.is_(None), seq < last)
    return db.scalar(query) or 0


def notice_measures(engine: Engine, tables: NoticeTables, service: str) -> Iterable[Measure]:
    """Alarms that are on, and notices that could not be delivered yet."""
    alarms, notices = tables.alarms, tables.notices
    with reading(engine) as db:
        names = db.scalars(select(alarms.c.name).where(alarms.c.state == "on"))
        on = Counter(names)
        failing = db.scalar(select(func.count()).where(notices.c.state == "failed")) or 0
    for name, count in on.items():
        yield measure("alarms", count, service=service, alarm=name)
    yield measure("notices_failing", failing, service=service)


def loop_measures(wake_dir: Path) -> Iterable[Measure]:
    """How late each loop on this machine is."""
    for loop, seconds in overdue(wake_dir).items():
        yield measure("heartbeat_overdue_seconds", seconds, loop=loop)


def memory_measures(names: Iterable[str]) -> Iterable[Measure]:
    """Resident memory of the processes of this tree with these names (Linux only)."""
    group, page = os.getpgrp(), os.sysconf("SC_PAGE_SIZE")
    known = {name[:LONGEST_NAME]: name for name in names}
    sums: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            shown, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # It ended meanwhile.
        fields = rest.split()
        if shown in known and int(fields[2]) == group:
            sums[known[shown]] += int(fields[21]) * page
    for name, size in sums.items():
        yield measure("process_memory_bytes", size, process=name)
