"""The one connection that commits, kept open, and statements compiled once for the driver.

A commit that holds a single webhook is mostly made of what surrounds it: checking a connection
out of the pool and binding each parameter costs more than SQLite's own work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, Update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect

from shared.db import defer_checkpoints, translated

Row = Mapping[str, Any]
_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


class Prepared:
    """A statement as text with named parameters, once per kind of database."""

    def __init__(self, statements: Mapping[str, Any]) -> None:
        self._texts = {
            name: str(statement.compile(dialect=_DIALECTS[name]))
            for name, statement in statements.items()
        }

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for each row; returns how many rows of the database it touched."""
        if not rows:
            return 0
        text = self._texts[connection.dialect.name]
        return connection.exec_driver_sql(text, list(rows)).rowcount


def prepared_insert(table: Table, columns: Sequence[str]) -> Prepared:
    """An insert of these columns that passes over rows whose unique key is there already."""
    names = dict.fromkeys(columns)
    return Prepared(
        {
            "sqlite": sqlite.insert(table).values(names).on_conflict_do_nothing(),
            "postgresql": postgresql.insert(table).values(names).on_conflict_do_nothing(),
        }
    )


def prepared_update(statement: Update) -> Prepared:
    return Prepared(dict.fromkeys(_DIALECTS, statement))


class WriterConnection:
    """Used by one thread at a time; opened when it is first needed, so after a fork."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction. Raises `StoreUnavailable` when the database cannot take it."""
        with translated():
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(writes=True)
                defer_checkpoints(self._connection)
                self._connection.rollback()
            try:
                with self._connection.begin():
                    yield self._connection
            except BaseException:
                broken, self._connection = self._connection, None
                broken.close()
                raise
