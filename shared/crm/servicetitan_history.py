"""What happened to a ServiceTitan record, in words: notes, leads, jobs and the events of a job."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.crm.servicetitan_account import CRM_PATH, JOBS_PATH, RECORDS
from shared.domain.record import HistoryItem, RecordRef

Get = Callable[..., Mapping[str, Any]]
Rows = Callable[..., Iterable[Mapping[str, Any]]]
WITH_NOTES = ("customers", "leads", "jobs")


def happenings(ref: RecordRef, get: Get, rows: Rows) -> Iterator[HistoryItem]:
    """Everything that the CRM tells of the record, in no order."""
    if ref.type in WITH_NOTES:
        yield from (_note(row) for row in rows(RECORDS[ref.type] + "/notes", {}, id=ref.id))
    if ref.type == "customers":
        yield from (_lead(row) for row in rows(CRM_PATH + "/leads", {"customerId": ref.id}))
        yield from (_job(row) for row in rows(JOBS_PATH + "/jobs", {"customerId": ref.id}))
    if ref.type == "jobs":
        told = get(RECORDS["jobs"] + "/history", id=ref.id)
        yield from (_event(row) for row in told.get("history") or ())


def _note(row: Mapping[str, Any]) -> HistoryItem:
    text = f"employee {row['createdById']}: {html.unescape(str(row['text']))}"
    return HistoryItem(at=instant(row["createdOn"]), kind="note", text=text)


def _lead(row: Mapping[str, Any]) -> HistoryItem:
    text = f"lead {row['id']}, {row['status']}, {row['priority']}: {row.get('summary') or ''}"
    return HistoryItem(at=instant(row["createdOn"]), kind="lead", text=text.rstrip(": "))


def _job(row: Mapping[str, Any]) -> HistoryItem:
    text = f"job {row['jobNumber']}, {row['jobStatus']}: {row.get('summary') or ''}"
    return HistoryItem(at=instant(row["createdOn"]), kind="job", text=text.rstrip(": "))


def _event(row: Mapping[str, Any]) -> HistoryItem:
    who = f"employee {row['employeeId']}: " if row.get("employeeId") is not None else ""
    memo = f" ({row['memo']})" if row.get("memo") else ""
    return HistoryItem(
        at=instant(row["date"]), kind="change", text=f"{who}{row['eventType']}{memo}"
    )


def instant(text: str) -> datetime:
    """An aware time; without a zone it is UTC, as the vendor says. Raises `ValueError`."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
