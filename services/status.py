"""The status page: how everything stands, on one screen, from each service's own counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, render_template
from sqlalchemy import Engine, func, select

from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.lag import oldest_unhandled, oldest_unsent
from services.installation import Installation
from services.writer import queries
from shared.access import current_person, role
from shared.bus.depths import depths
from shared.bus.topology import work_queues
from shared.db import reading
from shared.domain.schema import parse_instant
from shared.domain.topics import SERVICES
from shared.web import Measure

STATES = (
    "accepted",
    "proposed",
    "nothing_to_do",
    "a_person_must_look",
    "rejected",
    "failed",
    "waiting",
    "difference",
)


@dataclass(frozen=True, kw_only=True)
class StatusDeps:
    """``parts`` are the web dependencies by service name."""

    home: Installation
    parts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class QueueLine:
    """``oldest`` is the age of the oldest message that is not handled yet, in seconds."""

    name: str
    waiting: int
    oldest: float
    parked: int


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
            queues=queue_lines(deps),
            balance=balance(audit),
            checkpoint=checkpoint,
            disk=shutil.disk_usage(deps.home.root),
            home=deps.home,
        )

    return blueprint


def queue_lines(deps: StatusDeps) -> list[QueueLine]:
    """One line for each work queue. Where the broker tells no ages, the databases do."""
    audit = deps.parts["audit"]
    found = depths(deps.home.bus_url)
    lines = []
    for name in work_queues():
        waiting, oldest = found.get(name, (0, 0.0))
        if oldest is None:
            oldest = oldest_unhandled(audit.books, name, waiting, audit.clock())
        parked = found.get(f"{name}.parked", (0, 0.0))[0]
        lines.append(QueueLine(name=name, waiting=waiting, oldest=oldest, parked=parked))
    return lines


def measures(deps: StatusDeps) -> Iterable[Measure]:
    """What `/metrics` shows; every value is read at scrape time."""
    for line in queue_lines(deps):
        labels = {"queue": line.name}
        yield _gauge("queue_messages", "Messages waiting or in hand", line.waiting, labels)
        yield _gauge("queue_age_seconds", "Age of the oldest message", line.oldest, labels)
        yield _gauge("dead_letters", "Messages parked", line.parked, labels)
    audit = deps.parts["audit"]
    for service in SERVICES:
        age = oldest_unsent(audit.books, service, audit.clock())
        labels = {"service": service}
        yield _gauge("outbox_age_seconds", "Age of the oldest unsent message", age, labels)
    counted = balance(audit)
    for state in STATES:
        labels = {"state": state}
        yield _gauge("events", "Accepted events by state", getattr(counted, state), labels)
    free = shutil.disk_usage(deps.home.root).free
    yield _gauge("disk_free_bytes", "Free bytes of DATA_DIR", free, {})
    yield _gauge("oldest_card_seconds", "Age of the oldest waiting card", _oldest(deps), {})


def _gauge(name: str, help_: str, value: float, labels: dict[str, str]) -> Measure:
    return Measure(name=f"countersign_{name}", help=help_, value=value, labels=labels)


def _oldest(deps: StatusDeps) -> float:
    writer = deps.parts["writer"]
    return oldest_card(writer.engine, writer.clock())


def oldest_card(engine: Engine, now: datetime) -> float:
    """Seconds since the oldest card came that still waits for a person; 0 without one."""
    from services.writer.tables import proposals

    query = select(func.min(proposals.c.created_at)).where(proposals.c.state == "pending")
    with reading(engine) as connection:
        oldest = connection.scalar(query)
    return (now - parse_instant(oldest)).total_seconds() if oldest else 0.0
