"""Rows of changes: their states, the lock of a record, receipts, and how many were written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from services.writer.case import Trial, Written
from services.writer.rules import FINAL
from services.writer.store import to_json
from services.writer.tables import change_fields, changes, record_locks
from shared.db import insert_new, upsert
from shared.domain.change import Change, ChangeSchema
from shared.domain.receipt import Receipt, ReceiptSchema
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, dump, load, rfc3339
from shared.errors import NotFound

# Every (state, next state) that may happen; anything else is refused by `move`.
MOVES: frozenset[tuple[str, str]] = frozenset(
    {
        ("intended", "sent"),
        ("intended", "failed"),
        ("intended", "stale"),
        ("sent", "intended"),
        ("sent", "applied"),
        ("sent", "failed"),
        ("sent", "stale"),
        ("sent", "unknown"),
        ("unknown", "intended"),
        ("unknown", "applied"),
        ("unknown", "failed"),
        ("unknown", "stale"),
    }
)
OPEN = ("intended", "sent", "unknown")


@dataclass(frozen=True, kw_only=True)
class Lock:
    """One writer per record: a later lock of the same record has a greater ``fence``."""

    record: str
    fence: int
    until: datetime


def insert_change(
    db: Connection, change: Change, card_digest: str, at: datetime, *, state: str = "intended"
) -> bool:
    """Store the intent. False: this change is here already (a repeat)."""
    row = {
        "id": change.id,
        "proposal_id": change.proposal_id,
        "event_id": change.event_id,
        "record": str(change.record),
        "state": state,
        "card_digest": card_digest,
        "policy": change.policy,
        "digest": change.digest(),
        "body": to_json(dump(ChangeSchema, change)),
        "attempts": 0,
        "tried_in": change.account if change.is_trial else None,
        "intended_at": rfc3339(at),
        "updated_at": rfc3339(at),
    }
    if not insert_new(db, changes, [row]):
        return False
    fields = [
        {
            "change_id": change.id,
            "field": field.name,
            "record": str(change.record),
            "object": object_of(change.account, change.object),
            "before": to_json(field.before),
            "after": to_json(field.after),
        }
        for field in change.fields
    ]
    insert_new(db, change_fields, fields)
    return True


def object_of(account: str, type_: str) -> str:
    """What the caps of a field are counted for: a trial uses nothing up of the live account."""
    return f"{account}/{type_}"


def row_of(db: Connection, change_id: str) -> Row[Any]:
    """The stored row. Raises `NotFound`."""
    row = db.execute(select(changes).where(changes.c.id == change_id)).first()
    if row is None:
        raise NotFound("there is no such change")
    return row


def changes_of(db: Connection, proposal_id: str) -> Sequence[Row[Any]]:
    """All changes that were ever made for a proposal."""
    query = select(changes).where(changes.c.proposal_id == proposal_id)
    return db.execute(query.order_by(changes.c.intended_at)).all()


def move(db: Connection, change_id: str, old: str, new: str, at: datetime, **values: Any) -> bool:
    """Compare-and-set of the state. False: somebody else moved it before."""
    assert (old, new) in MOVES, f"a change never moves from {old} to {new}"
    values |= {"state": new, "updated_at": rfc3339(at)}
    if new in FINAL:
        values["finished_at"] = rfc3339(at)
        # Once the change has ended, the salt that opens the log's commitment is not needed.
        values["receipt"] = None
    statement = (
        update(changes).where(changes.c.id == change_id, changes.c.state == old).values(**values)
    )
    return db.execute(statement).rowcount == 1


def note_sent(db: Connection, change_id: str, at: datetime) -> None:
    _stamp(db, change_id, sent_at=rfc3339(at))


def note_applied(db: Connection, change_id: str, at: datetime) -> None:
    _stamp(db, change_id, applied_at=rfc3339(at))


def _stamp(db: Connection, change_id: str, **values: Any) -> None:
    statement = update(change_fields).where(change_fields.c.change_id == change_id)
    db.execute(statement.values(**values))


def hold(db: Connection, change_id: str, why: str, at: datetime) -> None:
    """Note why an intended change waits."""
    db.execute(
        update(changes)
        .where(changes.c.id == change_id, changes.c.state == "intended")
        .values(held=why, updated_at=rfc3339(at))
    )


def wait_for_word(db: Connection, change_id: str, why: str, at: datetime) -> None:
    """Note that a change which was sent is done by a person, who says how it ended."""
    db.execute(
        update(changes)
        .where(changes.c.id == change_id, changes.c.state == "sent")
        .values(held=why, updated_at=rfc3339(at))
    )


def waits_for_word(row: Row[Any]) -> bool:
    """Whether a person has to say how this change ended."""
    return row.state == "sent" and row.held is not None


def keep_receipt(db: Connection, receipt: Receipt, root: str) -> None:
    """The receipt of an open change; place and root stay when the salt goes."""
    db.execute(
        update(changes)
        .where(changes.c.id == receipt.change_id, changes.c.state.in_(OPEN))
        .values(
            receipt=to_json(dump(ReceiptSchema, receipt)),
            receipt_seq=receipt.entry.seq,
            receipt_root=root,
        )
    )


def receipt_of(row: Row[Any]) -> Receipt | None:
    if row.receipt is None:
        return None
    receipt: Receipt = load(ReceiptSchema, json.loads(row.receipt))
    return receipt


def waiting(db: Connection) -> list[str]:
    """Intended changes whose receipt is here: held ones, and those a crash left behind."""
    query = select(changes.c.id).where(changes.c.state == "intended", changes.c.receipt.isnot(None))
    return list(db.scalars(query.order_by(changes.c.intended_at)))


def unreceipted(db: Connection) -> list[str]:
    """Intended changes for which the log has not answered yet."""
    query = select(changes.c.id).where(changes.c.state == "intended", changes.c.receipt.is_(None))
    return list(db.scalars(query.order_by(changes.c.intended_at)))


def unfinished(db: Connection, before: datetime) -> list[str]:
    """Changes sent or of unknown outcome, untouched since ``before``; none that a person does."""
    query = select(changes.c.id).where(
        changes.c.state.in_(("sent", "unknown")),
        changes.c.updated_at < rfc3339(before),
        changes.c.held.is_(None),
    )
    return list(db.scalars(query.order_by(changes.c.updated_at)))


def written(db: Connection, object_: str, field: str, now: datetime, *, but: str) -> Written:
    """How many changes of the field other than ``but`` were sent in the last hour and day."""

    def count(since: datetime) -> int:
        query = (
            select(func.count())
            .select_from(change_fields.join(changes, changes.c.id == change_fields.c.change_id))
            .where(
                change_fields.c.object == object_,
                change_fields.c.field == field,
                change_fields.c.sent_at > rfc3339(since),
                change_fields.c.change_id != but,
                or_(changes.c.state.in_(("sent", "unknown")), changes.c.state == "applied"),
            )
        )
        return db.scalar(query) or 0

    return Written(hour=count(now - timedelta(hours=1)), day=count(now - timedelta(days=1)))


def last_written(db: Connection, record: str, since: datetime) -> dict[str, list[Row[Any]]]:
    """Our writes of a record since a time, by field, newest first; the newest may be under way.

    A trial wrote nothing to the record itself, and a note is no field of it.
    """
    crm, type_, _ = record.split("/", 2)
    query = (
        select(change_fields)
        .join(changes, changes.c.id == change_fields.c.change_id)
        .where(
            change_fields.c.record == record,
            change_fields.c.object == object_of(crm, type_),
            change_fields.c.sent_at > rfc3339(since),
            changes.c.state.in_(("sent", "unknown", "applied")),
            changes.c.tried_in.is_(None),
        )
        .order_by(change_fields.c.sent_at.desc())
    )
    found: dict[str, list[Row[Any]]] = {}
    for row in db.execute(query):
        found.setdefault(row.field, []).append(row)
    return found


def replaced_by(db: Connection, change_id: str) -> dict[str, Scalar]:
    """What stood in each field before this change was written."""
    query = select(change_fields).where(
        change_fields.c.change_id == change_id, change_fields.c.applied_at.isnot(None)
    )
    return {row.field: json.loads(row.before) for row in db.execute(query)}


def trial_of(db: Connection, change_id: str | None) -> Trial | None:
    """What was tried by this change; ``None`` where it is no trial, or has not ended as one."""
    row = db.execute(select(changes).where(changes.c.id == change_id)).first()
    if row is None or row.tried_in is None or row.state != "applied":
        return None
    body = body_of(row)
    return Trial(
        account=row.tried_in,
        record=RecordRef(**body["record"]),
        matches=json.loads(row.result)["matches"] is True,
        values={field["name"]: field["after"] for field in body["fields"]},
    )


def values_of(row: Row[Any]) -> tuple[Scalar, Scalar]:
    """Before and after of a row of ``change_fields``."""
    return json.loads(row.before), json.loads(row.after)


def take_lock(db: Connection, record: str, now: datetime, length: timedelta) -> Lock | None:
    """The lock of a record for this long; ``None`` while another writer has it."""
    row = db.execute(select(record_locks).where(record_locks.c.record == record)).first()
    if row is not None and row.until > rfc3339(now):
        return None
    fence = 1 if row is None else row.fence + 1
    values = {"record": record, "fence": fence, "until": rfc3339(now + length)}
    upsert(db, record_locks, values, key=["record"])
    return Lock(record=record, fence=fence, until=now + length)


def holds(db: Connection, lock: Lock, now: datetime) -> bool:
    """Whether the lock is still ours: nobody took a later one, and its time is not over."""
    query = select(record_locks.c.fence).where(record_locks.c.record == lock.record)
    return db.scalar(query) == lock.fence and now < lock.until


def free_lock(db: Connection, lock: Lock, now: datetime) -> None:
    """Let the next writer in at once; the fence stays, so that it only grows."""
    db.execute(
        update(record_locks)
        .where(record_locks.c.record == lock.record, record_locks.c.fence == lock.fence)
        .values(until=rfc3339(now))
    )


def set_undone(db: Connection, change_id: str, by: str) -> bool:
    """Note the change that put the old value back. False: another did before."""
    statement = (
        update(changes)
        .where(changes.c.id == change_id, changes.c.undone_by.is_(None))
        .values(undone_by=by)
    )
    return db.execute(statement).rowcount == 1


def body_of(row: Row[Any]) -> Mapping[str, Any]:
    """What was to be written, as plain data: never loaded back into a `Change`."""
    data: dict[str, Any] = json.loads(row.body)
    return data
