"""Every measurement in one run: a table of figure, value and goal, and JSON with every round.

``python -m tests.bench [p1 p9 …]``; short by default, ``FULL=1`` for all rounds and a million rows.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import end_to_end, intake, intake_postgresql, ledger, search
from tests.bench.facts import environment
from tests.product import ROOT

RESULTS = ROOT / "bench-results"
Found = Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table; ``is_least`` tells a goal to reach from one to stay below."""

    target: str
    what: str
    value: float
    goal: float
    is_least: bool = True

    @property
    def is_met(self) -> bool:
        return self.value >= self.goal if self.is_least else self.value <= self.goal


def at_least(target: str, what: str, value: float, goal: float) -> Figure:
    return Figure(target=target, what=what, value=value, goal=goal)


def at_most(target: str, what: str, value: float, goal: float) -> Figure:
    return Figure(target=target, what=what, value=value, goal=goal, is_least=False)


def _p1(found: Found) -> Iterator[Figure]:
    yield at_least("P1", "durable accepts ÷ bare hello, 64 connections", found["median"], 0.35)


def _p2(found: Found) -> Iterator[Figure]:
    yield at_least("P2", "durable accepts ÷ the same without commit", found["median"], 0.75)


def _p4_and_p5(found: Found) -> Iterator[Figure]:
    rate, latency = found
    yield at_least("P4", "durable accepts a second", rate["median"], 4500)
    for connections, goal in (("1", 4), ("16", 15), ("64", 35)):
        p99 = latency["p99_ms"][connections]["median"]
        yield at_most("P5", f"answer p99, {connections} connections, ms", p99, goal)
    yield at_most("P5", "answer p99, 2,000 connections, ms", latency["crowd"]["p99"], 1500)
    yield at_most("P5", "errors with 2,000 connections", latency["crowd"]["errors"], 0)


def _p7(found: Found) -> Iterator[Figure]:
    yield at_most("P7", "POST to pending proposal, p50, ms", found["p50_ms"], 25)
    yield at_most("P7", "POST to pending proposal, p99, ms", found["p99_ms"], 80)


def _p8(found: Found) -> Iterator[Figure]:
    yield at_most("P8", "POST to searchable, p99, ms", found["p99_ms"], 150)


def _p9(found: Found) -> Iterator[Figure]:
    yield at_least("P9", "ledger appends ÷ raw commits", found["ratio"]["median"], 0.35)


def _p10(found: Found) -> Iterator[Figure]:
    yield at_most("P10", "single accept ÷ one SQLite commit", found["median"], 3.5)


def _p12(found: Found) -> Iterator[Figure]:
    yield at_least("P12", "backlog drained, events a second", found["events_per_s"], 1000)


def _p13(found: Found) -> Iterator[Figure]:
    rows = f"{found['rows']:,} rows"
    yield at_most("P13", f"search p99, {rows}, ms", found["p99_ms"], found["goal_ms"])
    worst = found["worst_kind_p99_ms"]
    yield at_most("P13", f"search p99 of the slowest kind, {rows}, ms", worst, found["goal_ms"])


def _p16(found: Found) -> Iterator[Figure]:
    yield at_least("P16", "documents indexed a second", found["documents_a_second"], 3000)


def _p17(found: Found) -> Iterator[Figure]:
    yield at_most("P17", "memory of the tree, idle, MB", found["idle_mb"], 180)
    yield at_most("P17", "memory of the tree, after load, MB", found["after_load_mb"], 220)


def _p18(found: Found) -> Iterator[Figure]:
    yield at_most("P18", "start to first accepted POST, s", found["p50_s"], 1.0)


def _p19(found: Found) -> Iterator[Figure]:
    yield at_most("P19", "import of the ingest web process, ms", found["p50_ms"], 300)
    yield at_most("P19", "heavy packages imported with it", len(found["banned"]), 0)


def _intake_postgresql(found: Found) -> Iterator[Figure]:
    """No goal but not to fall apart: the file has no socket between itself and the door."""
    sides = found["sides"]
    for connections in ("1", "16", "64"):
        ours, file = (sides[side][connections] for side in ("postgresql", "embedded"))
        ratio = ours["rate"]["median"] / file["rate"]["median"]
        yield at_least("P4", f"PostgreSQL ÷ file, accepts, {connections} connections", ratio, 0.25)


Part = tuple[Callable[[], Found], Callable[[Any], Iterator[Figure]]]
PARTS: dict[str, Part] = {
    "p19": (lambda: _end_to_end("p19"), _p19),
    "p18": (lambda: _end_to_end("p18"), _p18),
    "p17": (lambda: _end_to_end("p17"), _p17),
    "p1": (intake.p1_against_hello, _p1),
    "p2": (intake.p2_against_no_commit, _p2),
    "p4": (intake.p4_and_p5_rate_and_latency, _p4_and_p5),
    "p10": (intake.p10_single_accept, _p10),
    "intake_postgresql": (intake_postgresql.intake_postgresql, _intake_postgresql),
    "p7": (lambda: _end_to_end("p7"), _p7),
    "p8": (lambda: _end_to_end("p8"), _p8),
    "p12": (lambda: _end_to_end("p12"), _p12),
    "p9": (ledger.p9_ledger_appends, _p9),
    "p16": (ledger.p16_indexing, _p16),
    "p13": (search.p13_search, _p13),
}


def _end_to_end(name: str) -> Found:
    return end_to_end.measure(name)[name.upper()]


def main(names: Sequence[str]) -> None:
    """Measure, print, and write ``bench-results/<time>.json`` after each part."""
    unknown = set(names) - set(PARTS)
    if unknown:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    result: dict[str, Any] = {"environment": environment(), "figures": [], "rounds": {}}
    path = RESULTS / f"bench-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.parent.mkdir(exist_ok=True)
    print(f"{'':4} {'figure':<52} {'value':>10} {'goal':>10}", flush=True)
    for name in names or PARTS:
        measure, read = PARTS[name]
        found = measure()
        result["rounds"][name] = found
        for figure in read(found):
            result["figures"].append({**asdict(figure), "is_met": figure.is_met})
            print(_line(figure), flush=True)
        path.write_text(json.dumps(result, indent=1, default=str))
    print(f"\nEvery round: {path.relative_to(ROOT)}")


def _line(figure: Figure) -> str:
    sign = "≥" if figure.is_least else "≤"
    value, goal = f"{figure.value:,.4g}", f"{sign} {figure.goal:,.4g}"
    met = "met" if figure.is_met else "MISSED"
    return f"{figure.target:4} {figure.what:<52} {value:>10} {goal:>10}  {met}"


if __name__ == "__main__":
    main([name.lower() for name in sys.argv[1:]])
