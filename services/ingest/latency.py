"""How long senders wait for their answer, counted in shared memory: no write, no lock on disk.

Each web process counts in a file of its own, mapped into memory; whoever is asked for the figures
adds up the files of all of them, also of those that have ended.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

from shared.metrics import METRICS, PREFIX, Measure

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; beyond the last there is one bucket more."""
CELLS = len(BOUNDS) + 2
SIZE = CELLS * 8
SUFFIX = ".latency"
MICROSECOND = 1e-6


class Latencies:
    """One per web process, made after the fork. The last cell is the sum in microseconds."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{os.getpid()}{SUFFIX}"
        self._cells = memoryview(_mapped(path)).cast("Q")
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """About a microsecond: the door may call it for every request."""
        bucket, microseconds = bisect_left(BOUNDS, seconds), int(seconds / MICROSECOND)
        with self._lock:
            self._cells[bucket] += 1
            self._cells[-1] += microseconds


def _mapped(path: Path) -> mmap.mmap:
    """The file in memory, with its room on the disk taken: a full disk must not end the process.

    Where there is no room the counts of this process are not seen.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SIZE)
        return mmap.mmap(descriptor, SIZE)
    except OSError:
        return mmap.mmap(-1, SIZE)
    finally:
        os.close(descriptor)


def latency_measures(folder: Path) -> Iterable[Measure]:
    """One histogram over all processes; nothing before the first one began."""
    sums = [0] * CELLS
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            cells = memoryview(path.read_bytes()[:SIZE].ljust(SIZE, b"\0")).cast("Q")
            sums = [one + more for one, more in zip(sums, cells, strict=True)]
    counts, total = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), sums[:-1], strict=True):
        total += count
        counts.append((bound, float(total)))
    name = "accept_seconds"
    yield Measure(
        name=PREFIX + name,
        help=METRICS[name].help,
        value=sums[-1] * MICROSECOND,
        kind="histogram",
        buckets=counts,
    )
