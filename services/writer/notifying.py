"""What the writer has to tell people: cards that wait or expired, and changes that went wrong.

A notice names the type of a record and its fields, never a value, a title or a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from services.writer import policy_store, store, switch
from services.writer.tables import change_fields, changes, proposal_fields, proposals
from shared.domain.schema import parse_instant, rfc3339
from shared.notifications.channels import Kind
from shared.notifications.due import News
from shared.notifications.notifier import Ear
from shared.office import add_working, working_between
from shared.people_file import Account

HORIZON = timedelta(days=14)
DECIDERS = frozenset({"approver", "admin"})
TITLES = {
    "failed": "A change was not written",
    "stale": "Nothing was written: the record had changed",
    "unknown": "Whether a change was written is unknown; it is read back",
}
People = Callable[[], Sequence[Account]]


def collect(db: Connection, ear: Ear, people: People, now: datetime) -> Iterator[News]:
    """Everything this channel might be told, whether it was or not."""
    if not _may_hear(ear, people):
        return
    since = rfc3339(max(ear.since, now - HORIZON))
    yield from _waiting(db, ear, since, now)
    yield from _expired(db, since)
    yield from _changes(db, since)


def _may_hear(ear: Ear, people: People) -> bool:
    """A channel of a person who left, or who decides nothing, is silent."""
    wanted = ear.channel.person
    if wanted is None:
        return True
    found = next((one for one in people() if one.id == wanted), None)
    return found is not None and not found.disabled and bool(DECIDERS & set(found.roles))


def _waiting(db: Connection, ear: Ear, since: str, now: datetime) -> Iterator[News]:
    """Cards that wait, and again when half of their working time is over."""
    table = proposals.c
    query = select(proposals).where(table.state == "pending", table.created_at >= since)
    query = query.where(or_(table.snoozed_until.is_(None), table.snoozed_until <= rfc3339(now)))
    if ear.channel.person is not None:
        query = query.where(or_(table.assignee.is_(None), table.assignee == ear.channel.person))
    rows = db.execute(query).all()
    fields = _fields(db, proposal_fields, "proposal_id", [row.id for row in rows])
    for row in rows:
        text, path = f"{_type(row.record)}: {fields[row.id]}", f"/cards/{row.id}"
        yield News(
            kind=Kind.CARD,
            subject=row.id,
            at=parse_instant(row.created_at),
            title="A card waits for a decision",
            text=text,
            path=path,
            is_passing=True,
        )
    yield from _half_time(db, rows, fields, now)


def _half_time(
    db: Connection, rows: Sequence[Row[Any]], fields: dict[str, str], now: datetime
) -> Iterator[News]:
    found = policy_store.current(db)
    if found is None or switch.is_stopped(db):
        return  # While writing is stopped every clock stands still.
    office, stops = found.policy.office, switch.stops(db)
    for row in rows:
        created, end = parse_instant(row.created_at), store.deadline(row, office, stops, now)
        half = add_working(office, created, working_between(office, created, end) // 2)
        if half <= now < end:
            yield News(
                kind=Kind.REMINDER,
                subject=row.id,
                at=half,
                title="Half of its time is over: a card still waits",
                text=f"{_type(row.record)}: {fields[row.id]}",
                path=f"/cards/{row.id}",
                is_passing=True,
            )


def _expired(db: Connection, since: str) -> Iterator[News]:
    query = select(proposals).where(proposals.c.state == "expired", proposals.c.decided_at >= since)
    rows = db.execute(query).all()
    fields = _fields(db, proposal_fields, "proposal_id", [row.id for row in rows])
    for row in rows:
        yield News(
            kind=Kind.EXPIRED,
            subject=row.id,
            at=parse_instant(row.decided_at),
            title="A card expired; nothing was written",
            text=f"{_type(row.record)}: {fields[row.id]}",
            path=f"/cards/{row.id}",
        )


def _changes(db: Connection, since: str) -> Iterator[News]:
    query = select(changes).where(changes.c.state.in_(TITLES), changes.c.updated_at >= since)
    rows = db.execute(query).all()
    fields = _fields(db, change_fields, "change_id", [row.id for row in rows])
    for row in rows:
        rule = f" (rule {row.rule})" if row.rule else ""
        yield News(
            kind=Kind.CHANGE,
            subject=f"{row.id}/{row.state}",
            at=parse_instant(row.updated_at),
            title=TITLES[row.state],
            text=f"{_type(row.record)}: {fields[row.id]}{rule}",
            path=f"/cards/{row.proposal_id}",
        )


def _fields(db: Connection, table: Any, key: str, ids: Sequence[str]) -> dict[str, str]:
    """The names of the fields of each id, in one line."""
    names: dict[str, list[str]] = {id_: [] for id_ in ids}
    for start in range(0, len(ids), 500):
        some = list(ids[start : start + 500])
        query = select(table.c[key], table.c.field).where(table.c[key].in_(some))
        for id_, field in db.execute(query.order_by(table.c.field)):
            names[id_].append(field)
    return {id_: ", ".join(found) for id_, found in names.items()}


def _type(record: str) -> str:
    """``demo/contacts`` of ``demo/contacts/1001``."""
    return "/".join(record.split("/")[:2])
