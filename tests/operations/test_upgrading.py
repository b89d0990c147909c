"""Old data goes on in a newer version; newer data is refused; a newer message is parked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, LargeBinary, MetaData, Table, inspect, select, text

from services.declarations import SERVICES
from services.embedded import prepare_databases
from services.installation import Installation, RunSettings
from shared import sessions
from shared.bus.transports.sqlite.schema import VERSION
from shared.db import make_schema, open_database, reading, writing
from shared.errors import ConfigurationError
from shared.migrations import migrate, migrate_to, newest
from tests.contracts.postgresql import fresh_postgresql

NAMES = [*(service.name for service in SERVICES), "sessions"]
DECLARED: dict[str, MetaData] = {
    **{service.name: service.tables for service in SERVICES},
    "sessions": sessions.metadata,
}
OLDEST = "0001"


@pytest.fixture(params=["embedded", "distributed"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose databases are files, or schemas of a real PostgreSQL."""
    if request.param == "embedded":
        yield prepared(Installation(root=tmp_path, run=RunSettings()))
        return
    with fresh_postgresql() as url:
        yield prepared(Installation(root=tmp_path, run=RunSettings(database_url=url)))


def prepared(home: Installation) -> Installation:
    home.prepare()
    return home


def opened(home: Installation, name: str) -> Engine:
    engine = open_database(home.database(name), pooled=False)
    make_schema(engine)
    return engine


def row_for(table: Table) -> dict[str, Any]:
    """A row that fills every column with something of its type."""
    row: dict[str, Any] = {}
    for number, column in enumerate(table.columns, 1):
        kind = column.type.python_type
        row[column.name] = b"\x00old\xff" if isinstance(column.type, LargeBinary) else kind(number)
    return row


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_oldest_version_are_there_in_the_newest(home: Installation, name: str) -> None:
    engine = opened(home, name)
    migrate_to(engine, name, OLDEST)
    old = MetaData()
    with reading(engine) as db:
        old.reflect(db)
    rows = {t.name: row_for(t) for t in old.sorted_tables if t.name != "alembic_version"}
    with writing(engine) as db:
        for table, row in rows.items():
            db.execute(old.tables[table].insert(), [row])
    migrate(engine, name)
    with reading(engine) as db:
        found = {t: dict(db.execute(select(old.tables[t])).mappings().one()) for t in rows}
        assert found == rows
        for declared in DECLARED[name].sorted_tables:
            columns = {column["name"] for column in inspect(db).get_columns(declared.name)}
            assert columns == set(declared.columns.keys())
        assert db.scalar(text("SELECT version_num FROM alembic_version")) == newest(name)
    engine.dispose()


@pytest.mark.parametrize("name", NAMES)
def test_a_start_refuses_a_database_of_a_newer_version(home: Installation, name: str) -> None:
    prepare_databases(home)
    engine = opened(home, name)
    with writing(engine) as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match=f"the {name} database .* newer version"):
        prepare_databases(home)


def test_a_start_refuses_a_bus_file_of_a_newer_version(tmp_path: Path) -> None:
    home = prepared(Installation(root=tmp_path, run=RunSettings()))
    prepare_databases(home)
    with closing(sqlite3.connect(home.bus_file)) as bus:
        assert bus.execute("PRAGMA user_version").fetchone() == (VERSION,)
        bus.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(ConfigurationError, match=r"bus.db was made by a newer version"):
        prepare_databases(home)
