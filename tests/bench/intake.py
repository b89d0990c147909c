"""P1, P2, P4, P5 and P10: durable accepts against a bare application and against raw commits.

Every cell posts signed bodies of 1.5 KiB with event ids that were never used before, over
keep-alive connections of wrk with one thread; rows in the inbox must equal the 2xx answers. Both
sides of a ratio run in one round, in the order A B B A. A checkpoint loop stands for the relay's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from shared.db import checkpoint, open_database
from tests.ingest import senders
from tests.ingest.serving import prepare, serving

FULL = bool(os.environ.get("FULL"))
SECONDS, ROUNDS, WARM_UP = (10, 5, 3) if FULL else (3, 2, 1)
FOREIGN = 0.15
LARGEST_RATE = 9000
LUA = """
local posts = {}
for line in io.lines(os.getenv("POSTS")) do
  local id, stamp, sign, body = line:match("^([^\\t]*)\\t([^\\t]*)\\t([^\\t]*)\\t(.*)$")
  posts[#posts + 1] = wrk.format("POST", "/hooks/demo-crm", {
    ["Content-Type"] = "application/json", ["webhook-id"] = id,
    ["webhook-timestamp"] = stamp, ["webhook-signature"] = sign}, body)
end
local place = 0
request = function() place = place % #posts + 1; return posts[place] end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\\n", summary.requests,
    summary.duration, summary.errors.status, summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout, latency:percentile(50),
    latency:percentile(99), latency.max, latency.mean, #posts))
end
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement; times in milliseconds, ``foreign`` in cores."""

    side: str
    connections: int
    rate: float
    p50: float
    p99: float
    mean: float
    answers: int
    errors: int
    foreign: float


class Posts:
    """Files of signed requests whose ids are unique over the whole run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._random = random.Random(20261123)
        self._number = 0
        self._bodies = [self._body(n) for n in range(2000)]

    def _body(self, number: int) -> bytes:
        """1.5 KiB as a CRM sends it: a few changed fields, one of them a note."""
        words = " ".join(f"{self._random.getrandbits(40):010x}" for _ in range(98))
        return senders.change(
            f"c-{number}",
            changes={
                "phone": {"old": "+12025550100", "new": f"+1202555{number:04d}"},
                "job_title": {"old": None, "new": "Head of Operations"},
                "notes": {"old": "", "new": words},
            },
            version=str(number),
            changed_by="user:ava",
        )

    def write(self, count: int) -> Path:
        path = self._folder / "posts.txt"
        with path.open("w") as file:
            for _ in range(count):
                self._number += 1
                body = self._bodies[self._number % len(self._bodies)]
                headers = senders.signed(f"msg_{self._number:09d}_{self._random.random()}", body)
                names = ("webhook-id", "webhook-timestamp", "webhook-signature")
                file.write("\t".join([*(headers[name] for name in names), body.decode()]) + "\n")
        return path


def measure(
    port: int, parent: int, side: str, posts: Posts, *, connections: int, seconds: float
) -> Cell:
    """Run wrk once. Raises `AssertionError` if the requests did not last for the cell."""
    rate = 1500 if connections == 1 else LARGEST_RATE if side == "ingest" else 25_000
    count = int(rate * seconds) if side != "hello" else 2000
    path = posts.write(count)
    script = path.with_name("post.lua")
    script.write_text(LUA)
    own = psutil.Process(parent)
    before, began = _busy(), time.monotonic()
    ours = _of_tree(own)
    client = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
         f"http://127.0.0.1:{port}"],
        env={**os.environ, "POSTS": str(path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    spent = _children_time()
    line = next(text for text in client.stdout.splitlines() if text.startswith("RESULT"))
    total, micro, status, broken, p50, p99, _, mean, had = map(int, line.split()[1:])
    assert side == "hello" or total <= had, "ids would repeat: write more requests for the cell"
    wall = time.monotonic() - began
    used = _of_tree(own) - ours + spent - measure.client  # type: ignore[attr-defined]
    measure.client = spent  # type: ignore[attr-defined]
    return Cell(
        side=side,
        connections=connections,
        rate=total / (micro / 1e6),
        p50=p50 / 1000,
        p99=p99 / 1000,
        mean=mean / 1000,
        answers=total - status,
        errors=status + broken,
        foreign=max(0.0, (_busy() - before - used) / wall),
    )


measure.client = 0.0  # type: ignore[attr-defined]


def _busy() -> float:
    """Seconds of processor time of the whole machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def _of_tree(process: psutil.Process) -> float:
    tree = [process, *process.children(recursive=True)]
    return sum(p.cpu_times().user + p.cpu_times().system for p in tree)


def _children_time() -> float:
    """Of the wrk processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@contextmanager
def doors(*sides: str) -> Iterator[tuple[dict[str, tuple[int, int]], Path, Posts]]:
    """Servers for each side, all running, in one folder; the checkpoints of the relay run too."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder, stop = Path(name), threading.Event()
        prepare(folder)
        senders.open_endpoint(folder)
        engine = open_database(f"sqlite:///{folder}/ingest.db")

        def tidy() -> None:
            while not stop.wait(0.5):
                checkpoint(engine)

        tidying = threading.Thread(target=tidy)
        tidying.start()
        try:
            yield from _started(sides, folder)
        finally:
            stop.set()
            tidying.join()
            engine.dispose()


def _started(
    sides: Sequence[str], folder: Path
) -> Iterator[tuple[dict[str, tuple[int, int]], Path, Posts]]:
    posts = Posts(folder)
    with serving(folder, side=sides[0]) as first:
        if len(sides) == 1:
            yield {sides[0]: first}, folder, posts
            return
        with serving(folder, side=sides[1]) as second:
            yield {sides[0]: first, sides[1]: second}, folder, posts


def ratio_of(ours: str, theirs: str, *, connections: int = 64) -> dict[str, Any]:
    """Per-round ratios ``ours / theirs``, interleaved A B B A; loud rounds are dropped."""
    rounds, dropped = [], 0
    with doors(ours, theirs) as (ports, folder, posts):
        for side in (ours, theirs):
            measure(*ports[side], side, posts, connections=connections, seconds=WARM_UP)
        begin = rows(folder)
        answered = 0
        for _ in range(ROUNDS):
            cells = [
                measure(*ports[side], side, posts, connections=connections, seconds=SECONDS)
                for side in (ours, theirs, theirs, ours)
            ]
            answered += sum(cell.answers for cell in cells if cell.side == "ingest")
            mine = sum(cell.rate for cell in cells if cell.side == ours) / 2
            other = sum(cell.rate for cell in cells if cell.side == theirs) / 2
            is_quiet = max(cell.foreign for cell in cells) <= FOREIGN
            dropped += not is_quiet
            rounds.append(
                {"ratio": mine / other, "quiet": is_quiet, "cells": list(map(vars, cells))}
            )
        stored = rows(folder) - begin
    # wrk stops listening at the end of a cell: what was on its way then is stored, not counted.
    assert answered <= stored <= answered + connections * ROUNDS * 4, (answered, stored)
    kept = [r for r in rounds if r["quiet"]] or rounds
    return {**summary([r["ratio"] for r in kept]), "dropped": dropped, "rounds": rounds}


def rows(folder: Path) -> int:
    connection = sqlite3.connect(folder / "ingest.db")
    try:
        found = connection.execute("SELECT count(*) FROM accepted").fetchone()[0]
        return int(found)
    finally:
        connection.close()


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def p1_against_hello() -> dict[str, Any]:
    return {"target": "P1", "goal": 0.35, **ratio_of("ingest", "hello")}


def p2_against_no_commit() -> dict[str, Any]:
    return {"target": "P2", "goal": 0.75, **ratio_of("ingest", "no-commit")}


def p4_and_p5_rate_and_latency() -> list[dict[str, Any]]:
    """Accepts a second at 64 connections; p99 at 1, 16 and 64; 2,000 connections at once."""
    cells: list[Cell] = []
    with doors("ingest") as (ports, folder, posts):
        at = (*ports["ingest"], "ingest", posts)
        measure(*at, connections=64, seconds=WARM_UP)
        for _ in range(ROUNDS):
            cells += [measure(*at, connections=n, seconds=SECONDS) for n in (1, 16, 64)]
        crowd = measure(*at, connections=2000, seconds=SECONDS)
        floor = disk_floor(folder)
    at_64 = [cell.rate for cell in cells if cell.connections == 64]
    latency = {
        str(n): summary([cell.p99 for cell in cells if cell.connections == n]) for n in (1, 16, 64)
    }
    raw = [vars(cell) for cell in cells]
    return [
        {"target": "P4", "goal": 4500, **summary(at_64), "floor": floor, "cells": raw},
        {
            "target": "P5",
            "goal": {"1": 4, "16": 15, "64": 35, "2000": 1500},
            "p99_ms": latency,
            "crowd": vars(crowd),
        },
    ]


def p10_single_accept() -> dict[str, Any]:
    """Latency of one accept on one connection in units of one SQLite FULL commit."""
    results = []
    with doors("ingest") as (ports, folder, posts):
        at = (*ports["ingest"], "ingest", posts)
        measure(*at, connections=1, seconds=WARM_UP)
        for _ in range(ROUNDS):
            before = single_commit(folder)
            cell = measure(*at, connections=1, seconds=SECONDS)
            commit = (before + single_commit(folder)) / 2
            results.append({"commit_ms": commit, "ratio": cell.p50 / commit, **vars(cell)})
    return {
        "target": "P10",
        "goal": 3.5,
        **summary([row["ratio"] for row in results]),
        "rounds": results,
    }


def single_commit(folder: Path, count: int = 300) -> float:
    """Median milliseconds of one insert of 1.5 KiB with ``synchronous=FULL`` in WAL."""
    path = folder / "floor.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (id TEXT UNIQUE, body BLOB)")
    times = []
    for _ in range(count):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?, ?)", (random.random(), b"x" * 1536))
        connection.execute("COMMIT")
        times.append(time.perf_counter() - began)
    connection.close()
    return median(times) * 1000


def disk_floor(folder: Path) -> dict[str, float]:
    """Milliseconds of one fdatasync and of one SQLite commit, as the disk is now."""
    path, times = folder / "sync", []
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return {"fdatasync_ms": median(times) * 1000, "commit_ms": single_commit(folder)}


def main(names: Sequence[str]) -> None:
    """``python -m tests.bench.intake [p1 p2 p4 p10]``; without names all of them."""
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed")
    runs = {
        "p1": p1_against_hello,
        "p2": p2_against_no_commit,
        "p4": p4_and_p5_rate_and_latency,
        "p10": p10_single_accept,
    }
    for name in names or list(runs):
        print(json.dumps(runs[name](), indent=1, default=str))


if __name__ == "__main__":
    main(sys.argv[1:])
