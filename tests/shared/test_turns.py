"""Writers of one database take turns: what one of them counted is still so when it commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, func, select

from shared.db import in_schema, insert_new, make_schema, open_database, reading, upsert, writing
from tests.contracts.postgresql import fresh_postgresql

metadata = MetaData()
ROWS = Table("rows", metadata, Column("id", Integer, primary_key=True), Column("n", Integer))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with fresh_postgresql() if request.param == "postgresql" else nullcontext() as url:
        engine = open_database(in_schema(url, "one") if url else f"sqlite:///{tmp_path}/one.db")
        make_schema(engine)
        metadata.create_all(engine)
        yield engine
        engine.dispose()


def test_a_cap_that_two_writers_count_at_once_holds(engine: Engine) -> None:
    def add(number: int) -> None:
        with writing(engine) as connection:
            counted = connection.scalar(select(func.count()).select_from(ROWS)) or 0
            time.sleep(0.05)
            if counted < 3:
                connection.execute(ROWS.insert().values(id=number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(ROWS)) == 3


def test_a_reader_sees_one_state_however_long_it_reads(engine: Engine) -> None:
    with reading(engine) as connection:
        before = connection.scalar(select(func.count()).select_from(ROWS))
        with writing(engine) as other:
            insert_new(other, ROWS, [{"id": 1, "n": 1}])
        assert connection.scalar(select(func.count()).select_from(ROWS)) == before == 0


def test_an_insert_tells_how_many_rows_were_new(engine: Engine) -> None:
    with writing(engine) as connection:
        assert insert_new(connection, ROWS, [{"id": 1, "n": 1}]) == 1
        assert insert_new(connection, ROWS, [{"id": 1, "n": 2}]) == 0
        assert insert_new(connection, ROWS, [{"id": 1, "n": 1}, {"id": 2, "n": 1}]) == 1
        upsert(connection, ROWS, {"id": 1, "n": 7}, key=["id"])
        assert connection.scalar(select(ROWS.c.n).where(ROWS.c.id == 1)) == 7
