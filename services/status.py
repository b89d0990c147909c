"""The status page: how everything stands, on one screen, from each service's own counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, render_template
from sqlalchemy import Engine, func, select

from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.lag import oldest_unhandled, oldest_unsent
from services.writer import queries
from shared.access import role
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
    """``audit`` and ``writer`` are web dependencies; ``writer`` where this process has both.

    ``broker_url`` may look at queues, and ``disk`` holds the data, where this process has such.
    """

    audit: Any
    writer: Any | None = None
    broker_url: str = ""
    disk: Path | None = None
    public_url: str
    crm_url: str = ""


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
        with reading(deps.audit.engine) as connection:
            checkpoint = last_checkpoint(connection)
        return render_template(
            "status.html",
            stop=queries.stop_state(deps.writer) if deps.writer else None,
            queues=queue_lines(deps),
            balance=balance(deps.audit),
            checkpoint=checkpoint,
            disk=shutil.disk_usage(deps.disk) if deps.disk else None,
            public_url=deps.public_url,
            crm_url=deps.crm_url,
        )

    return blueprint


def queue_lines(deps: StatusDeps) -> list[QueueLine]:
    """One line for each work queue. Where the broker tells no ages, the databases do."""
    if not deps.broker_url:
        return []
    audit = deps.audit
    found = depths(deps.broker_url)
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
    audit = deps.audit
    for service in SERVICES:
        age = oldest_unsent(audit.books, service, audit.clock())
        labels = {"service": service}
        yield _gauge("outbox_age_seconds", "Age of the oldest unsent message", age, labels)
    counted = balance(audit)
    for state in STATES:
        labels = {"state": state}
        yield _gauge("events", "Accepted events by state", getattr(counted, state), labels)
    if deps.disk is not None:
        free = shutil.disk_usage(deps.disk).free
        yield _gauge("disk_free_bytes", "Free bytes of DATA_DIR", free, {})


def card_measures(writer: Any) -> Iterable[Measure]:
    """The same of the writer's cards."""
    oldest = oldest_card(writer.engine, writer.clock())
    yield _gauge("oldest_card_seconds", "Age of the oldest waiting card", oldest, {})


def _gauge(name: str, help_: str, value: float, labels: dict[str, str]) -> Measure:
    return Measure(name=f"countersign_{name}", help=help_, value=value, labels=labels)


def oldest_card(engine: Engine, now: datetime) -> float:
    """Seconds since the oldest card came that still waits for a person; 0 without one."""
    from services.writer.tables import proposals

    query = select(func.min(proposals.c.created_at)).where(proposals.c.state == "pending")
    with reading(engine) as connection:
        oldest = connection.scalar(query)
    return (now - parse_instant(oldest)).total_seconds() if oldest else 0.0
