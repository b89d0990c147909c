"""The sample customers of a roofing firm: invented people at addresses that belong to nobody.

Phone numbers are from ranges kept for fiction where there is one: +1 202 555 01xx, +44 7700 900xxx
(Ofcom) and +49 30 23125xxx (Bundesnetzagentur); e-mail addresses end in example.com, .org or .net.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from services.demo_crm.store import IMPORT, Author, Store

_SAMPLES = Path(__file__).with_name("samples.json")


def seed(store: Store) -> bool:
    """Fill an empty CRM; a CRM that holds anything stays as it is. True if it was filled."""
    with store.database.writing() as connection:
        if connection.execute("SELECT 1 FROM record LIMIT 1").fetchone():
            return False
        _fill(store, connection)
    return True


def reset(store: Store) -> None:
    """Forget everything and start again with the samples, in one step."""
    with store.database.writing() as connection:
        for table in ("record", "history", "answered", "notice"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above.
        _fill(store, connection)


def _fill(store: Store, connection: sqlite3.Connection) -> None:
    samples = json.loads(_SAMPLES.read_text(encoding="utf-8"))
    for record_type in ("contacts", "deals"):
        for fields in samples[record_type]:
            author = Author(name=IMPORT)
            store.insert(connection, record_type, fields, author, fields["created_at"])
    _write_history(connection, samples)


def _write_history(connection: sqlite3.Connection, samples: dict[str, Any]) -> None:
    rows = [{**note, "kind": "note", "new": note["text"]} for note in samples["notes"]]
    rows += [{**change, "kind": "field"} for change in samples["history"]]
    for row in sorted(rows, key=lambda row: str(row["at"])):
        connection.execute(
            "INSERT INTO history (type, id, kind, field, old, new, at, author)"
            " VALUES (:type, :id, :kind, :field, :old, :new, :at, :author)",
            {
                **row,
                "field": row.get("field"),
                "old": json.dumps(row.get("old")),
                "new": json.dumps(row["new"]),
            },
        )
