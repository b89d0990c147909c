"""Our own writes that come back as webhooks, and people's later corrections of them."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Row

from services.writer import change_store, store
from services.writer.told_value import is_told
from shared.domain.classification import Classification
from shared.domain.event import Event
from shared.domain.schema import Scalar, parse_instant
from shared.outbox import Unit

REMEMBERED = timedelta(days=30)
# How far a CRM's clock may lie behind ours; some tell the second only.
CLOCKS = timedelta(seconds=5)


def note(unit: Unit, answer: Classification) -> frozenset[str]:
    """The fields whose change, told by this event, is our own write; corrections are linked.

    A person's value that differs from the one we wrote last is a correction of ours, unless the
    event is older than that write: it came late, and says nothing about it.
    """
    event = answer.event
    if event.record is None or not event.changes:
        return frozenset()
    written = change_store.last_written(unit.db, str(event.record), unit.now - REMEMBERED)
    own: set[str] = set()
    for field, value in event.changes.items():
        rows = written.get(field, [])
        if _is_ours(rows, event, value):
            own.add(field)
        elif rows and rows[0].applied_at is not None and not _is_before(event, rows[0]):
            _note_correction(unit, rows[0], event, value)
    return frozenset(own)


def _is_ours(rows: list[Row[Any]], event: Event, value: Scalar) -> bool:
    """The event names our change, or our integration, or tells the value that was ours then."""
    named = event.facts.get("change_id")
    if named:
        return any(row.change_id == named for row in rows)
    if not rows:
        return False
    if event.is_own_write or is_told(json.loads(rows[0].after), value):
        return True
    return any(
        is_told(json.loads(row.after), value) and _is_before(event, newer)
        for newer, row in pairwise(rows)
    )


def _is_before(event: Event, row: Row[Any]) -> bool:
    """Whether it happened before this write was sent."""
    at = event.occurred_at
    return at is not None and at < parse_instant(row.sent_at) - CLOCKS


def _note_correction(unit: Unit, row: Row[Any], event: Event, value: Scalar) -> None:
    if is_told(json.loads(row.after), value):
        return
    store.note_correction(
        unit.db,
        change_id=row.change_id,
        field=row.field,
        event_id=event.id,
        value=value,
        changed_by=event.facts.get("changed_by"),
        at=unit.now,
    )
