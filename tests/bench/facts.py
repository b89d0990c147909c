"""Where a measurement was made: machine, versions, commit, disk, and what else was running."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.bench.scale import pick
from tests.product import ROOT

PACKAGES = (
    *("amqp", "cryptography", "elasticsearch", "flask", "granian", "kombu", "marshmallow"),
    *("pika", "psycopg", "sqlalchemy", "waitress"),
)
PROGRAMS = {"nginx": ("nginx", "-v"), "wrk": ("wrk", "-v")}


def environment() -> dict[str, Any]:
    """Everything that a figure depends on."""
    return {
        "commit": _said("git", "rev-parse", "HEAD"),
        "is_changed": bool(_said("git", "status", "--porcelain")),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "programs": {name: _version(words) for name, words in PROGRAMS.items()},
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "ram_mb": psutil.virtual_memory().total // 2**20,
        "kernel": platform.release(),
        "filesystem": _filesystem(Path(tempfile.gettempdir())),
        "disk": disk(),
    }


def disk() -> dict[str, float]:
    """The floors: one fdatasync in ms, and rows a second of SQLite FULL commits by batch size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"fdatasync_p50_ms": round(_fdatasync(folder / "raw"), 3)}
        for batch in (1, 64, 256):
            rate = _sqlite_rate(folder / f"b{batch}.db", batch)
            found[f"sqlite_batch_{batch}_rows_per_s"] = round(rate)
    return found


@contextmanager
def foreign(own: Callable[[], Sequence[int]]) -> Iterator[dict[str, float]]:
    """Fills in ``foreign_cores`` at the end: CPU used by anybody but us and the pids ``own``."""
    found: dict[str, float] = {}
    started, all_before, own_before = time.monotonic(), _busy(), _own(own())
    yield found
    seconds = time.monotonic() - started
    ours = _own(own()) - own_before
    found["foreign_cores"] = round(max(0.0, (_busy() - all_before - ours) / seconds), 2)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _own(pids: Sequence[int]) -> float:
    """CPU seconds of this process, its ended children, and the given processes."""
    mine = os.times()
    total = mine.user + mine.system + mine.children_user + mine.children_system
    for pid in pids:
        try:
            spent = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return float(total)


def _said(*words: str) -> str:
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _version(words: Sequence[str]) -> str | None:
    """The first number with dots that the program says; ``None`` where there is no program."""
    if not shutil.which(words[0]):
        return None
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", answer.stdout + answer.stderr)
    return found.group() if found else None


def tree(pid: int) -> list[int]:
    """A process and all below it; empty when it is gone, or was none (0)."""
    if not pid:
        return []
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def pss_mb(pids: Sequence[int]) -> float:
    """Memory in MB, shared pages divided among those who share them."""
    return round(sum(_kib(pid, "Pss") for pid in pids) / 1024, 1)


def anonymous_mb(pids: Sequence[int]) -> float:
    """As `pss_mb`, without the pages of files, which the kernel takes back at will."""
    return round(sum(_kib(pid, "Pss_Anon") for pid in pids) / 1024, 1)


def rss_mb(pids: Sequence[int]) -> float:
    """Memory in MB, shared pages counted for each process that maps them."""
    return round(sum(_kib(pid, "Rss") for pid in pids) / 1024, 1)


def _kib(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:"))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _filesystem(path: Path) -> str:
    parts = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    return max(parts, key=lambda part: len(part.mountpoint)).fstype if parts else "unknown"


def _fdatasync(path: Path) -> float:
    times = []
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begin) * 1000)
    return median(times)


def _sqlite_rate(path: Path, batch: int) -> float:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE rows (body BLOB)")
    rows, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < pick(0.05, 0.7, 0.7):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO rows VALUES (?)", [(b"x" * 1024,)] * batch)
        db.execute("COMMIT")
        rows += batch
    db.close()
    return rows / (time.perf_counter() - begin)
