"""The long proof in batches: each has a seed of its own, and a line of what came of it.

``python -m tests.crm.proof`` shows what was reached; batches that are done are not run again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.faulty_crm import Fault, status

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench-results" / "crm-proof"
# Batches that failed once: they belong to the tests for ever.
SEEDS: Final = Path(__file__).with_name("seeds.json")
WANTED: Final = {
    "interleavings": int(os.environ.get("INTERLEAVINGS", "0")),
    "failing calls": int(os.environ.get("FAILING_CALLS", "0")),
}
BATCH: Final = 100
# One batch of so many has calls that hang, for each of which somebody has to wait.
HANGING: Final = 20

LOST: Final = (
    Fault(kind="cut"),
    status(500),
    status(200, b"<html>Sign in</html>"),
    status(429, Retry_After="0"),
)
DONE: Final = (
    Fault(kind="cut", has_effect=True),
    Fault(kind="cut-body", has_effect=True),
    status(502, has_effect=True),
)
HANGS: Final = (Fault(kind="hang"), Fault(kind="hang", has_effect=True))
# A question whose connection ended is asked once more.
UNREAD: Final = ((status(500),), (Fault(kind="cut"), Fault(kind="cut")), (status(502), status(500)))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """``kind`` is interleavings or failing calls; everything in it follows from its seed."""

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}"

    @cached_property
    def chance(self) -> random.Random:
        return random.Random(f"{self.kind} {self.seed}")

    @property
    def hangs(self) -> bool:
        return self.kind == "failing calls" and self.seed % HANGING == 0

    def writes(self) -> list[Fault]:
        """What the calls of one change meet: up to three in vain, and one that has its effect."""
        faults = list(self.chance.choices(LOST, (6, 6, 2, 1), k=self.chance.randint(0, 3)))
        if self.chance.random() < 0.5 or not faults:
            faults.append(self.chance.choice(DONE))
        if self.hangs and self.chance.random() < 0.4:
            last = faults.pop()
            faults.append(HANGS[last.has_effect])
        return faults

    def reads(self) -> tuple[Fault, ...]:
        """What the question that looks for the effect may meet."""
        return self.chance.choice(UNREAD) if self.chance.random() < 0.4 else ()


def batches(kind: str) -> list[Any]:
    """Those that are wanted, and those that failed once."""
    wanted = range(1, WANTED[kind] // BATCH + 1)
    return [
        pytest.param(Batch(kind=kind, seed=seed), id=f"seed-{seed}")
        for seed in sorted({*_kept(kind), *wanted})
    ]


def is_done(crm: str, batch: Batch) -> bool:
    """Whether an earlier run went through it; what failed once is run every time."""
    if batch.seed in _kept(batch.kind):
        return False
    return (batch.kind, batch.seed) in {(row["kind"], row["seed"]) for row in rows(crm)}


def write(crm: str, batch: Batch, seconds: float, **found: Any) -> None:
    """Append what one batch has shown."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    line = {"kind": batch.kind, "seed": batch.seed, "commit": _commit(), "seconds": seconds}
    line |= {"at": time.strftime("%FT%TZ", time.gmtime()), **found}
    with (RESULTS / f"{crm}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def rows(crm: str) -> Iterator[dict[str, Any]]:
    path = RESULTS / f"{crm}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)


def _kept(kind: str) -> list[int]:
    return list(json.loads(SEEDS.read_text())[kind])


@cache
def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    """A line for each CRM and kind: all figures added up over the seeds."""
    for path in sorted(RESULTS.glob("*.jsonl")):
        for kind in WANTED:
            sums: dict[str, float] = {}
            for row in rows(path.stem):
                if row["kind"] == kind:
                    sums["batches"] = sums.get("batches", 0) + 1
                    for name, value in row.items():
                        if isinstance(value, int | float) and name != "seed":
                            sums[name] = sums.get(name, 0) + value
            words = ", ".join(f"{value:g} {name}" for name, value in sums.items())
            print(f"{path.stem:14} {kind:14} {words}")


if __name__ == "__main__":
    main()
