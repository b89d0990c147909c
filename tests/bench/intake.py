"""P1, P2, P4, P5 and P10: durable accepts against a bare application and against raw commits."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from pathlib import Path
from statistics import median

from tests.bench.column import IS_DISTRIBUTED
from tests.bench.door import Door, opened, ratio_of
from tests.bench.result import Figure, Found, NotHereError, kept
from tests.bench.scale import ROUNDS, SECONDS, WARM_UP, pick
from tests.bench.wrk import Cell

CROWD = pick(200, 2000, 2000)
LATENCY_GOALS = {1: 4, 16: 15, 64: 35}


def _goal(goal: float) -> float | None:
    """Goals are for the embedded column."""
    return None if IS_DISTRIBUTED else goal


def p1_against_hello() -> Found:
    found, rounds = ratio_of("ingest", "hello")
    what = "durable accepts ÷ bare hello, 64 connections"
    return Found(figures=(found.least("P1", what, "ratio", _goal(0.35)),), rounds=rounds)


def p2_against_no_commit() -> Found:
    found, rounds = ratio_of("ingest", "no-commit")
    what = "durable accepts ÷ the same without commit"
    return Found(figures=(found.least("P2", what, "ratio", _goal(0.75)),), rounds=rounds)


def p4_and_p5_rate_and_latency() -> Found:
    """Accepts at 1, 16 and 64 connections; then many at once; then nothing but repeats."""
    cells: list[Cell] = []
    with opened("ingest") as door:
        with door.counted() as counted:
            counted.append(door.cell(seconds=WARM_UP))
            for _ in range(ROUNDS):
                cells += [door.cell(connections=n) for n in LATENCY_GOALS]
            counted.extend(cells)
        crowd = door.cell(connections=CROWD)
        repeats = _only_repeats(door)
        floor = disk_floor(door.folder)
    assert not any(cell.errors for cell in cells), cells
    rate = kept([vars(cell) for cell in cells if cell.connections == 64])
    figures = [
        rate.least("P4", "durable accepts a second, 64 connections", "rate", _goal(4500)),
        Figure(target="P4", what="the same when all are repeats", value=repeats.rate),
    ]
    for connections, goal in LATENCY_GOALS.items():
        one = kept([vars(cell) for cell in cells if cell.connections == connections])
        figures.append(
            one.most("P5", f"answer p99, {connections} connections, ms", "p99", _goal(goal))
        )
    many = f"{CROWD:,} connections"
    figures += [
        Figure(
            target="P5",
            what=f"answer p99, {many}, ms",
            value=crowd.p99,
            goal=_goal(1500),
            is_least=False,
        ),
        Figure(target="P5", what=f"errors with {many}", value=crowd.errors, goal=0, is_least=False),
    ]
    rounds = {"floor": floor, "cells": [vars(cell) for cell in [*cells, crowd, repeats]]}
    return Found(figures=tuple(figures), rounds=rounds)


def _only_repeats(door: Door) -> Cell:
    """The same 500 requests again and again: after the first turn not a row may be added."""
    path = door.posts.write(500)
    door.post(path, "ingest", 64, WARM_UP, repeat=True)
    before = door.rows()
    cell = door.post(path, "ingest", 64, SECONDS, repeat=True)
    assert door.rows() == before, "a repeat was stored"
    return cell


def p10_single_accept() -> Found:
    """Latency of one accept on one connection in units of one SQLite FULL commit."""
    if IS_DISTRIBUTED:
        raise NotHereError("P10 is about SQLite's commit")
    rounds = []
    with opened("ingest") as door, door.counted() as counted:
        counted.append(door.cell(connections=1, seconds=WARM_UP))
        for _ in range(ROUNDS):
            before = single_commit(door.folder)
            cell = door.cell(connections=1)
            counted.append(cell)
            commit = (before + single_commit(door.folder)) / 2
            rounds.append({"commit_ms": commit, "ratio": cell.p50 / commit, **vars(cell)})
    what = "single accept ÷ one SQLite commit"
    return Found(figures=(kept(rounds).most("P10", what, "ratio", 3.5),), rounds=rounds)


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
