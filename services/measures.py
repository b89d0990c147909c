"""What `/metrics` shows: the figures of each part that a process serves, each read for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from services.audit import measures as audit
from services.audit.tables import NOTICE as AUDIT_NOTICE
from services.classifier import measures as classifier
from services.ingest import measures as ingest
from services.ingest.latency import latency_measures
from services.ingest.store import notice as ingest_notice
from services.place import Place
from services.writer import measures as writer
from services.writer.policy_store import current
from services.writer.tables import notice as writer_notice
from shared.bus.figures import broker_measures
from shared.db import open_database, reading
from shared.domain.schema import now
from shared.domain.topics import SERVICES
from shared.figures import loop_measures, memory_measures, notice_measures
from shared.metrics import Measure, measure
from shared.notifications.tables import NoticeTables

Part = Callable[[], Iterable[Measure]]
PROCESSES = ("web", *(f"{name}-worker" for name in SERVICES))
NOTICE: Mapping[str, NoticeTables] = {
    "ingest": ingest_notice,
    "writer": writer_notice,
    "audit": AUDIT_NOTICE,
}


def all_measures(deps: Mapping[str, Any], place: Place) -> tuple[Part, ...]:
    """One callable per part; ``deps`` are the web dependencies of the services served here."""
    table = {"ingest": _ingest, "writer": _writer, "audit": _audit}
    own = [part for name, found in deps.items() for part in table[name](found, place)]
    told = [
        partial(notice_measures, found.engine, NOTICE[name], name) for name, found in deps.items()
    ]
    here = (partial(loop_measures, place.wake_dir), partial(memory_measures, PROCESSES))
    return (*own, *told, *here)


def _ingest(deps: Any, place: Place) -> Iterator[Part]:
    yield partial(ingest.measures, deps.engine, now)
    yield partial(latency_measures, place.wake_dir)
    if place.disk_dir is not None:
        yield partial(ingest.disk_measures, place.disk_dir)


def _writer(deps: Any, _: Place) -> Iterator[Part]:
    yield partial(_limits, deps.engine)
    yield partial(writer.measures, deps.engine, now)


def _audit(deps: Any, place: Place) -> Iterator[Part]:
    yield partial(audit.measures, deps)
    yield partial(audit.search_measures, deps)
    yield partial(audit.balance_measures, deps)
    if place.broker_url:
        broker = (place.broker_url, place.broker_management_url)
        yield partial(broker_measures, *broker, ages=audit.ages(deps))
    if place.classifier_database_url:
        yield partial(classifier.measures, open_database(place.classifier_database_url), now)


def _limits(writer_engine: Any) -> Iterable[Measure]:
    """What the policy in force lets the model spend."""
    with reading(writer_engine) as db:
        found = current(db)
    if found is not None:
        budget = found.policy.budget
        yield measure("model_tokens_limit", budget.tokens_per_hour, window="hour")
        yield measure("model_tokens_limit", budget.tokens_per_day, window="day")
