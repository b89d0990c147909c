"""What must be so for the whole to work, each with the reason when it is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from services.audit.measures import behind
from services.ingest.measures import measures as ingest_measures
from services.place import Place
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
Named = tuple[str, Check]


def readiness(deps: Mapping[str, Any], place: Place) -> Readiness:
    """``deps`` are the web dependencies by name, of the services that this process serves.

    To serve it needs its own databases and some disk. That the search is behind is shown and makes
    nothing unready.
    """
    serving: dict[str, Check] = {
        f"{name}-database": partial(require_writable, found.engine) for name, found in deps.items()
    }
    if place.disk_dir is not None:
        serving["disk"] = partial(_disk, place.disk_dir)
    table = {"ingest": _ingest, "writer": _writer, "audit": _audit}
    rest = dict(named for name, found in deps.items() for named in table[name](found, place))
    notes = {"index": partial(_index, deps["audit"])} if "audit" in deps else {}
    return Readiness(checks={**serving, **rest}, intake=frozenset(serving), notes=notes)


def _ingest(deps: Any, _: Place) -> Iterator[Named]:
    yield "relay", partial(_relay, deps)


def _writer(deps: Any, _: Place) -> Iterator[Named]:
    yield "writing", lambda: queries.stop_state(deps).problem
    yield "log", partial(_log, deps)


def _audit(_: Any, place: Place) -> Iterator[Named]:
    if place.broker_url:
        yield "broker", partial(_broker, place)
        yield "bindings", partial(_bindings, place)


def _disk(folder: Path) -> str | None:
    free = shutil.disk_usage(folder).free
    return f"only {free // 1024**2} MiB are free" if free < LEAST_FREE else None


def _broker(place: Place) -> str | None:
    """Raises `BrokerUnavailable` where it is not reachable."""
    require_broker(place.broker_url)
    management = place.broker_management_url
    return blocked(management) if management else None


def _bindings(place: Place) -> str | None:
    wrong = wrong_bindings(place.broker_url, place.broker_management_url)
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
