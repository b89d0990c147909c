"""The one connection that commits, kept open, and statements prepared once for the driver.

A commit that holds a single webhook is mostly made of what surrounds it: checking a connection
out of the pool and binding each parameter costs more than the database's own work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, Update, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import Dialect

from shared.db import as_writer, committed, defer_checkpoints, insert_into, translated

Row = Mapping[str, Any]
LARGEST_STEP = 64


def _dialect(name: str) -> Dialect:
    """The dialect with parameters by position, which both drivers take as a plain tuple."""
    if name == "sqlite":
        return sqlite.dialect(paramstyle="qmark")
    from sqlalchemy.dialects import postgresql  # 45 ms that the embedded column never needs.

    return postgresql.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


class PreparedInsert:
    """Inserts rows of these columns and passes over those whose unique key is there already.

    Many rows go in one statement. The driver lets go of the interpreter at every step, and
    thirty other threads are waiting for it: row by row a commit takes five times as long.
    """

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = [column.name for column in table.columns if column.name in columns]
        self._text = functools.cache(self._compile)

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Returns how many rows were new."""
        new, place = 0, 0
        while place < len(rows):
            # Steps of powers of two: a handful of statements, so that the driver keeps them.
            size = min(1 << ((len(rows) - place).bit_length() - 1), LARGEST_STEP)
            text = self._text(connection.dialect.name, size)
            values = [row[name] for row in rows[place : place + size] for name in self._columns]
            new += connection.exec_driver_sql(text, tuple(values)).rowcount
            place += size
        return new

    def _compile(self, dialect: str, size: int) -> str:
        rows: list[dict[str, Any]] = [
            {name: bindparam(f"{name}_{place}") for name in self._columns} for place in range(size)
        ]
        insert = insert_into(self._table, dialect).values(rows).on_conflict_do_nothing()
        return str(insert.compile(dialect=_dialect(dialect)))


class PreparedUpdate:
    """An update whose parameters are all bound by name."""

    def __init__(self, statement: Update) -> None:
        self._statement = statement
        self._compiled = functools.cache(self._compile)

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for each row; returns how many rows of the database it touched."""
        text, names = self._compiled(connection.dialect.name)
        return sum(
            connection.exec_driver_sql(text, tuple(row[name] for name in names)).rowcount
            for row in rows
        )

    def _compile(self, dialect: str) -> tuple[str, tuple[str, ...]]:
        compiled = self._statement.compile(dialect=_dialect(dialect))
        return str(compiled), tuple(compiled.positiontup or ())


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
                self._connection = as_writer(self._engine.connect())
                defer_checkpoints(self._connection)
                self._connection.rollback()
            try:
                with self._connection.begin():
                    yield self._connection
                committed(self._connection)
            except BaseException:
                broken, self._connection = self._connection, None
                broken.close()
                raise
