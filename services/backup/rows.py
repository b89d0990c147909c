"""The rows of a table as JSON lines, the same from SQLite and PostgreSQL, and back again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, select, text

from shared.errors import BadPayload

STEP = 500
# Who works at the moment is no state: a lease of the old process must not bind the new one.
LEFT_OUT = frozenset({"leases"})


@dataclass(kw_only=True)
class Sum:
    """How many rows, and a digest that does not depend on their order.

    Databases sort texts in different ways; the sum of the rows' SHA-256 is the same for all.
    """

    rows: int = 0
    total: int = 0

    def add(self, line: str) -> None:
        self.rows += 1
        self.total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")

    @property
    def digest(self) -> str:
        return f"{self.total % 2**256:064x}"


def kept(tables: Iterable[Table]) -> list[Table]:
    """The tables that belong into a backup."""
    return [table for table in tables if table.name not in LEFT_OUT]


def lines_of(db: Connection, table: Table) -> Iterator[str]:
    """One JSON array for each row, a few rows in memory at a time; blobs are ``{"b64": …}``."""
    query = select(table).order_by(*table.primary_key.columns)
    for row in db.execute(query.execution_options(yield_per=STEP)):
        yield json.dumps([_plain(value) for value in row], separators=(",", ":")) + "\n"


def sum_of(db: Connection, table: Table) -> Sum:
    """Count and digest of what a table holds."""
    found = Sum()
    for line in lines_of(db, table):
        found.add(line)
    return found


def head_of(table: Table) -> str:
    """The first line of a member: the names of the columns."""
    return json.dumps(table.columns.keys()) + "\n"


def insert_lines(
    db: Connection, name: str, lines: Iterator[str], told: Callable[[int], None]
) -> Sum:
    """Insert a member's rows into the table ``name``. Raises `BadPayload` for lines of no row."""
    found = Sum()
    statement = _insert(db, name, _parsed(next(lines, "")))
    while some := list(islice(lines, STEP)):
        for line in some:
            found.add(line)
        db.exec_driver_sql(statement, [tuple(map(_value, _parsed(line))) for line in some])
        told(len(some))
    return found


def advance_sequences(db: Connection, tables: Iterable[Table]) -> None:
    """PostgreSQL counts on where it was told to begin, not behind what was inserted."""
    if db.dialect.name != "postgresql":
        return
    for table in tables:
        for column in table.primary_key.columns:
            name = {"table": table.name, "column": column.name}
            sequence = db.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), name)
            if sequence:
                last = select(text("max(" + column.name + ")")).select_from(table)
                if (highest := db.scalar(last)) is not None:
                    db.execute(
                        text("SELECT setval(:name, :value)"), {"name": sequence, "value": highest}
                    )


def _insert(db: Connection, table: str, columns: Sequence[str]) -> str:
    quote = db.dialect.identifier_preparer.quote
    mark = "?" if db.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) VALUES ({marks})"  # noqa: S608 - our own names


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {"b64": base64.b64encode(value).decode()}
    return value


def _value(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _parsed(line: str) -> list[Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadPayload("the backup holds a line that is no row") from error
    if not isinstance(row, list):
        raise BadPayload("the backup holds a line that is no row")
    return row
