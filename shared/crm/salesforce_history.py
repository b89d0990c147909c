"""What happened to a record of Salesforce: activities, notes, deals, and field history.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_associated_objects_history.htm
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_task.htm
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contentnote.htm
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from shared.crm.metadata import CrmChange
from shared.crm.salesforce_connection import SOBJECTS, NotOffered, mark_in, ref_of
from shared.crm.salesforce_soql import Ask, Row, any_of, instant, moment, quoted, select
from shared.crm.transport import scalar
from shared.domain.record import HistoryItem, RecordRef
from shared.domain.schema import Scalar

NEWEST: Final = 200
# Where the changes of an object's fields are kept, and the field that names the record.
HISTORIES: Final = {
    "accounts": ("AccountHistory", "AccountId"),
    "cases": ("CaseHistory", "CaseId"),
    "contacts": ("ContactHistory", "ContactId"),
    "leads": ("LeadHistory", "LeadId"),
    "opportunities": ("OpportunityFieldHistory", "OpportunityId"),
}
_CREATED: Final = "created"
_KINDS: Final = {"Call": "call", "Email": "mail", "ListEmail": "mail"}
_WHO: Final = "CreatedDate, CreatedBy.Name"
_CHANGE: Final = "Field, OldValue, NewValue"
_LIMIT: Final = f"LIMIT {NEWEST}"
_NEWEST_FIRST: Final = f"ORDER BY CreatedDate DESC {_LIMIT}"


def told(ask: Ask, ref: RecordRef) -> list[HistoryItem]:
    """Everything that happened, in words, the newest first."""
    items = [
        *_tasks(ask, ref),
        *_events(ask, ref),
        *_notes(ask, ref),
        *_deals(ask, ref),
        *map(_in_words, changes_of(ask, ref)),
    ]
    return sorted(items, key=lambda item: item.at, reverse=True)


def changes_of(ask: Ask, ref: RecordRef) -> list[CrmChange]:
    """Changes of fields, the newest first; none where the organisation keeps no such history."""
    if ref.type not in HISTORIES:
        return []
    source, parent = HISTORIES[ref.type]
    fields, where = f"{_CHANGE}, {_WHO}", f"{parent} = {quoted(ref.id)}"
    order = f"ORDER BY CreatedDate DESC, Id DESC {_LIMIT}"
    rows = _offered(ask, select(fields, source, where, order))
    return [_change(row, ref) for row in rows]


def changes_by(ask: Ask, crm: str, user: str, since: datetime) -> list[CrmChange]:
    """What this user did at or after ``since``, the oldest first.

    A change that no history tells of is a line without a field.
    """
    by = f"CreatedById = {quoted(user)} AND CreatedDate >= {moment(since)}"
    found = [*_acts(ask, crm, by)]
    for type_ in HISTORIES:
        found += _field_acts(ask, crm, type_, by)
        found += _creations(ask, crm, type_, by)
    told_of = {change.ref for change in found if change.kind != "note"}
    for type_ in HISTORIES:
        found += _silent(ask, crm, type_, user, since, told_of)
    return sorted(found, key=lambda change: change.at)


def _acts(ask: Ask, crm: str, by: str) -> Iterator[CrmChange]:
    """Tasks and events; one of ours is a note and carries the change."""
    for type_ in ("tasks", "events"):
        fields = f"Id, WhoId, WhatId, Subject, {_WHO}"
        for row in _offered(ask, select(fields, SOBJECTS[type_], by)):
            change_id = mark_in(row["Subject"])
            record = about(row, crm) or RecordRef(crm=crm, type=type_, id=row["Id"])
            kind = "note" if change_id else _CREATED
            yield _line(row, record, kind, new=row["Subject"], change_id=change_id)


def _field_acts(ask: Ask, crm: str, type_: str, by: str) -> Iterator[CrmChange]:
    source, parent = HISTORIES[type_]
    for row in _offered(ask, select(f"{parent}, {_CHANGE}, {_WHO}", source, by)):
        if row["Field"] != _CREATED:
            yield _change(row, RecordRef(crm=crm, type=type_, id=row[parent]))


def _creations(ask: Ask, crm: str, type_: str, by: str) -> Iterator[CrmChange]:
    for row in _offered(ask, select(f"Id, Description, {_WHO}", SOBJECTS[type_], by)):
        ref = RecordRef(crm=crm, type=type_, id=row["Id"])
        yield _line(row, ref, _CREATED, change_id=mark_in(row["Description"]))


def _silent(
    ask: Ask, crm: str, type_: str, user: str, since: datetime, told_of: set[RecordRef]
) -> Iterator[CrmChange]:
    """Records that this user was the last to change, of which nothing else tells."""
    fields = "Id, LastModifiedDate, LastModifiedBy.Name"
    by_user = f"LastModifiedById = {quoted(user)} AND LastModifiedDate >= {moment(since)}"
    rows = _offered(ask, select(fields, SOBJECTS[type_], by_user))
    for row in rows:
        ref = RecordRef(crm=crm, type=type_, id=row["Id"])
        if ref not in told_of:
            # A line of history made of the record's own stamps.
            seen = {"CreatedDate": row["LastModifiedDate"], "CreatedBy": row["LastModifiedBy"]}
            yield _line(seen, ref, "field")


def _tasks(ask: Ask, ref: RecordRef) -> Iterator[HistoryItem]:
    for row in _activities(ask, ref, "Task", "TaskSubtype, Status, ActivityDate"):
        is_ours = mark_in(row["Subject"]) is not None
        kind = "note" if is_ours else _KINDS.get(row["TaskSubtype"], "task")
        due = f", due {row['ActivityDate']}" if row["ActivityDate"] else ""
        state = "" if is_ours else f" ({row['Status']}{due})"
        yield _item(row, kind, f"{row['Subject'] or kind}{state}", row["Description"])


def _events(ask: Ask, ref: RecordRef) -> Iterator[HistoryItem]:
    for row in _activities(ask, ref, "Event", "StartDateTime"):
        start = f" ({row['StartDateTime']})" if row["StartDateTime"] else ""
        yield _item(row, "meeting", f"{row['Subject'] or 'meeting'}{start}", row["Description"])


def _activities(ask: Ask, ref: RecordRef, sobject: str, more: str) -> list[Row]:
    where = f"WhoId = {quoted(ref.id)} OR WhatId = {quoted(ref.id)}"
    fields = f"Subject, Description, {more}, {_WHO}"
    return _offered(ask, select(fields, sobject, where, _NEWEST_FIRST))


def _notes(ask: Ask, ref: RecordRef) -> Iterator[HistoryItem]:
    where = f"LinkedEntityId = {quoted(ref.id)}"
    links = _offered(ask, select("ContentDocumentId", "ContentDocumentLink", where, _LIMIT))
    if not links:
        return
    is_linked = f"Id IN {any_of(row['ContentDocumentId'] for row in links)}"
    for row in _offered(ask, select(f"Title, TextPreview, {_WHO}", "ContentNote", is_linked)):
        yield _item(row, "note", row["Title"] or "note", row["TextPreview"])


def _deals(ask: Ask, ref: RecordRef) -> Iterator[HistoryItem]:
    """The opportunities of a contact or an account."""
    if ref.type == "contacts":
        theirs = select("OpportunityId", "OpportunityContactRole", f"ContactId = {quoted(ref.id)}")
        where = f"Id IN ({theirs})"
    elif ref.type == "accounts":
        where = f"AccountId = {quoted(ref.id)}"
    else:
        return
    fields = f"Name, StageName, CloseDate, {_WHO}"
    for row in _offered(ask, select(fields, "Opportunity", where, _NEWEST_FIRST)):
        yield _item(row, "deal", f"{row['Name']} ({row['StageName']}, {row['CloseDate']})", None)


def _offered(ask: Ask, soql: str) -> list[Row]:
    """No rows of what this organisation or this user does not have."""
    try:
        return ask(soql)
    except NotOffered:
        return []


def about(row: Row, crm: str) -> RecordRef | None:
    """The record that a task is about; of two the person."""
    ids = (id_ for id_ in (row["WhoId"], row["WhatId"]) if id_)
    return next((ref for id_ in ids if (ref := ref_of(id_, crm))), None)


def _change(row: Row, ref: RecordRef) -> CrmChange:
    if row["Field"] == _CREATED:
        return _line(row, ref, _CREATED)
    old, new = scalar(row["OldValue"]), scalar(row["NewValue"])
    return _line(row, ref, "field", field=row["Field"], old=old, new=new)


def _line(
    row: Row,
    ref: RecordRef,
    kind: str,
    *,
    field: str | None = None,
    old: Scalar = None,
    new: Scalar = None,
    change_id: str | None = None,
) -> CrmChange:
    at, by = instant(row["CreatedDate"]), _author(row)
    return CrmChange(
        ref=ref, kind=kind, field=field, old=old, new=new, at=at, by=by, change_id=change_id
    )


def _item(row: Row, kind: str, title: str, text: str | None) -> HistoryItem:
    words = f"{_author(row)}: {title}" + (f": {text}" if text else "")
    return HistoryItem(at=instant(row["CreatedDate"]), kind=kind, text=words)


def _author(row: Row) -> str:
    """Whoever it was may be hidden from the reading user."""
    return str(row["CreatedBy"]["Name"]) if row.get("CreatedBy") else "somebody"


def _in_words(change: CrmChange) -> HistoryItem:
    if change.field is None:
        return HistoryItem(at=change.at, kind=change.kind, text=f"{change.by}: {change.kind}")
    kind = "stage" if change.field == "StageName" else "change"
    words = f"{change.by}: {change.field} from {_shown(change.old)} to {_shown(change.new)}"
    return HistoryItem(at=change.at, kind=kind, text=words)


def _shown(value: Scalar) -> str:
    return "nothing" if value is None else str(value)
