"""What a person asks about one record: a summary, a reply draft, next steps. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from services.writer import store
from services.writer.deps import WebDeps
from services.writer.drafts import ref_of
from services.writer.schemas import Ask
from services.writer.tables import assists
from shared.access import Person
from shared.db import reading
from shared.domain import ids
from shared.domain.classification import Classification
from shared.domain.schema import parse_instant
from shared.domain.topics import Topic
from shared.errors import BadPayload, NotFound

LATEST = 20
AGAIN = "again"


@dataclass(frozen=True, kw_only=True)
class AskRow:
    """A question about one record. ``kind`` is summary, reply or next_steps."""

    id: str
    kind: str
    record: str
    note: str | None
    person: str
    asked_at: datetime


@dataclass(frozen=True, kw_only=True)
class AskView:
    """A question and, once it ``is_answered``, the texts; ``maker`` is the model or the rules."""

    row: AskRow
    is_answered: bool = False
    title: str | None = None
    url: str | None = None
    summary: str = ""
    reply_draft: str | None = None
    next_steps: tuple[str, ...] = ()
    maker: str | None = None


def ask(deps: WebDeps, person: Person, form: Ask) -> str:
    """Send the question to the classifier; returns the id under which the answer will stand.

    Raises `BadPayload` for a record that cannot be.
    """
    try:
        record = ref_of(form.record)
    except ValueError as error:
        raise BadPayload("name the record as crm/type/id") from error
    if record.crm not in deps.readers:
        raise BadPayload(f"there is no CRM called {record.crm}")
    id_ = ids.fresh()
    body = {
        "id": id_,
        "kind": form.kind,
        "record": record,
        "event_id": None,
        "proposal_id": None,
        "note": form.note,
        "round": 1,
    }
    with deps.unit_of_work.begin() as unit:
        store.note_assist(unit.db, body, person.id, unit.now)
        unit.publish(
            Topic.ASSIST_REQUESTED,
            body,
            subject=str(record),
            chain=id_,
            actor=f"person:{person.id}",
            key=id_,
        )
    return id_


def latest(deps: WebDeps, person: Person) -> tuple[AskRow, ...]:
    """The last questions of this person, newest first."""
    query = (
        select(assists)
        .where(assists.c.person == person.id, assists.c.kind != AGAIN)
        .order_by(assists.c.asked_at.desc())
        .limit(LATEST)
    )
    with reading(deps.engine) as db:
        return tuple(_row(row) for row in db.execute(query))


def answer_to(deps: WebDeps, id_: str) -> AskView:
    """A question with its answer, where it has come. Raises `NotFound`."""
    query = select(assists).where(assists.c.id == id_, assists.c.kind != AGAIN)
    with reading(deps.engine) as db:
        row = db.execute(query).first()
        answer = store.classification_of(db, id_)
    if row is None:
        raise NotFound("Nobody asked this.")
    return AskView(row=_row(row), **_texts(answer))


def _row(row: Row[Any]) -> AskRow:
    return AskRow(
        id=row.id,
        kind=row.kind,
        record=row.record,
        note=row.note,
        person=row.person,
        asked_at=parse_instant(row.asked_at),
    )


def _texts(answer: Classification | None) -> dict[str, Any]:
    if answer is None:
        return {}
    reading_ = answer.reading
    return {
        "is_answered": True,
        "title": reading_.title if reading_ else None,
        "url": reading_.url if reading_ else None,
        "summary": answer.summary,
        "reply_draft": answer.reply_draft,
        "next_steps": answer.next_steps,
        "maker": answer.maker.name if answer.maker.kind == "model" else "the rules",
    }
