"""What the demo CRM keeps: records with a version, and a history of who changed what."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.demo_crm.database import Database
from services.demo_crm.objects import FIELDS, Refused, Value, check, title_of

INTEGRATION = "Countersign"
PERSON = "You, in the CRM"
IMPORT = "Import"
_FIRST_ID = {"contacts": 1001, "deals": 5001, "drafts": 9001}
_RECORD = "SELECT type, id, fields, version, updated_at, changed_by, change_id FROM record "
# The address is compared in SQLite's own lower case, which is that of the generated key.
SEARCH_KEYS = {
    "email": "WHERE email_key = lower(?)",
    "phone": "WHERE phone_key = ?",
    "external_id": "WHERE external_key = ?",
    "order_number": "WHERE order_key = ?",
}


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who acts: a person, or an integration with the id of its change."""

    name: str
    change_id: str | None = None

    @property
    def is_integration(self) -> bool:
        return self.name == INTEGRATION


@dataclass(frozen=True, kw_only=True)
class Record:
    type: str
    id: str
    fields: Mapping[str, Value]
    version: int
    updated_at: str
    changed_by: str
    change_id: str | None

    @property
    def title(self) -> str:
        return title_of(self.type, self.fields)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of history: ``kind`` is field, note, task (``new`` is its subject) or created."""

    seq: int
    type: str
    id: str
    kind: str
    field: str | None
    old: Value
    new: Value
    at: str
    author: str
    change_id: str | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What somebody has to do about a record; ``due`` is a day such as 2026-11-30."""

    entry: Entry
    due: str | None


Announce = Callable[[sqlite3.Connection, str, Record, Sequence[Entry]], None]


class Store:
    """``announce`` is called inside the transaction of each change, so no notice is lost."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], announce: Announce | None = None
    ) -> None:
        self.database = database
        self._clock = clock
        self._announce = announce

    def get(self, record_type: str, record_id: str) -> Record:
        """Raises `Refused` with status 404 where there is none."""
        with self.database.reading() as connection:
            return _get(connection, record_type, record_id)

    def find(self, key: str, value: str) -> list[Record]:
        """Contacts and deals whose ``key`` (one of `SEARCH_KEYS`) is ``value``."""
        query = _RECORD + SEARCH_KEYS[key] + " AND type IN ('contacts', 'deals') ORDER BY id"
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query + " LIMIT 100", (value,))]

    def all(self, record_type: str) -> list[Record]:
        with self.database.reading() as connection:
            rows = connection.execute(_RECORD + "WHERE type = ? ORDER BY id", (record_type,))
            return [_record(row) for row in rows]

    def newest(self, record_type: str, limit: int) -> list[Record]:
        """What changed last first."""
        query = _RECORD + "WHERE type = ? ORDER BY updated_at DESC, id DESC LIMIT ?"
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query, (record_type, limit))]

    def deals_of(self, contact_id: str) -> list[Record]:
        with self.database.reading() as connection:
            rows = connection.execute(_RECORD + "WHERE contact_key = ? ORDER BY id", (contact_id,))
            return [_record(row) for row in rows]

    def history(self, record_type: str, record_id: str, limit: int = 500) -> list[Entry]:
        """The newest first."""
        query = "SELECT * FROM history WHERE type = ? AND id = ? ORDER BY seq DESC LIMIT ?"
        with self.database.reading() as connection:
            rows = connection.execute(query, (record_type, record_id, limit))
            return [_entry(row) for row in rows]

    def changes(
        self, *, author: str, since: str = "", after: int = 0, limit: int = 500
    ) -> list[Entry]:
        """Everything ``author`` did at or after ``since``, oldest first, from ``after`` on."""
        query = "SELECT * FROM history WHERE author = ? AND seq > ? AND at >= ? ORDER BY seq"
        with self.database.reading() as connection:
            rows = connection.execute(query + " LIMIT ?", (author, after, since, limit))
            return [_entry(row) for row in rows]

    def effects_of(self, change_id: str) -> list[Entry]:
        query = "SELECT * FROM history WHERE change_id = ? ORDER BY seq"
        with self.database.reading() as connection:
            return [_entry(row) for row in connection.execute(query, (change_id,))]

    def update(
        self,
        record_type: str,
        record_id: str,
        values: Mapping[str, Any],
        author: Author,
        *,
        if_version: int | None = None,
    ) -> Record:
        """Write the fields, each with a line of history, also where the value stays the same.

        Raises `Refused`: 404 unknown record, 412 ``if_version`` is not the current one, 422 or
        403 a value that may not be written.
        """
        check(record_type, values, integration=author.is_integration)
        with self.database.writing() as connection:
            record = _get(connection, record_type, record_id)
            if if_version is not None and if_version != record.version:
                raise Refused(412, "version_mismatch", f"the record is at version {record.version}")
            changes = {name: (record.fields.get(name), value) for name, value in values.items()}
            return self._change(connection, record, changes, author)

    def add_note(self, record_type: str, record_id: str, text: str, author: Author) -> Entry:
        with self.database.writing() as connection:
            _get(connection, record_type, record_id)
            act = _Act(author, self._now())
            return act.log(connection, record_type, record_id, "note", new=text)

    def add_task(
        self, record_type: str, record_id: str, subject: str, due: str | None, author: Author
    ) -> Task:
        """Raises `Refused` 404 for an unknown record."""
        with self.database.writing() as connection:
            _get(connection, record_type, record_id)
            act = _Act(author, self._now())
            entry = act.log(connection, record_type, record_id, "task", new=subject)
            connection.execute("INSERT INTO task VALUES (?, ?)", (entry.seq, due))
            return Task(entry=entry, due=due)

    def tasks_of(self, record_type: str, record_id: str) -> list[Task]:
        """The newest first. Raises `Refused` 404 for an unknown record."""
        query = (
            "SELECT history.*, due FROM history JOIN task USING (seq)"
            " WHERE type = ? AND id = ? ORDER BY seq DESC"
        )
        with self.database.reading() as connection:
            _get(connection, record_type, record_id)
            rows = [dict(row) for row in connection.execute(query, (record_type, record_id))]
        return [Task(due=row.pop("due"), entry=_entry(row)) for row in rows]

    def propose(self, values: Mapping[str, Any], author: Author) -> Record:
        """A draft: a contact that does not exist until a person promotes it."""
        check("contacts", {"last_name": None, **values}, integration=author.is_integration)
        fields = {"lifecycle": "lead", **values, "draft_state": "open", "promoted_to": None}
        with self.database.writing() as connection:
            return self.insert(connection, "drafts", fields, author, self._now())

    def promote(self, draft_id: str, author: Author) -> tuple[Record, Record]:
        """The draft as it is now, and the contact it became. `Refused` 409 if it is not open."""
        with self.database.writing() as connection:
            draft = _open_draft(connection, draft_id)
            values = {name: draft.fields.get(name) for name in FIELDS["contacts"]}
            contact = self.insert(connection, "contacts", values, author, self._now())
            outcome = {"draft_state": ("open", "promoted"), "promoted_to": (None, contact.id)}
            return self._change(connection, draft, outcome, author), contact

    def discard(self, draft_id: str, author: Author) -> Record:
        with self.database.writing() as connection:
            draft = _open_draft(connection, draft_id)
            outcome = {"draft_state": ("open", "discarded")}
            return self._change(connection, draft, outcome, author)

    def answered(self, change_id: str, act: str) -> dict[str, Any] | None:
        """The answer that this act of this change got the first time."""
        query = "SELECT answer FROM answered WHERE change_id = ? AND act = ?"
        with self.database.reading() as connection:
            row = connection.execute(query, (change_id, act)).fetchone()
            return None if row is None else dict(json.loads(row[0]))

    def remember_answer(self, change_id: str, act: str, answer: Mapping[str, Any]) -> None:
        with self.database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO answered VALUES (?, ?, ?)",
                (change_id, act, json.dumps(answer)),
            )

    def insert(
        self,
        connection: sqlite3.Connection,
        record_type: str,
        values: Mapping[str, Value],
        author: Author,
        at: str,
    ) -> Record:
        """A new record of checked values, inside the caller's transaction."""
        fields = {name: values.get(name) for name in FIELDS[record_type]}
        fields |= {"created_at": at, "updated_at": at}
        record_id = _next_id(connection, record_type)
        connection.execute(
            "INSERT INTO record VALUES (?, ?, ?, 1, ?, ?, ?)",
            (record_type, record_id, json.dumps(fields), at, author.name, author.change_id),
        )
        record = _get(connection, record_type, record_id)
        act = _Act(author, at)
        act.log(connection, record_type, record_id, "created")
        # Values that an integration brought are told apart from a person's, field by field.
        entries = [
            act.log(connection, record_type, record_id, "field", name, None, value)
            for name, value in values.items()
            if author.is_integration and value is not None
        ]
        self._tell(connection, "created", record, entries)
        return record

    def _change(
        self,
        connection: sqlite3.Connection,
        record: Record,
        changes: Mapping[str, tuple[Value, Value]],
        author: Author,
    ) -> Record:
        act = _Act(author, self._now())
        fields = {**record.fields, **{name: new for name, (_, new) in changes.items()}}
        fields["updated_at"] = act.at
        connection.execute(
            "UPDATE record SET fields = ?, version = version + 1, updated_at = ?, changed_by = ?,"
            " change_id = ? WHERE type = ? AND id = ?",
            (json.dumps(fields), act.at, author.name, author.change_id, record.type, record.id),
        )
        entries = [
            act.log(connection, record.type, record.id, "field", name, old, new)
            for name, (old, new) in changes.items()
        ]
        changed = _get(connection, record.type, record.id)
        self._tell(connection, "updated", changed, entries)
        return changed

    def _tell(
        self, connection: sqlite3.Connection, kind: str, record: Record, entries: Sequence[Entry]
    ) -> None:
        if self._announce is not None and record.type != "drafts":
            self._announce(connection, kind, record, entries)

    def _now(self) -> str:
        return stamp(self._clock())


def stamp(moment: datetime) -> str:
    """UTC, RFC 3339 with milliseconds: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Act:
    """One author at one moment."""

    def __init__(self, author: Author, at: str) -> None:
        self.author = author
        self.at = at

    def log(
        self,
        connection: sqlite3.Connection,
        record_type: str,
        record_id: str,
        kind: str,
        field: str | None = None,
        old: Value = None,
        new: Value = None,
    ) -> Entry:
        author = self.author
        values = (record_type, record_id, kind, field, json.dumps(old), json.dumps(new))
        row = connection.execute(
            "INSERT INTO history (type, id, kind, field, old, new, at, author, change_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (*values, self.at, author.name, author.change_id),
        ).fetchone()
        return _entry(row)


def _get(connection: sqlite3.Connection, record_type: str, record_id: str) -> Record:
    query = _RECORD + "WHERE type = ? AND id = ?"
    row = connection.execute(query, (record_type, record_id)).fetchone()
    if row is None:
        raise Refused(404, "not_found", f"there is no such record in {record_type}")
    return _record(row)


def _open_draft(connection: sqlite3.Connection, draft_id: str) -> Record:
    draft = _get(connection, "drafts", draft_id)
    state = draft.fields["draft_state"]
    if state != "open":
        raise Refused(409, "draft_closed", f"the draft is already {state}")
    return draft


def _next_id(connection: sqlite3.Connection, record_type: str) -> str:
    # Records are never deleted, so the greatest id only grows.
    query = "SELECT max(cast(id AS INTEGER)) FROM record WHERE type = ?"
    greatest = connection.execute(query, (record_type,)).fetchone()[0]
    return str(_FIRST_ID[record_type] if greatest is None else greatest + 1)


def _record(row: sqlite3.Row) -> Record:
    record_type, record_id, fields, version, updated_at, changed_by, change_id = row
    return Record(
        type=record_type,
        id=record_id,
        fields=json.loads(fields),
        version=version,
        updated_at=updated_at,
        changed_by=changed_by,
        change_id=change_id,
    )


def _entry(row: sqlite3.Row | Mapping[str, Any]) -> Entry:
    values = dict(row)
    return Entry(**{**values, "old": json.loads(values["old"]), "new": json.loads(values["new"])})
