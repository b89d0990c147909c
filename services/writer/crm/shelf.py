"""Drafts of new people in a space of our own, for every CRM that has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, Row, select, update

from services.writer.crm.registry import Writer
from services.writer.tables import own_drafts
from shared.crm import Capabilities, CrmChange, FieldMeta, Reader
from shared.crm.duplicates import likely_duplicates
from shared.crm.reader import COMMON_FIELDS
from shared.db import insert_new, reading, writing
from shared.domain.classification import Candidate
from shared.domain.record import DRAFTS, Reading, RecordRef
from shared.domain.schema import Scalar, rfc3339
from shared.errors import NotFound, Rejected

_LONGEST: Final = 250


class Shelf:
    """A vendor's writer whose new people wait here until a person promotes or discards them."""

    def __init__(
        self, crm: str, writer: Writer, engine: Engine, clock: Callable[[], datetime]
    ) -> None:
        self._crm = crm
        self._writer = writer
        self._engine = engine
        self._clock = clock

    @property
    def is_conditional(self) -> bool:
        return self._writer.is_conditional

    @property
    def marks_updates(self) -> bool:
        return self._writer.marks_updates

    @property
    def problem(self) -> str | None:
        return self._writer.problem

    def scopes(self) -> Sequence[str]:
        return self._writer.scopes()

    def update(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str, version: str | None
    ) -> None:
        self._writer.update(ref, fields, change_id=change_id, version=version)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        self._writer.add_note(ref, text, change_id=change_id)

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        return self._writer.note(ref, change_id=change_id)

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        self._writer.add_task(ref, subject, due, change_id=change_id)

    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        return self._writer.task(ref, change_id=change_id)

    def task_setup(self) -> str | None:
        return self._writer.task_setup()

    def create_draft(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str
    ) -> RecordRef:
        """Where the draft lies; one change makes one draft. Nothing reaches the CRM."""
        if ref.crm != self._crm or ref.type != DRAFTS:
            raise Rejected(f"{ref} is no draft of {self._crm}")
        row = {
            "change_id": change_id,
            "crm": self._crm,
            "fields": json.dumps(dict(fields), ensure_ascii=False, sort_keys=True),
            "state": "open",
            "created_at": rfc3339(self._clock()),
        }
        with writing(self._engine) as db:
            insert_new(db, own_drafts, [row])
        return RecordRef(crm=self._crm, type=DRAFTS, id=change_id)

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A live person at once: for a sandbox, where nothing has to wait."""
        return self._writer.create(fields, change_id=change_id)

    def find(self, change_id: str) -> RecordRef | None:
        """The draft that this change has made or discarded, else what the CRM knows of it."""
        with reading(self._engine) as db:
            row = db.execute(
                select(own_drafts).where(
                    own_drafts.c.crm == self._crm,
                    (own_drafts.c.change_id == change_id) | (own_drafts.c.closed_by == change_id),
                )
            ).first()
        if row is not None:
            return RecordRef(crm=self._crm, type=DRAFTS, id=row.change_id)
        return self._writer.find(change_id)

    def promote(self, draft: RecordRef, *, change_id: str) -> RecordRef:
        """A live person in the CRM, made once. Raises as the CRM's writer does."""
        row = _row(self._engine, self._crm, draft)
        record = self._writer.find(change_id)
        if record is None:
            record = self._writer.create(json.loads(row.fields), change_id=change_id)
        self._close(row, "promoted", change_id, record)
        return record

    def discard(self, draft: RecordRef, *, change_id: str) -> None:
        self._close(_row(self._engine, self._crm, draft), "discarded", change_id, None)

    def _close(self, row: Row[Any], state: str, change_id: str, record: RecordRef | None) -> None:
        statement = (
            update(own_drafts)
            .where(own_drafts.c.change_id == row.change_id)
            .values(state=state, closed_by=change_id, record=str(record) if record else None)
        )
        with writing(self._engine) as db:
            db.execute(statement)


class ShelfReader:
    """A vendor's reader that also knows the drafts of our own space."""

    def __init__(self, reader: Reader, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._reader = reader
        self._engine = engine
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        return self._reader.capabilities

    @property
    def people(self) -> str:
        return self._reader.people

    @property
    def object_types(self) -> tuple[str, ...]:
        return self._reader.object_types

    @property
    def names(self) -> Mapping[str, str]:
        return self._reader.names

    @property
    def problem(self) -> str | None:
        return self._reader.problem

    def scopes(self) -> Sequence[str]:
        return self._reader.scopes()

    def sample(self, object_type: str, limit: int) -> Sequence[Reading]:
        return self._reader.sample(object_type, limit)

    def read(self, ref: RecordRef) -> Reading:
        if ref.type != DRAFTS:
            return self._reader.read(ref)
        row = _row(self._engine, self._reader.crm, ref)
        return self._reading(row)

    def candidates(self, text: str) -> Sequence[Candidate]:
        return self._reader.candidates(text)

    def duplicates(self, fields: Mapping[str, Scalar]) -> Sequence[Candidate]:
        """People of the CRM and open drafts that a new one might repeat."""
        with reading(self._engine) as db:
            rows = db.execute(
                select(own_drafts)
                .where(own_drafts.c.crm == self._reader.crm, own_drafts.c.state == "open")
                .order_by(own_drafts.c.created_at.desc())
                .limit(_LONGEST)
            ).all()
        drafts = [self._reading(row) for row in rows]
        found = likely_duplicates(fields, [(one, one.fields) for one in drafts])
        own = [Candidate(record=one.ref, title=one.title, why=why) for one, why in found]
        return [*self._reader.duplicates(fields), *own]

    def fields(self, object_type: str) -> Mapping[str, FieldMeta]:
        if object_type != DRAFTS:
            return self._reader.fields(object_type)
        return {name: _open_text(name) for name in COMMON_FIELDS}

    def doubt_fields(self, object_type: str) -> None:
        if object_type != DRAFTS:
            self._reader.doubt_fields(object_type)

    def field_changes(self, ref: RecordRef) -> Sequence[CrmChange]:
        return () if ref.type == DRAFTS else self._reader.field_changes(ref)

    def _reading(self, row: Row[Any]) -> Reading:
        fields: dict[str, Scalar] = json.loads(row.fields)
        names = (str(fields[name]) for name in ("first_name", "last_name") if fields.get(name))
        return Reading(
            ref=RecordRef(crm=row.crm, type=DRAFTS, id=row.change_id),
            title=" ".join(names) or str(fields.get("company") or "New contact"),
            fields=fields,
            version=None,
            read_at=self._clock(),
        )


def _row(engine: Engine, crm: str, draft: RecordRef) -> Row[Any]:
    """Raises `NotFound`."""
    with reading(engine) as db:
        row = db.execute(
            select(own_drafts).where(
                own_drafts.c.change_id == draft.id, own_drafts.c.crm == draft.crm
            )
        ).first()
    if row is None or draft.type != DRAFTS or draft.crm != crm:
        raise NotFound(f"there is no draft {draft}")
    return row


def _open_text(name: str) -> FieldMeta:
    return FieldMeta(
        name=name,
        label=name.replace("_", " ").capitalize(),
        type={"email": "email", "phone": "phone"}.get(name, "text"),
        max_length=None,
        allowed_values=None,
        read_only=False,
        field_class=None,
    )
