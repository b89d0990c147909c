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
from tests.faults.points import MODEL, Arming, names
from tests.faults.stage import Ended, Stage
from tests.faults.tree import Wiring

SECONDS_PER_KILL = 1.5
Columns = Callable[[], AbstractContextManager[Column]]


def at_points(columns: Columns, folder: Path, seed: int, *, kills: int, seconds: float) -> Ended:
    """Die at every point ``kills`` times, or as often as ``seconds`` allow.

    The CRM misbehaves meanwhile, so that the points of a bad answer are reached too.
    """
    moods = folder / "moods"
    wanted = Counter({name: kills for name in names() if not name.startswith(MODEL)})
    folder.mkdir(parents=True, exist_ok=True)
    moods.touch()
    return _at_points(columns, folder, seed, wanted, seconds, moods=moods)


def at_points_of_the_model(
    columns: Columns, folder: Path, seed: int, *, kills: int, seconds: float
) -> Ended:
    """The same where a model is asked, which then answers in the rules' place."""
    wanted = Counter({name: kills for name in names() if name.startswith(MODEL)})
    with helpful_model() as url:
        return _at_points(columns, folder, seed, wanted, seconds, OPENAI_BASE_URL=url)


def _at_points(
    columns: Columns,
    folder: Path,
    seed: int,
    wanted: Counter[str],
    seconds: float,
    moods: Path | None = None,
    **more: str,
) -> Ended:
    arming = Arming(folder=folder / "points", wanted=wanted)
    wiring = Wiring(points=str(arming.folder), moods=str(moods or ""))

    def act() -> tuple[int, Mapping[str, Any]]:
        limit = time.monotonic() + seconds
        with arming:
            while arming.left() and time.monotonic() < limit:
                time.sleep(0.5)
        if moods is not None:
            moods.unlink()
        return arming.killed.total(), {"killed": dict(arming.killed), "left": dict(arming.left())}

    with columns() as column:
        return play(column, folder, seed, act, **wiring.variable(), **more)


def at_random(columns: Columns, folder: Path, seed: int, *, kills: int) -> Ended:
    """Every process in turn, at uneven moments."""
    with columns() as column:
        product = column.product(folder).start()
        killer = Killer(product=product, seed=seed)

        def act() -> tuple[int, Mapping[str, Any]]:
            killer.spread(kills, kills * SECONDS_PER_KILL)
            return len(killer.killed), {"killed": dict(Counter(name for name, _ in killer.killed))}

        return _play(column, product, seed, act)


def play(
    column: Column,
    folder: Path,
    seed: int,
    act: Callable[[], tuple[int, Mapping[str, Any]]],
    **variables: str,
) -> Ended:
    """A fresh product on this column, one act, and the books."""
    return _play(column, column.product(folder, **variables).start(), seed, act)


def _play(column: Column, product: Any, seed: int, act: Any) -> Ended:
    try:
        return Stage(product=product, home=column.home(product), seed=seed).play(act)
    finally:
        assert product.stop() == 0, product.said()
