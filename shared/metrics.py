"""Every figure there is: its name, what it means, its kind and its labels, in one table.

`/metrics` shows them, the alarms and the dashboard use them, and ``deploy/monitoring/metrics.md``
is printed from here: ``python -m shared.metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``help`` is one phrase with the unit where it is not in the name."""

    help: str
    kind: Kind = "gauge"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure, read when it is asked for: several processes then never disagree.

    A histogram's ``value`` is the sum, its ``buckets`` are (upper bound, count up to it).
    """

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "gauge"
    buckets: Sequence[tuple[str, float]] = ()


def _gauge(help_: str, *labels: str) -> Metric:
    return Metric(help=help_, labels=labels)


def _counter(help_: str, *labels: str) -> Metric:
    return Metric(help=help_, kind="counter", labels=labels)


PREFIX = "countersign_"
METRICS: dict[str, Metric] = {
    # Intake
    "hooks_total": _counter(
        "Requests at the door, by verdict", "source", "endpoint", "result", "reason"
    ),
    "accept_seconds": Metric(help="Time from a webhook's arrival to its answer", kind="histogram"),
    "inbox_unsent": _gauge("Accepted events that were not sent on yet"),
    "inbox_age_seconds": _gauge("Age of the oldest event that was not sent on"),
    "refused_signatures_recent": _gauge(
        "Requests refused for their signature in the last ten minutes"
    ),
    "mailbox_problem_seconds": _gauge(
        "How long a mailbox could not be read; 0 is right", "mailbox"
    ),
    # Between the services
    "broker_up": _gauge("1 if the broker answers"),
    "bindings_wrong": _gauge("Bindings of the broker that differ from the topic table"),
    "outbox_unsent": _gauge("Messages that wait for the broker", "service"),
    "outbox_age_seconds": _gauge("Age of the oldest message that waits for the broker", "service"),
    "unroutable_messages": _gauge("Messages that the broker refused to route", "service"),
    "queue_messages": _gauge("Messages waiting (embedded broker: or in hand)", "queue"),
    "queue_age_seconds": _gauge(
        "Age of the oldest message of a queue; on RabbitMQ counted from the log", "queue"
    ),
    "dead_letters": _gauge("Messages that could not be handled", "queue"),
    # The model
    "model_tokens": _gauge("Tokens spent in the last hour or day", "window"),
    "model_tokens_limit": _gauge("Tokens that the policy allows in an hour or a day", "window"),
    # Decisions and writes
    "pending_cards": _gauge("Cards that wait for a decision"),
    "oldest_card_seconds": _gauge("Age of the oldest waiting card"),
    "oldest_card_working_seconds": _gauge("The same in working time of the office"),
    "decisions_total": _counter("Decisions that people made", "verdict"),
    "changes": _gauge("Changes by state", "state"),
    "unknown_change_seconds": _gauge("Age of the oldest write whose outcome is unknown"),
    "receipt_wait_seconds": _gauge("How long the oldest intended change has no receipt of the log"),
    "held_changes": _gauge("Approved changes that wait for the stop switch or a cap", "why"),
    "writing_stopped": _gauge("1 while writing is stopped by a person"),
    "writing_stopped_seconds": _gauge("How long writing has been stopped"),
    "policy_invalid": _gauge("1 while the policy file is invalid and nothing is written"),
    # The log
    "events": _gauge("Accepted events by how they ended so far", "state"),
    "balance_difference": _gauge("Accepted events that are nowhere; 0 is right"),
    "ledger_entries": _gauge("Entries of the log"),
    "ledger_append_age_seconds": _gauge("Age of the newest entry"),
    "checkpoint_age_seconds": _gauge("Age of the newest checkpoint"),
    "unsealed_seconds": _gauge("Age of the oldest entry that no checkpoint covers"),
    "search_up": _gauge("1 if the search index answers"),
    "index_behind_entries": _gauge("Entries that cannot be searched yet"),
    "index_behind_seconds": _gauge("Age of the oldest entry that cannot be searched yet"),
    # The machine
    "disk_free_bytes": _gauge("Free bytes where the data lies"),
    "process_memory_bytes": _gauge("Resident memory, shared pages counted in each", "process"),
    "heartbeat_overdue_seconds": _gauge("How long a loop is late; 0 while it lives", "loop"),
    # Telling people
    "alarms": _gauge("Alarms that are on", "service", "alarm"),
    "notices_failing": _gauge("Notices that could not be delivered yet", "service"),
    "unreadable_parts": _gauge("Parts whose figures could not be read"),
}


def measure(name: str, value: float, /, **labels: str) -> Measure:
    """One figure of the table; ``name`` is without its prefix. Raises `KeyError` for another."""
    metric = METRICS[name]
    assert set(labels) == set(metric.labels), f"{name} has the labels {metric.labels}"
    kind = metric.kind
    assert kind != "histogram", f"{name} needs its buckets"
    return Measure(name=PREFIX + name, help=metric.help, value=value, labels=labels, kind=kind)


def document() -> str:
    """The page of all metrics, in Markdown."""
    rows = [
        f"| `{PREFIX}{name}` | {one.kind} | {', '.join(one.labels) or '–'} | {one.help} |"
        for name, one in METRICS.items()
    ]
    return "\n".join([*_HEAD, *rows, ""])


def sample_names() -> set[str]:
    """Every name that a query may use; a histogram has three."""
    suffixes: dict[str, tuple[Any, ...]] = {"histogram": ("_bucket", "_sum", "_count")}
    return {
        f"{PREFIX}{name}{suffix}"
        for name, one in METRICS.items()
        for suffix in suffixes.get(one.kind, ("",))
    }


_HEAD = (
    "# Metrics",
    "",
    "`GET /metrics` answers this machine, admins and auditors, and whoever sends the text of",
    "`DATA_DIR/keys/metrics.token` as a bearer token. Every value is read from the service's own",
    "database when it is asked for, so several processes never disagree. This page is printed by",
    "`python -m shared.metrics`; `alerts.yml` and `grafana-dashboard.json` use these names.",
    "",
    "| name | kind | labels | meaning |",
    "|---|---|---|---|",
)

if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - printing it is the purpose
