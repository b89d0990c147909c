"""The table of all runs: what is done, on which column, and how often it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import calls, disks, killing, networks, outages, storm
from tests.faults.columns import distributed, embedded
from tests.faults.stage import Ended

Round = Callable[[Path, int], Ended]


@dataclass(frozen=True, kw_only=True)
class Run:
    """``play`` does one round in a fresh folder with a seed; ``wanted`` counts faults."""

    name: str
    wanted: int
    play: Round


def _points(columns: killing.Columns, folder: Path, seed: int) -> Ended:
    return killing.at_points(columns, folder, seed, kills=4, seconds=240)


def _random(columns: killing.Columns, folder: Path, seed: int) -> Ended:
    return killing.at_random(columns, folder, seed, kills=70)


def _table() -> tuple[Run, ...]:
    rows: list[tuple[str, int, Round]] = [
        ("points-embedded", 500, partial(_points, embedded)),
        ("points-distributed", 500, partial(_points, distributed)),
        ("random-embedded", 500, partial(_random, embedded)),
        ("random-distributed", 500, partial(_random, distributed)),
        ("storm", 200, storm.of_everything),
        *((f"{name}-killed", wanted, play) for name, wanted, play in outages.ROUNDS),
        *((f"network-{name}", 6, play) for name, play in networks.ROUNDS),
        *((f"disk-{name}", 20, play) for name, play in disks.ROUNDS),
        ("crm-calls", 10_000, calls.scripted),
    ]
    return tuple(Run(name=name, wanted=wanted, play=play) for name, wanted, play in rows)


RUNS = _table()
