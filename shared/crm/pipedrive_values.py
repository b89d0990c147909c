"""Pipedrive's values as they travel here, and ours as its bodies want them.

E-mails and phones are lists there and one text here: the primary one. Money and addresses are
objects there and their ``value`` here, choices of several their numbers, as ingest tells them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from shared.crm.transport import scalar
from shared.domain.schema import Scalar
from shared.errors import Rejected

# How a field of an update body is written; the second value: whether ``null`` empties it.
TEXT: Final = ("text", False)
MUST: Final = ("required text", False)
DATE: Final = ("date", False)
NUMBER: Final = ("number", False)
PLACE: Final = ("place", False)
FLAG: Final = ("flag", False)
ENTRIES: Final = ("entries", False)
STATUS: Final = ("status", False)
TEXT_OR_NULL: Final = ("text", True)
DATE_OR_NULL: Final = ("date", True)
NUMBER_OR_NULL: Final = ("number", True)
# A deal's status could also be "deleted".
STATUSES: Final = ("open", "won", "lost")
How = tuple[str, bool]

# What an update may hold, of all that the bodies of the API take: no owner, no rights, no money, no
# consent, no deletion, no archive, no time that Pipedrive keeps itself.
OPEN: Final[Mapping[str, Mapping[str, How]]] = {
    "persons": {
        "name": MUST,
        "emails": ENTRIES,
        "phones": ENTRIES,
        "job_title": TEXT,
        "birthday": TEXT,
        "notes": TEXT,
        "postal_address": PLACE,
        "org_id": NUMBER,
    },
    "deals": {
        "title": MUST,
        "stage_id": NUMBER,
        "pipeline_id": NUMBER,
        "status": STATUS,
        "probability": NUMBER_OR_NULL,
        "lost_reason": TEXT_OR_NULL,
        "expected_close_date": DATE,
        "person_id": NUMBER,
        "org_id": NUMBER,
    },
    "organizations": {
        "name": MUST,
        "address": PLACE,
        "website": TEXT_OR_NULL,
        "linkedin": TEXT_OR_NULL,
        "industry": NUMBER_OR_NULL,
        "employee_count": NUMBER_OR_NULL,
    },
    "activities": {
        "subject": MUST,
        "type": MUST,
        "due_date": TEXT,
        "due_time": TEXT,
        "duration": TEXT,
        "public_description": TEXT,
        "note": TEXT,
        "priority": NUMBER,
        "done": FLAG,
        "location": PLACE,
    },
    "leads": {
        "title": MUST,
        "expected_close_date": DATE_OR_NULL,
        "person_id": NUMBER_OR_NULL,
        "organization_id": NUMBER_OR_NULL,
    },
}


def values_of(data: Mapping[str, Any]) -> dict[str, Scalar]:
    """The fields of a record; own ones lie in ``custom_fields`` there and beside the others here.

    Raises `KeyError` and the like for what is no record.
    """
    own = data.get("custom_fields")
    found = {**data, **(own if isinstance(own, dict) else {})}
    for name in ("id", "custom_fields"):
        found.pop(name, None)
    return {name: value_of(value) for name, value in found.items() if _is_value(value)}


def _is_value(value: Any) -> bool:
    if isinstance(value, dict):
        return "value" in value or "amount" in value
    if isinstance(value, list):
        return all(not isinstance(item, list | dict) or _is_value(item) for item in value)
    return True


def value_of(value: Any) -> Scalar:
    """Of e-mails and phones the primary one, of money the amount, of choices all.

    A text field is emptied by an empty text, so that one is no value here.
    """
    if value in ("", []):
        return None
    if isinstance(value, dict):
        return value_of(value["value"] if "value" in value else value["amount"])
    if not isinstance(value, list):
        return scalar(value)
    if value and isinstance(value[0], dict):
        return scalar(value[primary_of(value)]["value"])
    return ", ".join(str(item) for item in value)


def primary_of(entries: Sequence[Mapping[str, Any]]) -> int:
    """The place of the primary entry; the first where none is marked."""
    marked = (place for place, entry in enumerate(entries) if entry.get("primary") is True)
    return next(marked, 0)


def with_primary(entries: Sequence[Mapping[str, Any]], value: Scalar) -> list[dict[str, Any]]:
    """The whole list, as an update wants it, with another primary value and the rest as it was.

    Raises `Rejected` where emptying it would make another entry the primary one.
    """
    kept = [
        {key: one[key] for key in ("value", "primary", "label") if one.get(key) is not None}
        for one in entries
    ]
    if value is None or value == "":
        if len(kept) > 1:
            raise Rejected("there are other entries: choose the primary one in Pipedrive")
        return []
    if not isinstance(value, str):
        raise Rejected("an e-mail address or phone number is a text")
    if not kept:
        return [{"value": value, "primary": True, "label": "work"}]
    kept[primary_of(kept)]["value"] = value
    return kept


def to_body(name: str, value: Scalar, how: How) -> Any:
    """A value as the body of an update wants it. Raises `Rejected` for one that does not fit."""
    kind, is_nullable = how
    if value is None:
        return _emptied(name, kind, is_nullable=is_nullable)
    if kind == "flag":
        return _required(value, isinstance(value, bool), name, "true or false")
    if kind == "number":
        return _number(name, value)
    if kind == "choices":
        return [_number(name, part.strip()) for part in str(value).split(",")]
    text = str(_required(value, isinstance(value, str), name, "a text"))
    if kind == "status":
        _required(value, text in STATUSES, name, " or ".join(STATUSES))
    if kind == "required text":
        _required(value, bool(text.strip()), name, "a text that is not empty")
    if kind == "date":
        _required(value, _is_date(text), name, "a date, YYYY-MM-DD")
    return {"value": text} if kind == "place" else text


def _emptied(name: str, kind: str, *, is_nullable: bool) -> Any:
    if is_nullable:
        return None
    if kind == "text":
        return ""
    if kind == "place":
        return {"value": ""}
    raise Rejected(f"Pipedrive does not let {name} be emptied")


def _required(value: Scalar, fits: bool, name: str, what: str) -> Scalar:
    if not fits:
        raise Rejected(f"{name} is {what}")
    return value


def _number(name: str, value: Scalar) -> int | float:
    try:
        text = str(_required(value, not isinstance(value, bool), name, "a number"))
        number = int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise Rejected(f"{name} is a number") from error
    if not math.isfinite(number):
        raise Rejected(f"{name} is a number")
    return number


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return len(text) == 10


def instant_of(text: str) -> datetime:
    """Aware UTC. v2 writes RFC 3339, v1 ``2026-11-23 09:00:00`` in UTC. Raises `ValueError`."""
    value = datetime.fromisoformat(text)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
