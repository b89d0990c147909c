"""What must be so for the whole to work, each with the reason when it is not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from services.audit.measures import behind
from services.ingest.measures import measures as ingest_measures
from services.installation import Installation
from services.writer import queries
from services.writer.measures import measures as writer_measures
from shared.bus.bindings import blocked, wrong_bindings
from shared.bus.connection import require_broker
from shared.db import require_writable
from shared.domain.schema import now
from shared.metrics import PREFIX, Measure
from shared.readiness import Check, Readiness

LEAST_FREE = 256 * 1024 * 1024
BEHIND_SECONDS = 60
LATE_SECONDS = 120


def readiness(home: Installation, parts: Mapping[str, Any]) -> Readiness:
    """``parts`` are the web dependencies by service name.

    The door needs its own database and some disk. That the search is behind is shown and makes
    nothing unready.
    """
    writer = parts["writer"]
    checks: dict[str, Check] = {
        **{f"{name}-database": _writable(deps.engine) for name, deps in parts.items()},
        "disk": lambda: _disk(home),
        "broker": lambda: _broker(home),
        "bindings": lambda: _bindings(home),
        "relay": lambda: _relay(parts["ingest"]),
        "writing": lambda: queries.stop_state(writer).problem,
        "log": lambda: _log(writer),
    }
    return Readiness(
        checks=checks,
        intake=frozenset({"ingest-database", "disk"}),
        notes={"index": lambda: _index(parts["audit"])},
    )


def _writable(engine: Engine) -> Check:
    return lambda: require_writable(engine)


def _disk(home: Installation) -> str | None:
    free = shutil.disk_usage(home.root).free
    return f"only {free // 1024**2} MiB are free" if free < LEAST_FREE else None


def _broker(home: Installation) -> str | None:
    """Raises `BrokerUnavailable` where it is not reachable."""
    require_broker(home.bus_url)
    management = home.run.broker_management_url
    return blocked(management) if management else None


def _bindings(home: Installation) -> str | None:
    wrong = wrong_bindings(home.bus_url, home.run.broker_management_url)
    return "; ".join(wrong) if wrong else None


def _relay(ingest: Any) -> str | None:
    """A broker that is there but takes nothing is seen by what waits for it."""
    found = _by_name(ingest_measures(ingest.engine, now))
    age = found["inbox_age_seconds"]
    if age <= LATE_SECONDS:
        return None
    return f"{found['inbox_unsent']:.0f} events wait for the broker, the oldest for {age:.0f} s"


def _log(writer: Any) -> str | None:
    waited = _by_name(writer_measures(writer.engine, now))["receipt_wait_seconds"]
    return f"the log has not answered for {waited:.0f} s" if waited > LATE_SECONDS else None


def _index(audit: Any) -> str | None:
    entries, seconds = behind(audit)
    if entries <= 0 or seconds <= BEHIND_SECONDS:
        return None
    return f"the search lacks {entries} entries, the oldest {seconds:.0f} s old"


def _by_name(measures: Any) -> dict[str, float]:
    found: list[Measure] = list(measures)
    return {one.name.removeprefix(PREFIX): one.value for one in found}
