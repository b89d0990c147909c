"""P12: how fast a backlog drains from the inbox to proposals, and what the door accepts meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.bench import wrk
from tests.bench.column import IS_DISTRIBUTED, chosen
from tests.bench.facts import foreign
from tests.bench.live import Live, fresh
from tests.bench.result import Found, kept
from tests.bench.scale import ROUNDS, SECONDS
from tests.bench.wrk import Cell
from tests.product import eventually

LARGEST_RATE = 9000
DRAIN_SECONDS = 1800


def prepared(live: Live, side: str, seconds: float = SECONDS) -> Path:
    """Requests for one cell: making them takes time that belongs to no measurement."""
    return live.posts.write(int(LARGEST_RATE * seconds), side)


def accept(live: Live, path: Path, *, connections: int = 64, seconds: float = SECONDS) -> Cell:
    """Post as fast as the product answers; every answer must be a row in the inbox."""
    before = live.at_rest()
    cell = wrk.run(
        live.product.port,
        path,
        side=path.name,
        connections=connections,
        seconds=seconds,
        own=live.pids,
    )
    assert not cell.errors, cell
    stored = live.at_rest() - before
    assert 0 < cell.answers <= stored <= cell.answers + connections, (cell, stored)
    return cell


def emptied(live: Live) -> None:
    """Wait until the writer has the answer of every accepted event."""
    eventually(lambda: live.classified() == live.accepted(), DRAIN_SECONDS)


def round_of(live: Live) -> dict[str, Any]:
    """Accepts with the workers away, which makes the backlog; accepts while they drain it; and
    then the rest of the drain with nobody at the door. Every accepted event must be classified.

    A broker may have given up workers that stood still: the drain counts from the first event that
    is done after the last cell.
    """
    begin_with = live.accepted()
    assert live.classified() == begin_with
    files = prepared(live, "alone"), prepared(live, "meanwhile")
    with live.workers_away():
        alone = accept(live, files[0])
    meanwhile = accept(live, files[1])
    waiting, drained = live.accepted(), live.classified()
    assert drained < waiting, "the backlog was gone before it could be timed: more seconds"
    with foreign(live.pids) as others:
        eventually(lambda: live.classified() > drained, DRAIN_SECONDS)
        already, begin = live.classified(), time.perf_counter()
        eventually(lambda: live.classified() >= waiting, DRAIN_SECONDS)
        seconds = time.perf_counter() - begin
    assert live.classified() == live.accepted()
    return {
        "events_per_s": (waiting - already) / seconds,
        "events": waiting - already,
        "drained_under_load_per_s": (drained - begin_with) / SECONDS,
        "accepts_per_s": alone.rate,
        "accepts_meanwhile_per_s": meanwhile.rate,
        "share_meanwhile": meanwhile.rate / alone.rate,
        "p99": alone.p99,
        "foreign_cores": max(alone.foreign_cores, meanwhile.foreign_cores, others["foreign_cores"]),
        "cells": [vars(alone), vars(meanwhile)],
    }


def p12_drain() -> Found:
    with chosen() as column, fresh(column) as live:
        accept(live, prepared(live, "warm-up", 1), seconds=1)
        emptied(live)
        rounds = [round_of(live) for _ in range(ROUNDS)]
    found = kept(rounds)
    goal = 2000 if IS_DISTRIBUTED else 1000
    figures = (
        found.least("P12", "backlog drained, events a second", "events_per_s", goal),
        found.least("P12", "accepts while it drains ÷ workers away", "share_meanwhile", 0.5),
        found.least("P12", "accepts a second, workers away", "accepts_per_s", None),
        found.least("P12", "drained a second while accepting", "drained_under_load_per_s", None),
    )
    return Found(figures=figures, rounds=rounds)
