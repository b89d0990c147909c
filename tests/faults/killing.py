"""Runs that kill our own processes: at named points, and at random times."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.faults.columns import Column
from tests.faults.killer import Killer
from tests.faults.model_server import helpful_model
from tests.faults.points import Arming, names
from tests.faults.stage import RATE, Ended, Stage
from tests.faults.tree import Wiring

SECONDS_PER_KILL = 1.5
Act = Callable[[], tuple[int, Mapping[str, Any]]]
Columns = Callable[[], AbstractContextManager[Column]]


def at_points(columns: Columns, folder: Path, seed: int, *, kills: int, seconds: float) -> Ended:
    """Die at every point ``kills`` times, or as often as ``seconds`` allow.

    A model is asked, and the CRM misbehaves meanwhile, so that the points of a bad answer are
    reached too.
    """
    moods = folder / "moods"
    arming = Arming(
        folder=folder / "points", wanted=Counter(dict.fromkeys(names(), kills)), seed=seed
    )
    arming.folder.mkdir(parents=True)
    wiring = Wiring(points=str(arming.folder), moods=str(moods), is_hurried=True)

    def act() -> tuple[int, Mapping[str, Any]]:
        moods.touch()
        limit = time.monotonic() + seconds
        with arming:
            while arming.left() and time.monotonic() < limit:
                time.sleep(0.5)
        moods.unlink()
        return arming.killed.total(), {"killed": dict(arming.killed), "left": dict(arming.left())}

    with columns() as column, helpful_model() as url:
        product = column.product(folder, **wiring.variable(), OPENAI_BASE_URL=url).start()
        # A model is asked one question at a time: more events would only pile up.
        return run_through(
            Stage(product=product, home=column.home(product), seed=seed, rate=2), act
        )


def at_random(columns: Columns, folder: Path, seed: int, *, kills: int) -> Ended:
    """Every process in turn, at uneven moments."""
    with columns() as column:
        product = column.product(folder).start()
        killer = Killer(product=product, seed=seed)

        def act() -> tuple[int, Mapping[str, Any]]:
            killer.spread(kills, kills * SECONDS_PER_KILL)
            return len(killer.killed), {"killed": dict(Counter(name for name, _ in killer.killed))}

        return run_through(Stage(product=product, home=column.home(product), seed=seed), act)


def play(
    column: Column, folder: Path, seed: int, act: Act, *, rate: float = RATE, **variables: str
) -> Ended:
    """A fresh product on this column, one act under ``rate`` events a second, and the books."""
    product = column.product(folder, **variables).start()
    stage = Stage(product=product, home=column.home(product), seed=seed, rate=rate)
    return run_through(stage, act)


def run_through(stage: Stage, act: Act) -> Ended:
    """The act, and the end of its product, which must be a clean one."""
    try:
        return stage.play(act)
    finally:
        assert stage.product.stop() == 0, stage.product.said()
