"""How something ended that a person or a flow did in a CRM without an API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from services.writer import change_store, hand_offs, store
from services.writer.deps import WebDeps
from services.writer.outcomes import tell_failed
from services.writer.schemas import Settle
from services.writer.tables import changes, drafts, own_drafts
from shared.access import Person
from shared.domain.classification import Classification
from shared.domain.record import RecordRef
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import Topic
from shared.errors import Conflict
from shared.outbox import Unit

# The source whose signed call-backs settle what a flow was handed.
CALL_BACK = "hand-off"
# Longer than handing one over can take: a mail's time-out holds for each of about ten steps.
IN_HAND = timedelta(minutes=10)
NOT_DONE = "not-done"


@dataclass(frozen=True, kw_only=True)
class Word:
    """What is said of a change: ``outcome`` is done or failed, ``by`` who said so."""

    outcome: str
    note: str | None
    by: str
    actor: str | None = None


def settle(deps: WebDeps, person: Person, change_id: str, form: Settle) -> None:
    """A person says how it went. Raises `Conflict` where nothing waits for a word, `NotFound`."""
    word = Word(outcome=form.outcome, note=form.note, by=person.id, actor=f"person:{person.id}")
    with deps.unit_of_work.begin() as unit:
        row = change_store.row_of(unit.db, change_id)
        if change_store.waits_for_word(row):
            _end_change(unit, row, word)
            return
        handed = hand_offs.row_of(unit.db, hand_offs.act_of(change_id))
        if handed is None:
            raise Conflict("Nothing of this change waits for a word.")
        _require_out_of_hand(handed, unit.now)
        if not _end_hand_off(unit, handed, row, word):
            raise Conflict(f"Already said by {handed.settled_by}: {handed.state}.")


def hear(unit: Unit, answer: Classification) -> None:
    """The flow's signed call-back, once; what was not handed to a flow of that CRM is not its."""
    event = answer.event
    if event.source != CALL_BACK or event.record is None:
        return
    handed = hand_offs.row_of(unit.db, event.record.id)
    if handed is None or handed.way != "hook" or handed.crm != event.record.crm:
        return
    change = _change_of(unit.db, handed)
    outcome = event.type.rpartition(".")[2]
    if change is not None and outcome in {"done", "failed"}:
        word = Word(outcome=outcome, note=event.parts.get("note"), by=f"source:{event.source}")
        _end_hand_off(unit, handed, change, word)


def _require_out_of_hand(handed: Row[Any], now: datetime) -> None:
    if handed.state == "begun" and now - parse_instant(handed.begun_at) < IN_HAND:
        raise Conflict("It is being handed over this moment: look again in two minutes.")


def _end_change(unit: Unit, row: Row[Any], word: Word) -> None:
    """A change of an existing record, done by hand: nothing was read back."""
    data = change_store.body_of(row)
    record = RecordRef(**data["record"])
    if word.outcome == "failed":
        detail = word.note or "It was not done by hand."
        values: dict[str, Any] = {"rule": NOT_DONE, "detail": detail}
        if change_store.move(unit.db, row.id, "sent", "failed", unit.now, held=None, **values):
            tell_failed(unit, row.id, row.proposal_id, record, NOT_DONE, detail, actor=word.actor)
        return
    fields = [{**field, "read_back": None} for field in data["fields"]]
    result = {"fields": fields, "matches": None, "by": word.by, "at": rfc3339(unit.now)}
    values = {"result": store.to_json(result), "held": None}
    if not change_store.move(unit.db, row.id, "sent", "applied", unit.now, **values):
        return
    change_store.note_applied(unit.db, row.id, unit.now)
    body = {
        "change_id": row.id,
        "proposal_id": row.proposal_id,
        "record": record,
        "fields": fields,
        "sent_at": parse_instant(row.sent_at),
        "read_at": None,
        "version": None,
        "matches": None,
        "attempts": row.attempts,
    }
    subject = f"change/{row.id}"
    unit.publish(Topic.CHANGE_APPLIED, body, subject=subject, chain=row.event_id, actor=word.actor)
    undoes = store.row_of(unit.db, row.proposal_id).undoes
    if undoes is not None:
        change_store.set_undone(unit.db, undoes, row.id)


def _end_hand_off(unit: Unit, handed: Row[Any], change: Row[Any], word: Word) -> bool:
    """False: it has been said before. What failed is a draft again, for another try."""
    old = hand_offs.OPEN
    if not hand_offs.move(unit.db, handed.id, old, word.outcome, unit.now, word.by):
        return False
    if word.outcome == "failed":
        _reopen(unit.db, change.id)
    else:
        unit.ring("drafts")
    unit.publish(
        Topic.CHANGE_VERIFIED,
        {"change_id": change.id, "verdict": word.outcome, "note": word.note},
        subject=f"change/{change.id}",
        chain=change.event_id,
        actor=word.actor,
        key=f"{word.outcome}/{rfc3339(unit.now)}",
    )
    return True


def _reopen(db: Connection, change_id: str) -> None:
    db.execute(
        update(drafts)
        .where(drafts.c.change_id == change_id, drafts.c.state.in_(("promoting", "promoted")))
        .values(state="open", record=None, decided_by=None, decided_at=None, tried_at=None)
    )
    db.execute(
        update(own_drafts)
        .where(own_drafts.c.change_id == change_id, own_drafts.c.state != "discarded")
        .values(state="open", closed_by=None, record=None)
    )


def _change_of(db: Connection, handed: Row[Any]) -> Row[Any] | None:
    """The change whose draft was handed over under this id."""
    record = f"{handed.crm}/leads/{handed.id}"
    query = select(drafts.c.change_id).where(
        (drafts.c.record == record) | (drafts.c.state == "promoting")
    )
    for change_id in db.scalars(query):
        if hand_offs.act_of(change_id) == handed.id:
            return db.execute(select(changes).where(changes.c.id == change_id)).first()
    return None
