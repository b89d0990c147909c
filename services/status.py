"""The status page: how everything stands, on one screen, from each service's own counts."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import structlog
from flask import Blueprint, render_template
from sqlalchemy import MetaData, Table, func, select

from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.measures import ages, behind
from services.measures import NOTICE
from services.place import Place
from services.writer import queries
from shared.access import person_or_none, role
from shared.alarms import Alarm, alarms
from shared.bus.depths import depths
from shared.bus.topology import parked, work_queues
from shared.db import reading
from shared.domain.schema import parse_instant
from shared.errors import Unavailable
from shared.web import Banner

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StatusDeps:
    """``audit`` and ``writer`` are web dependencies; ``writer`` where this process has both."""

    audit: Any
    writer: Any | None = None
    place: Place
    public_url: str


@dataclass(frozen=True, kw_only=True)
class QueueLine:
    """``oldest`` is the age of the oldest message that is not handled yet, in seconds."""

    name: str
    waiting: int
    oldest: float
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
        with reading(deps.audit.engine) as connection:
            checkpoint = last_checkpoint(connection)
        place = deps.place
        return render_template(
            "status.html",
            stop=queries.stop_state(deps.writer) if deps.writer else None,
            queues=_or_none("broker", partial(queue_lines, deps)),
            balance=balance(deps.audit),
            checkpoint=checkpoint,
            alarms=alarm_lines(deps.audit),
            channels=channel_lines(deps.audit),
            behind=_or_none("search", partial(behind, deps.audit)),
            disk=shutil.disk_usage(place.disk_dir) if place.disk_dir else None,
            public_url=deps.public_url,
            crm_url=place.crm_public_url,
        )

    return blueprint


def _or_none(part: str, ask: Callable[[], T]) -> T | None:
    """What a server tells; ``None`` while it is away: just then people look at this page."""
    try:
        return ask()
    except Unavailable as error:
        log.warning("status lacks a part", part=part, error=str(error))
        return None


def queue_lines(deps: StatusDeps) -> list[QueueLine]:
    """One line for each work queue. Where the broker tells no ages, the databases do.

    Raises `BrokerUnavailable`.
    """
    if not deps.place.broker_url:
        return []
    found = depths(deps.place.broker_url)
    lines = []
    for name in work_queues():
        waiting, oldest = found.get(name, (0, 0.0))
        if oldest is None:
            oldest = ages(deps.audit)(name, waiting)
        dead = found.get(parked(name), (0, 0.0))[0]
        lines.append(QueueLine(name=name, waiting=waiting, oldest=oldest, parked=dead))
    return lines


@functools.cache
def _in_books(table: Table, service: str) -> Table:
    """The table of a service as audit sees it, read only."""
    return table.to_metadata(MetaData(), schema=service)


def alarm_lines(audit: Any) -> list[Alarm]:
    """What is wrong in any service, and below it what was lately."""
    found: list[Alarm] = []
    with reading(audit.books) as db:
        for name, tables in NOTICE.items():
            found += alarms(db, _in_books(tables.alarms, name))
    return sorted(found, key=lambda one: (not one.is_on, -one.raised_at.timestamp()))


def channel_lines(audit: Any) -> list[ChannelLine]:
    """One line for each channel; each service that tells something keeps its own account."""
    found: dict[str, list[Any]] = {}
    waiting: Counter[str] = Counter()
    with reading(audit.books) as db:
        for name, tables in NOTICE.items():
            for row in db.execute(select(_in_books(tables.channels, name))):
                found.setdefault(row.name, []).append(row)
            sent = _in_books(tables.notices, name).c
            by = select(sent.channel, func.count()).where(sent.state == "failed")
            waiting.update({row[0]: row[1] for row in db.execute(by.group_by(sent.channel))})
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


def alarm_banner(audit: Any) -> Banner | None:
    """For admins, who can do something about it."""
    person = person_or_none()
    if person is None or "admin" not in person.roles:
        return None
    on = [alarm for alarm in alarm_lines(audit) if alarm.is_on]
    if not on:
        return None
    more = f" and {len(on) - 1} more" if len(on) > 1 else ""
    return Banner(text=f"Alarm: {on[0].rule.summary}{more}", href="/status")
