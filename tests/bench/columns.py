"""Both ways to run beside each other in one run: the small table that says when to move."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tests.bench import drain
from tests.bench.column import EMBEDDED, Column, distributed
from tests.bench.facts import foreign, pss_mb, rss_mb
from tests.bench.footprint import IDLE_SECONDS
from tests.bench.latency import shares, to_pending, to_searchable
from tests.bench.live import Live, fresh
from tests.bench.result import Figure, Found, kept, shown
from tests.bench.scale import ROUNDS, pick

COLUMNS: tuple[Callable[[], AbstractContextManager[Column]], ...] = (
    lambda: nullcontext(EMBEDDED),
    distributed,
)
ROWS = (
    ("accepts_per_s", "accepts a second, 64 connections, workers away"),
    ("accepts_meanwhile_per_s", "accepts a second while a backlog drains"),
    ("answer_p99", "answer p99, 64 connections, ms"),
    ("events_per_s", "backlog drained, events a second"),
    ("card_p50", "POST to card, p50, ms"),
    ("card_p99", "POST to card, p99, ms"),
    ("searchable_p50", "POST to searchable, p50, ms"),
    ("searchable_p99", "POST to searchable, p99, ms"),
    ("idle_mb", "memory of the product, idle (PSS), MB"),
    ("after_mb", "memory of the product, after load (PSS), MB"),
    ("servers_mb", "memory of the servers beside it (RSS), MB"),
)
TIMES = pick(5, 100, 300)


def both() -> Found:
    """A B, then B A: each time a new installation, empty servers, and all rows."""
    rounds: list[dict[str, Any]] = []
    for turn in range(ROUNDS):
        for opening in COLUMNS if turn % 2 == 0 else COLUMNS[::-1]:
            with opening() as column, fresh(column) as live:
                rounds.append({"column": column.name, **_round(live)})
    figures = []
    for key, what in ROWS:
        for name in ("embedded", "distributed"):
            found = kept([row for row in rounds if row["column"] == name])
            figures.append(found.least(name, what, key, None))
    return Found(figures=tuple(figures), rounds=rounds)


def _round(live: Live) -> dict[str, Any]:
    time.sleep(IDLE_SECONDS)
    idle = pss_mb(live.tree())
    with foreign(live.pids) as others:
        card = shares(to_pending(live, TIMES))
        searchable = shares(to_searchable(live, TIMES // 2 or 1))
    drain.emptied(live)
    drained = drain.round_of(live)
    time.sleep(IDLE_SECONDS)
    return {
        **drained,
        "answer_p99": drained["p99"],
        "card_p50": card["p50"],
        "card_p99": card["p99"],
        "searchable_p50": searchable["p50"],
        "searchable_p99": searchable["p99"],
        "idle_mb": idle,
        "after_mb": pss_mb(live.tree()),
        "servers_mb": rss_mb(live.column.pids()),
        "foreign_cores": max(drained["foreign_cores"], others["foreign_cores"]),
    }


def as_table(figures: tuple[Figure, ...]) -> str:
    """Markdown with a column each, to be quoted."""
    lines = ["| | embedded | RabbitMQ, PostgreSQL, Elasticsearch |", "|---|---|---|"]
    for here, there in zip(figures[::2], figures[1::2], strict=True):
        lines.append(f"| {here.what} | {shown(here.value)} | {shown(there.value)} |")
    return "\n".join(lines)
