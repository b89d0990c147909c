"""What was run and how it ended: one JSON line each, added up over all invocations."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.stage import RECOVERY_SECONDS, Ended
from tests.product import ROOT

RESULTS = ROOT / "bench-results" / "faults"
# Seeds that once failed: they are replayed first, for ever.
SEEDS = Path(__file__).parent / "seeds.json"


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What a run has reached so far, over all invocations on this machine.

    ``count`` is the faults of its good rounds: what recovered late proves nothing.
    """

    count: int = 0
    rounds: int = 0
    events: int = 0
    differences: int = 0
    worst_recovery: float = 0.0


def write(run: str, seed: int, ended: Ended) -> None:
    """Append the round; a seed that failed is kept for the test suite."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    line = {"run": run, "seed": seed, "at": time.strftime("%FT%TZ", time.gmtime())}
    line |= {"commit": _commit(), **asdict(ended)}
    with (RESULTS / f"{run}.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if not ended.is_good:
        _keep(run, seed)


def summed(run: str) -> Sum:
    rows = list(_rows(run))
    return Sum(
        count=sum(row["count"] for row in rows if _is_good(row)),
        rounds=len(rows),
        events=sum(row["events"] for row in rows),
        differences=sum(len(row["differences"]) for row in rows),
        worst_recovery=max((row["recovery"] for row in rows), default=0.0),
    )


def kept_seeds(run: str) -> list[int]:
    """Those that failed once, oldest first."""
    return list(json.loads(SEEDS.read_text()).get(run, []))


def _keep(run: str, seed: int) -> None:
    known = json.loads(SEEDS.read_text())
    if seed not in known.setdefault(run, []):
        known[run].append(seed)
        SEEDS.write_text(json.dumps(known, indent=2) + "\n")


def _rows(run: str) -> Iterator[dict[str, Any]]:
    path = RESULTS / f"{run}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)


def _is_good(row: Mapping[str, Any]) -> bool:
    return not row["differences"] and row["recovery"] <= RECOVERY_SECONDS


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
