"""The status page: how everything stands, on one screen, from each service's own counts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, render_template
from sqlalchemy import func, select

from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.measures import behind
from services.installation import Installation
from services.measures import NOTICE
from services.writer import queries
from shared.access import current_person, person_or_none, role
from shared.alarms import Alarm, alarms
from shared.bus.depths import depths
from shared.bus.topology import work_queues
from shared.db import reading
from shared.domain.schema import parse_instant
from shared.web import Banner


@dataclass(frozen=True, kw_only=True)
class StatusDeps:
    """``parts`` are the web dependencies by service name."""

    home: Installation
    parts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class QueueLine:
    """``oldest`` is the age of the oldest waiting message in seconds, where the broker tells it."""

    name: str
    waiting: int
    oldest: float | None
    parked: int


@dataclass(frozen=True, kw_only=True)
class ChannelLine:
    """``error`` is what came back last, ``waiting`` how many notices will be tried again."""

    name: str
    sent_at: datetime | None
    error: str | None
    failed_at: datetime | None
    waiting: int


def status(deps: StatusDeps) -> Blueprint:
    blueprint = Blueprint("status", __name__, template_folder="templates", static_folder=None)

    @blueprint.get("/status")
    @role("approver", "support", "admin", "auditor")
    def page() -> str:
        audit = deps.parts["audit"]
        with reading(audit.engine) as connection:
            checkpoint = last_checkpoint(connection)
        return render_template(
            "status.html",
            stop=queries.stop_state(deps.parts["writer"]),
            totals=queries.counts(deps.parts["writer"], current_person()),
            queues=queue_lines(deps.home),
            balance=balance(audit),
            checkpoint=checkpoint,
            alarms=alarm_lines(deps),
            channels=channel_lines(deps),
            behind=behind(audit),
            disk=shutil.disk_usage(deps.home.root),
            home=deps.home,
        )

    return blueprint


def queue_lines(home: Installation) -> list[QueueLine]:
    """One line for each work queue."""
    found = depths(home.bus_url)
    return [
        QueueLine(
            name=name,
            waiting=found.get(name, (0, 0.0))[0],
            oldest=found.get(name, (0, 0.0))[1],
            parked=found.get(f"{name}.parked", (0, 0.0))[0],
        )
        for name in work_queues()
    ]


def alarm_lines(deps: StatusDeps) -> list[Alarm]:
    """What is wrong in any service, and below it what was lately."""
    found: list[Alarm] = []
    for name, tables in NOTICE.items():
        with reading(deps.parts[name].engine) as db:
            found += alarms(db, tables.alarms)
    return sorted(found, key=lambda one: (not one.is_on, -one.raised_at.timestamp()))


def channel_lines(deps: StatusDeps) -> list[ChannelLine]:
    """One line for each channel; each service that tells something keeps its own account."""
    found: dict[str, list[Any]] = {}
    waiting: Counter[str] = Counter()
    for name, tables in NOTICE.items():
        table, failed = tables.notices, tables.notices.c.state == "failed"
        with reading(deps.parts[name].engine) as db:
            for row in db.execute(select(tables.channels)):
                found.setdefault(row.name, []).append(row)
            by = select(table.c.channel, func.count()).where(failed).group_by(table.c.channel)
            waiting.update(dict(db.execute(by).tuples().all()))
    return [_channel_line(name, rows, waiting[name]) for name, rows in sorted(found.items())]


def _channel_line(name: str, rows: Sequence[Any], waiting: int) -> ChannelLine:
    failing = [row for row in rows if row.error]
    sent = max((row.sent_at for row in rows if row.sent_at), default=None)
    failed = max(failing, key=lambda row: row.failed_at, default=None)
    return ChannelLine(
        name=name,
        sent_at=parse_instant(sent) if sent else None,
        error=failed.error if failed else None,
        failed_at=parse_instant(failed.failed_at) if failed else None,
        waiting=waiting,
    )


def alarm_banner(deps: StatusDeps) -> Banner | None:
    """For admins, who can do something about it."""
    person = person_or_none()
    if person is None or "admin" not in person.roles:
        return None
    on = [alarm for alarm in alarm_lines(deps) if alarm.is_on]
    if not on:
        return None
    more = f" and {len(on) - 1} more" if len(on) > 1 else ""
    return Banner(text=f"Alarm: {on[0].rule.summary}{more}", href="/status")
