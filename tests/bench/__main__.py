"""Every measurement in one run: a table of figure, value and goal, and JSON with every round.

``python -m tests.bench [p1 p9 …]``; short by default, ``FULL=1`` for all rounds and a million rows,
``SMOKE=1`` only to see that all of it runs, ``COLUMN=distributed`` on the real servers. The names
are the targets; ``m8-…`` are those of the messaging design, ``columns`` compares both columns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from tests.bench import (
    against_n8n,
    broker,
    broker_return,
    card,
    columns,
    drain,
    elastic,
    embedded_broker,
    footprint,
    intake,
    latency,
    ledger,
    n8n,
    search,
    slow_senders,
)
from tests.bench.column import IS_DISTRIBUTED, server_versions
from tests.bench.facts import environment
from tests.bench.result import Figure, Found, NotHereError, shown
from tests.bench.scale import FULL, SMOKE
from tests.product import ROOT

RESULTS = ROOT / "bench-results"
PARTS: dict[str, Callable[[], Found]] = {
    "p19": footprint.p19_import,
    "p18": footprint.p18_start,
    "p17": footprint.p17_memory,
    "p1": intake.p1_against_hello,
    "p2": intake.p2_against_no_commit,
    "p3": against_n8n.p3_against_n8n,
    "p17-n8n": against_n8n.p17_memory,
    "p18-n8n": against_n8n.p18_start,
    "p4": intake.p4_and_p5_rate_and_latency,
    "p6": slow_senders.p6_slow_senders,
    "p10": intake.p10_single_accept,
    "p7": latency.p7_to_pending,
    "p8": latency.p8_to_searchable,
    "p12": drain.p12_drain,
    "card": card.card,
    "p11": broker.p11_publishing,
    "m8-sqlite": embedded_broker.rates_and_latency,
    "m8-lone": broker.lone_publish,
    "m8-consume": broker.consuming,
    "m8-relay": broker.relaying,
    "m8-return": broker_return.returning,
    "p9": ledger.p9_ledger_appends,
    "p16": ledger.p16_indexing,
    "p13": search.p13_search,
    "p14": elastic.p14_search,
    "p15": elastic.p15_indexing,
    "columns": columns.both,
}


def main(names: Sequence[str]) -> None:
    """Measure, print, and write ``bench-results/<time>.json`` after each part."""
    unknown = set(names) - set(PARTS)
    if unknown:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    column = "distributed" if IS_DISTRIBUTED else "embedded"
    result: dict[str, Any] = {
        "environment": {**environment(), "servers": server_versions()},
        "column": column,
        "scale": "smoke" if SMOKE else "full" if FULL else "short",
        "figures": [],
        "rounds": {},
        "skipped": {},
        "seconds": {},
    }
    path = RESULTS / f"bench-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{column}.json"
    path.parent.mkdir(exist_ok=True)
    print(f"{'':11} {'figure':<58} {'value':>9} {'goal':>9}", flush=True)
    if "p3" in names:
        n8n.install()
    for name in names or PARTS:
        begin = time.monotonic()
        try:
            found = PARTS[name]()
        except NotHereError as error:
            print(f"{name:11} left out: {error}", flush=True)
            result["skipped"][name] = str(error)
            if os.environ.get("CI"):
                raise
            continue
        result["rounds"][name] = found.rounds
        result["seconds"][name] = round(time.monotonic() - begin)
        result["figures"] += [{**asdict(f), "is_met": f.is_met} for f in found.figures]
        print(*map(_line, found.figures), sep="\n", flush=True)
        if name == "columns":
            print("", columns.as_table(found.figures), "", sep="\n", flush=True)
        path.write_text(json.dumps(result, indent=1, default=str))
    print(f"\nEvery round: {path.relative_to(ROOT)}")


def _line(figure: Figure) -> str:
    goal = ""
    if figure.goal is not None:
        goal = f"{'≥' if figure.is_least else '≤'} {shown(figure.goal)}"
    verdict = {True: "met", False: "MISSED", None: ""}[figure.is_met]
    return (
        f"{figure.target:11} {figure.what:<58} {shown(figure.value):>9} {goal:>9}  {verdict:6}"
        f"{_spread(figure)}"
    ).rstrip()


def _spread(figure: Figure) -> str:
    """The range of the rounds, and how many others disturbed."""
    words = []
    if figure.spread and figure.spread[0] != figure.spread[1]:
        words.append(f" {shown(figure.spread[0])}–{shown(figure.spread[1])}")
    if figure.dropped:
        fate = "all kept" if figure.is_disturbed else "dropped"
        words.append(f" {figure.dropped} of {figure.rounds} rounds disturbed, {fate}")
    return ",".join(words)


if __name__ == "__main__":
    main([name.lower() for name in sys.argv[1:]])
