"""Runs that kill the servers under the product, and bring them back a few seconds later."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.faults.columns import Column, distributed, indexed
from tests.faults.killing import play
from tests.faults.servers import OWN
from tests.faults.stage import Ended

DOWN_SECONDS = (1.0, 5.0)
# Between two deaths: time to come back, and to do some work.
UP_SECONDS = 9.0


def broker(folder: Path, seed: int, *, kills: int = 12) -> Ended:
    OWN.start("rabbitmq", "postgresql")
    with distributed() as column:
        return _killed(column, folder, seed, kills, lambda mix: _down_and_up("rabbitmq", mix))


def database(folder: Path, seed: int, *, kills: int = 16) -> Ended:
    """In turn the whole server, and one of its processes, after which it restarts by itself."""
    turns = iter(range(kills))

    def kill(mix: random.Random) -> str:
        if next(turns) % 2:
            OWN.kill_backend(mix.randrange(1000))
            return "backend"
        return _down_and_up("postgresql", mix)

    OWN.start("rabbitmq", "postgresql")
    with distributed() as column:
        return _killed(column, folder, seed, kills, kill)


def index(folder: Path, seed: int, *, kills: int = 6) -> Ended:
    """Searching stands still meanwhile, and nothing else does."""
    OWN.start("rabbitmq", "postgresql", "elasticsearch")
    with indexed() as column:
        return _killed(column, folder, seed, kills, lambda mix: _down_and_up("elasticsearch", mix))


def _down_and_up(name: str, mix: random.Random) -> str:
    OWN.kill(name)
    time.sleep(mix.uniform(*DOWN_SECONDS))
    OWN.start(name)
    return name


def _killed(
    column: Column, folder: Path, seed: int, kills: int, kill: Callable[[random.Random], str]
) -> Ended:
    mix = random.Random(seed)

    def act() -> tuple[int, Mapping[str, Any]]:
        done: list[str] = []
        for _ in range(kills):
            time.sleep(UP_SECONDS * mix.random() + 3)
            done.append(kill(mix))
        return len(done), {"killed": {one: done.count(one) for one in set(done)}}

    return play(column, folder, seed, act)


ROUNDS = (("broker", 100, broker), ("database", 100, database), ("index", 30, index))
