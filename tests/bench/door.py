"""The door of ingest alone on its server, beside the other sides of a ratio, and its clients.

A checkpoint loop stands for the relay's.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from services.ingest.store import accepted
from shared.db import checkpoint, reading
from tests.bench import posts, wrk
from tests.bench.column import Column, chosen
from tests.bench.facts import tree
from tests.bench.posts import Posts
from tests.bench.result import Kept, kept
from tests.bench.scale import ROUNDS, SECONDS, WARM_UP
from tests.bench.wrk import Cell
from tests.ingest.serving import prepare, serving

RATES = {"no-commit": 14_000}
LARGEST_RATE = 9000


@dataclass(frozen=True, kw_only=True)
class Door:
    """Running sides by name, each ``(port, process id)``, over one inbox."""

    column: Column
    sides: Mapping[str, tuple[int, int]]
    folder: Path
    posts: Posts
    engine: Engine

    def cell(
        self, side: str = "ingest", *, connections: int = 64, seconds: float = SECONDS
    ) -> Cell:
        """One measurement with new ids; ``hello`` reads none, so it gets 2,000 again and again."""
        rate = 1500 if connections == 1 else RATES.get(side, LARGEST_RATE)
        count = 2000 if side == "hello" else int(rate * seconds)
        return self.post(self.posts.write(count), side, connections, seconds, side == "hello")

    def post(
        self, path: Path, side: str, connections: int, seconds: float, repeat: bool = False
    ) -> Cell:
        port, pid = self.sides[side]
        return wrk.run(
            port,
            path,
            side=side,
            connections=connections,
            seconds=seconds,
            own=lambda: [*tree(pid), *self.column.pids()],
            repeat=repeat,
        )

    def rows(self) -> int:
        """How many happenings are in the inbox."""
        with reading(self.engine) as db:
            return int(db.scalar(select(func.count()).select_from(accepted)) or 0)

    @contextmanager
    def counted(self) -> Iterator[list[Cell]]:
        """Cells of the door to be put into the list: their answers must be rows in the inbox."""
        cells: list[Cell] = []
        before = self.rows()
        yield cells
        answered, stored = sum(cell.answers for cell in cells), self.rows() - before
        assert answered > 0
        assert answered <= stored <= answered + sum(cell.connections for cell in cells), (
            answered,
            stored,
        )


@contextmanager
def opened(*sides: str, make: posts.Maker | None = None) -> Iterator[Door]:
    """Servers for each side, all running, in one folder; the checkpoints of the relay run too."""
    with ExitStack() as stack:
        column = stack.enter_context(chosen())
        name = stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")))
        folder, stop = Path(name), threading.Event()
        database = column.database(folder, "ingest")
        prepare(folder, database)
        posts.open_endpoints(folder)
        engine = column.engine(folder, "ingest")
        stack.callback(engine.dispose)
        tidying = threading.Thread(target=_tidy, args=(engine, stop))
        tidying.start()
        stack.callback(tidying.join)
        stack.callback(stop.set)
        running = {
            side: stack.enter_context(serving(folder, side=side, database=database))
            for side in sides
        }
        yield Door(
            column=column,
            sides=running,
            folder=folder,
            posts=Posts(stack.enter_context(posts.folder()), make or posts.standard()),
            engine=engine,
        )


def _tidy(engine: Engine, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        checkpoint(engine)


def ratio_of(ours: str, theirs: str, *, connections: int = 64) -> tuple[Kept, list[Any]]:
    """Per-round ratios ``ours / theirs``, interleaved A B B A, and every round."""
    rounds = []
    with opened(ours, theirs) as door, door.counted() as counted:
        for side in (ours, theirs):
            _note(counted, door.cell(side, connections=connections, seconds=WARM_UP))
        for _ in range(ROUNDS):
            cells = [
                _note(counted, door.cell(side, connections=connections))
                for side in (ours, theirs, theirs, ours)
            ]
            assert not any(cell.errors for cell in cells), cells
            rounds.append(against(cells, ours, theirs))
    return kept(rounds), rounds


def against(cells: list[Cell], ours: str, theirs: str) -> dict[str, Any]:
    """One round: the ratio of the mean rates of the two sides."""
    mine = [cell.rate for cell in cells if cell.side == ours]
    other = [cell.rate for cell in cells if cell.side == theirs]
    return {
        "ratio": (sum(mine) / len(mine)) / (sum(other) / len(other)),
        "foreign_cores": max(cell.foreign_cores for cell in cells),
        "cells": list(map(vars, cells)),
    }


def _note(counted: list[Cell], cell: Cell) -> Cell:
    if cell.side == "ingest":
        counted.append(cell)
    return cell
