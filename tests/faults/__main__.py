"""`make faults`: go on with the table of fault runs until the time is over.

``ONLY`` names runs (parts of their names, by space), ``SECONDS`` is the time for all of them,
``SEED`` the first seed. What earlier invocations reached counts: `bench-results/faults`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path

from tests.faults import record
from tests.faults.runs import RUNS, Run


def main() -> None:
    words = os.environ.get("ONLY", "").split()
    runs = [run for run in RUNS if not words or any(word in run.name for word in words)]
    limit = time.monotonic() + float(os.environ.get("SECONDS", "1800"))
    seeds = itertools.count(int(os.environ.get("SEED", str(int(time.time())))))
    while time.monotonic() < limit and (run := _next(runs)) is not None:
        _round(run, next(seeds))
    _table(runs)


def _next(runs: list[Run]) -> Run | None:
    """The one that has reached the smallest part of what is wanted."""
    lacking = [run for run in runs if record.summed(run.name).count < run.wanted]
    return min(lacking, key=lambda run: record.summed(run.name).count / run.wanted, default=None)


def _round(run: Run, seed: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{run.name}-"))
    ended = run.play(folder, seed)
    record.write(run.name, seed, ended)
    reached = record.summed(run.name).count
    print(
        f"{run.name:24} seed {seed}  {ended.count:5} faults, {ended.events} events,"
        f" {len(ended.differences)} differences, recovered in {ended.recovery:g} s,"
        f" {ended.seconds:g} s   [{reached} of {run.wanted}]",
        flush=True,
    )
    for difference in ended.differences[:10]:
        print(f"    {difference}", flush=True)
    if ended.is_good:
        shutil.rmtree(folder)
    else:
        print(f"    kept: {folder}", flush=True)


def _table(runs: list[Run]) -> None:
    print(f"\n{'run':24} {'wanted':>7} {'reached':>8} {'differences':>12} {'worst recovery':>15}")
    for run in runs:
        sum_ = record.summed(run.name)
        print(
            f"{run.name:24} {run.wanted:7} {sum_.count:8} {sum_.differences:12}"
            f" {sum_.worst_recovery:13g} s"
        )


if __name__ == "__main__":
    main()
