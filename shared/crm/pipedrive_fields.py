"""Pipedrive's fields, each with its type and class, from the CRM's own metadata.

v2 lists the fields of persons, deals and organizations; whether they may be edited stands only in
v1 (``edit_flag``; ``bulk_edit_allowed`` for the fields of the system, whose definition nobody
edits). The fields of leads are those below and the own ones of deals; those of activities would
need an administrator's scope and stand here.

https://developers.pipedrive.com/docs/api/v1/PersonFields
https://developers.pipedrive.com/docs/api/v1/DealFields
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.crm.kept import Kept
from shared.crm.metadata import FieldMeta
from shared.crm.pipedrive_values import (
    DATE_OR_NULL,
    FLAG,
    NUMBER_OR_NULL,
    OPEN,
    STATUSES,
    TEXT_OR_NULL,
    How,
)
from shared.errors import CRMUnavailable, NotFound

# The body of a GET of this path with these parameters, which is a JSON object.
Get = Callable[[str, Mapping[str, str]], Mapping[str, Any]]

PAGE: Final = "500"
LISTS: Final = {
    "persons": ("/api/v2/personFields", "/v1/personFields"),
    "deals": ("/api/v2/dealFields", "/v1/dealFields"),
    "organizations": ("/api/v2/organizationFields", "/v1/organizationFields"),
}
# The names of v1, and of the lists of fields, for what the records of v2 call otherwise.
_RENAMED: Final = {
    "email": "emails",
    "phone": "phones",
    "label": "label_ids",
    "owner": "owner_id",
    "user_id": "owner_id",
}
_CLASSES: Final = {
    "value": "money",
    "currency": "money",
    "arr": "money",
    "mrr": "money",
    "acv": "money",
    "annual_revenue": "money",
    "owner_id": "owner",
    "creator_id": "owner",
    "creator_user_id": "owner",
    "user_id": "owner",
    "visible_to": "owner",
    "marketing_status": "consent",
    "doi_status": "consent",
    "stage_id": "stage",
    "pipeline_id": "stage",
    "status": "stage",
}
_CLASS_OF_TYPE: Final = {
    "monetary": "money",
    "price_list": "money",
    "billing_frequency": "money",
    "user": "owner",
    "visible_to": "owner",
    "stage": "stage",
    "status": "stage",
    "pipeline": "stage",
}
_TYPES: Final = {
    "monetary": "money",
    "phone": "phone",
    "date": "date",
    "boolean": "boolean",
    "enum": "enum",
    "status": "enum",
    "visible_to": "enum",
    "stage": "reference",
    "pipeline": "reference",
    "user": "reference",
    "org": "reference",
    "people": "reference",
    "deal": "reference",
    "deals": "reference",
    "lead": "reference",
    "activity": "reference",
    "project": "reference",
}
_COMPUTED: Final = frozenset(
    {"varchar_auto", "json", "picture", "projects_board", "projects_phase", "activity", "deals"}
)
# How a field of one's own is written, by its type; what is missing here is not written at all.
_OWN: Final[Mapping[str, How]] = {
    "varchar": TEXT_OR_NULL,
    "varchar_options": TEXT_OR_NULL,
    "text": TEXT_OR_NULL,
    "phone": TEXT_OR_NULL,
    "date": DATE_OR_NULL,
    "double": NUMBER_OR_NULL,
    "int": NUMBER_OR_NULL,
    "enum": NUMBER_OR_NULL,
    "set": ("choices", True),
    "org": NUMBER_OR_NULL,
    "people": NUMBER_OR_NULL,
    "address": ("place", True),
    "boolean": (FLAG[0], True),
}
_OWN_KEY: Final = re.compile(r"[0-9a-f]{40}")
_FIXED: Final = {
    "leads": (
        ("title", "Title", "varchar"),
        ("owner_id", "Owner", "user"),
        ("creator_id", "Creator", "user"),
        ("label_ids", "Labels", "set"),
        ("person_id", "Contact person", "people"),
        ("organization_id", "Organization", "org"),
        ("value", "Value", "monetary"),
        ("expected_close_date", "Expected close date", "date"),
        ("visible_to", "Visible to", "visible_to"),
        ("is_archived", "Archived", "boolean"),
        ("was_seen", "Seen", "boolean"),
        ("source_name", "Source", "varchar_auto"),
        ("origin", "Source origin", "varchar_auto"),
        ("origin_id", "Source origin ID", "varchar_auto"),
        ("add_time", "Lead created", "date"),
        ("update_time", "Update time", "date"),
    ),
    "activities": (
        ("subject", "Subject", "varchar"),
        ("type", "Type", "varchar"),
        ("owner_id", "Assigned to user", "user"),
        ("creator_user_id", "Creator", "user"),
        ("due_date", "Due date", "varchar"),
        ("due_time", "Due time", "varchar"),
        ("duration", "Duration", "varchar"),
        ("done", "Done", "boolean"),
        ("note", "Note", "text"),
        ("public_description", "Public description", "text"),
        ("priority", "Priority", "int"),
        ("location", "Location", "address"),
        ("person_id", "Contact person", "people"),
        ("org_id", "Organization", "org"),
        ("deal_id", "Deal", "deal"),
        ("lead_id", "Lead", "lead"),
        ("add_time", "Add time", "date"),
        ("update_time", "Update time", "date"),
    ),
    "notes": (("content", "Content", "text"), ("user_id", "User", "user")),
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """``how``: its way into the body of an update, ``None`` where there is none."""

    meta: FieldMeta
    how: How | None
    is_own: bool


class Catalogue:
    """The fields of the object types by name, kept for some minutes."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._kept: Kept[dict[str, Field]] = Kept(self._asked)

    def of(self, object_type: str) -> dict[str, Field]:
        """Raises `NotFound` for an object type that Pipedrive does not have."""
        return self._kept.get(object_type)

    def doubt(self, object_type: str) -> None:
        """Something hints that the fields changed; leads share those of deals."""
        for one in (object_type, "deals") if object_type == "leads" else (object_type,):
            self._kept.doubt(one)

    def expect(self, object_type: str, names: Iterable[str]) -> None:
        """The CRM uses these fields; what does not know their keys is doubted."""
        known = self._kept.last(object_type)
        if known is not None and any(_OWN_KEY.fullmatch(n) and n not in known for n in names):
            self.doubt(object_type)

    def _asked(self, object_type: str) -> dict[str, Field]:
        if object_type in LISTS:
            return self._listed(object_type)
        if object_type not in _FIXED:
            raise NotFound(f"Pipedrive has no {object_type}")
        found = {
            name: _field(
                object_type,
                {"field_code": name, "field_name": label, "field_type": kind},
                flags={},
            )
            for name, label, kind in _FIXED[object_type]
        }
        return found | (self._own_of_deals() if object_type == "leads" else {})

    def _own_of_deals(self) -> dict[str, Field]:
        return {name: field for name, field in self.of("deals").items() if field.is_own}

    def _listed(self, object_type: str) -> dict[str, Field]:
        newer, older = LISTS[object_type]
        flags = self._flags(older)
        rows = pages(self._get, newer, {"limit": PAGE})
        fields = [_field(object_type, row, flags=flags) for row in rows]
        return {field.meta.name: field for field in fields}

    def _flags(self, path: str) -> dict[str, Mapping[str, Any]]:
        """What only v1 says. A company without v1 is read by the types alone."""
        try:
            rows = list(older_pages(self._get, path, {}))
        except NotFound:
            return {}
        return {name_of(str(row["key"])): row for row in rows}


def name_of(code: str) -> str:
    """The name that a record of v2 has for a field of a list, a change log or v1."""
    return _RENAMED.get(code, code)


def pages(
    get: Get, path: str, params: Mapping[str, str], *, most: int = 20
) -> Iterator[Mapping[str, Any]]:
    """The rows of a list of v2; a cursor that comes again ends it.

    Raises `CRMUnavailable` beyond ``most`` pages.
    """
    cursor: str | None = None
    for _ in range(most):
        data = get(path, params if cursor is None else {**params, "cursor": cursor})
        yield from data["data"] or ()
        following = (data.get("additional_data") or {}).get("next_cursor")
        if not following or following == cursor:
            return
        cursor = following
    raise CRMUnavailable(f"the CRM has more than {most} pages of {path}")


def older_pages(
    get: Get, path: str, params: Mapping[str, str], *, most: int = 20
) -> Iterator[Mapping[str, Any]]:
    """The rows of a list of v1, which counts them. Ends and raises as `pages` does."""
    start = 0
    for _ in range(most):
        data = get(path, {**params, "start": str(start), "limit": PAGE})
        rows = data["data"] or ()
        yield from rows
        more = data.get("additional_data") or {}
        more = more.get("pagination") or more
        following = int(more.get("next_start") or start + len(rows))
        if not more.get("more_items_in_collection") or following <= start:
            return
        start = following
    raise CRMUnavailable(f"the CRM has more than {most} pages of {path}")


def _field(object_type: str, row: Mapping[str, Any], *, flags: Mapping[str, Any]) -> Field:
    name, kind = name_of(str(row["field_code"])), str(row["field_type"])
    is_own = bool(row.get("is_custom_field"))
    class_ = _CLASS_OF_TYPE.get(kind) if is_own else _CLASSES.get(name, _CLASS_OF_TYPE.get(kind))
    how = _OWN.get(kind) if is_own else OPEN.get(object_type, {}).get(name)
    read_only = kind in _COMPUTED or _is_locked(flags.get(name, {})) or (how or class_) is None
    meta = FieldMeta(
        name=name,
        label=str(row.get("field_name") or name),
        type=_type(name, kind),
        max_length=255 if kind == "varchar" else None,
        allowed_values=_allowed(name, row.get("options")),
        read_only=read_only,
        field_class="read_only" if read_only and class_ is None else class_,
    )
    return Field(meta=meta, how=None if read_only else how, is_own=is_own)


def _is_locked(flags: Mapping[str, Any]) -> bool:
    return flags.get("edit_flag") is False and flags.get("bulk_edit_allowed") is not True


def _type(name: str, kind: str) -> str:
    if name in {"emails", "phones"}:
        return name.removesuffix("s")
    return "datetime" if name.endswith("_time") and kind == "date" else _TYPES.get(kind, "text")


def _allowed(name: str, options: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...] | None:
    if name == "status":
        return STATUSES
    return tuple(str(option["id"]) for option in options) if options else None
