"""Durable accepts on PostgreSQL against the embedded file: rate and p99, side by side in one run.

Both doors run at the same time and are asked in turn, in the order A B B A, so that a slow moment
of the machine hits both. Rows in each inbox must equal the 2xx answers.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from services.ingest.store import accepted
from shared.db import checkpoint, in_schema, open_database, reading
from tests.bench.intake import ROUNDS, SECONDS, WARM_UP, Cell, Posts, measure, summary
from tests.contracts.postgresql import fresh_postgresql
from tests.ingest import senders
from tests.ingest.serving import prepare, serving

CONNECTIONS = (1, 16, 64)
ORDER = ("embedded", "postgresql", "postgresql", "embedded")
Doors = dict[str, tuple[int, int]]


def intake_postgresql() -> dict[str, Any]:
    """Per side and number of connections: accepts a second and p99 in milliseconds."""
    cells: dict[str, list[Cell]] = {"embedded": [], "postgresql": []}
    with _both() as (doors, urls, posts):
        for side, door in doors.items():
            measure(*door, "ingest", posts, connections=64, seconds=WARM_UP)
            cells[side].clear()
        before = {side: _rows(url) for side, url in urls.items()}
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                for side in ORDER:
                    at = (*doors[side], "ingest", posts)
                    cells[side].append(measure(*at, connections=connections, seconds=SECONDS))
        stored = {side: _rows(url) - before[side] for side, url in urls.items()}
    for side, found in cells.items():
        answered = sum(cell.answers for cell in found)
        # wrk stops listening at the end of a cell: what was on its way then is stored anyway.
        assert answered <= stored[side] <= answered + 64 * len(found), (side, answered, stored)
    return {
        "sides": {side: _figures(found) for side, found in cells.items()},
        "cells": {side: list(map(vars, found)) for side, found in cells.items()},
    }


def _figures(cells: list[Cell]) -> dict[str, Any]:
    return {
        str(connections): {
            "rate": summary([c.rate for c in cells if c.connections == connections]),
            "p50_ms": summary([c.p50 for c in cells if c.connections == connections]),
            "p99_ms": summary([c.p99 for c in cells if c.connections == connections]),
            "errors": sum(c.errors for c in cells if c.connections == connections),
        }
        for connections in CONNECTIONS
    }


@contextmanager
def _both() -> Iterator[tuple[Doors, dict[str, str], Posts]]:
    with tempfile.TemporaryDirectory() as name, fresh_postgresql() as server:
        urls = {
            "embedded": f"sqlite:///{name}/ingest.db",
            "postgresql": in_schema(server, "ingest"),
        }
        folder = Path(name)
        senders.open_endpoint(folder)
        for url in urls.values():
            prepare(folder, url)
        with (
            _checkpoints(urls["embedded"]),
            serving(folder, url=urls["embedded"]) as one,
            serving(folder, url=urls["postgresql"]) as other,
        ):
            yield {"embedded": one, "postgresql": other}, urls, Posts(folder)


@contextmanager
def _checkpoints(url: str) -> Iterator[None]:
    """In place of the relay's."""
    engine, stop = open_database(url), threading.Event()

    def tidy() -> None:
        while not stop.wait(0.5):
            checkpoint(engine)

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        yield
    finally:
        stop.set()
        tidying.join()
        engine.dispose()


def _rows(url: str) -> int:
    engine = open_database(url)
    with reading(engine) as connection:
        count = connection.scalar(select(func.count()).select_from(accepted)) or 0
    engine.dispose()
    return count


if __name__ == "__main__":
    print(json.dumps(intake_postgresql(), indent=1, default=str))
