"""P12: how fast a backlog drains from the inbox to proposals, and what the door accepts meanwhile."""

from __future__ import annotations

import time
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


def accept(live: Live, side: str, *, connections: int = 64, seconds: float = SECONDS) -> Cell:
    """Post as fast as the product answers; every answer must be a row in the inbox."""
    path = live.posts.write(int(LARGEST_RATE * seconds))
    before = live.accepted()
    cell = wrk.run(
        live.product.port, path, side=side, connections=connections, seconds=seconds, own=live.pids
    )
    assert not cell.errors, cell
    stored = live.accepted() - before
    assert 0 < cell.answers <= stored <= cell.answers + connections, (cell, stored)
    return cell


def round_of(live: Live) -> dict[str, Any]:
    """Accepts with the workers away, which makes the backlog; accepts while they drain it; and
    then the rest of the drain with nobody at the door. Every accepted event must be classified.
    """
    begin_with = live.accepted()
    assert live.classified() == begin_with
    with live.workers_away():
        alone = accept(live, "alone")
    meanwhile = accept(live, "meanwhile")
    with foreign(live.pids) as others:
        already, begin = live.classified(), time.perf_counter()
        waiting = live.accepted()
        eventually(lambda: live.classified() >= waiting, DRAIN_SECONDS)
        seconds = time.perf_counter() - begin
    assert live.classified() == live.accepted()
    return {
        "events_per_s": (waiting - already) / seconds,
        "events": waiting - already,
        "drained_under_load_per_s": (already - begin_with) / SECONDS,
        "accepts_per_s": alone.rate,
        "accepts_meanwhile_per_s": meanwhile.rate,
        "share_meanwhile": meanwhile.rate / alone.rate,
        "p99": alone.p99,
        "foreign_cores": max(alone.foreign_cores, meanwhile.foreign_cores, others["foreign_cores"]),
        "cells": [vars(alone), vars(meanwhile)],
    }


def p12_drain() -> Found:
    with chosen() as column, fresh(column) as live:
        accept(live, "warm-up", seconds=1)
        eventually(lambda: live.classified() == live.accepted(), DRAIN_SECONDS)
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
