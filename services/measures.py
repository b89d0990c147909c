"""What `/metrics` shows: the figures of all services, each part read for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from services.audit import measures as audit
from services.audit.tables import NOTICE as AUDIT_NOTICE
from services.classifier import measures as classifier
from services.health import PROCESSES
from services.ingest import measures as ingest
from services.ingest.latency import latency_measures
from services.ingest.store import notice as ingest_notice
from services.installation import Installation
from services.writer import measures as writer
from services.writer.policy_store import current
from services.writer.tables import notice as writer_notice
from shared.bus.figures import broker_measures
from shared.db import open_database, reading
from shared.domain.schema import now
from shared.figures import loop_measures, memory_measures, notice_measures
from shared.metrics import Measure, measure
from shared.notifications.tables import NoticeTables

Part = Callable[[], Iterable[Measure]]
NOTICE: Mapping[str, NoticeTables] = {
    "ingest": ingest_notice,
    "writer": writer_notice,
    "audit": AUDIT_NOTICE,
}


def all_measures(home: Installation, parts: Mapping[str, Any]) -> tuple[Part, ...]:
    """One callable per part; ``parts`` are the web dependencies by service name."""
    classifier_engine = open_database(home.database("classifier"))
    broker, management = home.bus_url, home.run.broker_management_url
    return (
        lambda: ingest.measures(parts["ingest"].engine, now),
        lambda: ingest.disk_measures(home.root),
        lambda: latency_measures(home.wake),
        lambda: classifier.measures(classifier_engine, now),
        lambda: _limits(parts["writer"].engine),
        lambda: writer.measures(parts["writer"].engine, now),
        lambda: audit.measures(parts["audit"]),
        lambda: audit.balance_measures(parts["audit"]),
        lambda: broker_measures(broker, management),
        lambda: loop_measures(home.wake),
        lambda: memory_measures(PROCESSES),
        *(
            partial(notice_measures, parts[name].engine, tables, name)
            for name, tables in NOTICE.items()
        ),
    )


def _limits(writer_engine: Any) -> Iterable[Measure]:
    """What the policy in force lets the model spend."""
    with reading(writer_engine) as db:
        found = current(db)
    if found is not None:
        budget = found.policy.budget
        yield measure("model_tokens_limit", budget.tokens_per_hour, window="hour")
        yield measure("model_tokens_limit", budget.tokens_per_day, window="day")
