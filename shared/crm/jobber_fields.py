"""Jobber's fields: which there are, of which class, and what a node of an answer says of them.

Metadata exists for custom fields alone; of the others the schema of the pinned version tells what
an edit takes. https://developer.getjobber.com/docs/using_jobbers_api/api_versioning
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from shared.crm.metadata import FieldMeta
from shared.crm.transport import scalar
from shared.domain.schema import Scalar

CUSTOM: Final = "customFields."
ADDRESS: Final = "billingAddress."
TITLES: Final = ("MR", "MS", "MRS", "MISS", "DR")
STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "requests": (
        "new",
        "unscheduled",
        "upcoming",
        "today",
        "overdue",
        "assessment_completed",
        "completed",
        "converted",
        "archived",
    ),
    "jobs": (
        "unscheduled",
        "upcoming",
        "today",
        "late",
        "active",
        "on_hold",
        "action_required",
        "requires_invoicing",
        "archived",
    ),
}
APPLIES_TO: Final = {"clients": "ALL_CLIENTS", "jobs": "ALL_JOBS", "quotes": "ALL_QUOTES"}

# Name, type and class of each field; READ_ONLY stands for what no edit of ours takes.
READ_ONLY: Final = "read_only"
_Rows = tuple[tuple[str, str, str | None], ...]
TABLE: Final[Mapping[str, _Rows]] = {
    "clients": (
        ("name", "text", READ_ONLY),
        ("firstName", "text", None),
        ("lastName", "text", None),
        ("companyName", "text", None),
        ("title", "enum", None),
        ("email", "email", None),
        ("phone", "phone", None),
        *((f"{ADDRESS}{part}", "text", None) for part in ("street1", "street2", "city")),
        *((f"{ADDRESS}{part}", "text", None) for part in ("province", "postalCode", "country")),
        ("isCompany", "boolean", READ_ONLY),
        ("isLead", "boolean", READ_ONLY),
        ("isArchived", "boolean", READ_ONLY),
        ("tags", "text", READ_ONLY),
        ("balance", "money", "money"),
        ("receivesReminders", "boolean", "consent"),
        ("receivesFollowUps", "boolean", "consent"),
        ("createdAt", "datetime", READ_ONLY),
        ("updatedAt", "datetime", READ_ONLY),
    ),
    "requests": (
        ("title", "text", None),
        ("requestStatus", "enum", "stage"),
        ("salespersonId", "reference", "owner"),
        ("source", "text", READ_ONLY),
        ("contactName", "text", READ_ONLY),
        ("companyName", "text", READ_ONLY),
        ("email", "email", READ_ONLY),
        ("phone", "phone", READ_ONLY),
        ("contact_id", "reference", READ_ONLY),
        ("createdAt", "datetime", READ_ONLY),
        ("updatedAt", "datetime", READ_ONLY),
    ),
    "jobs": (
        ("jobNumber", "text", READ_ONLY),
        ("title", "text", READ_ONLY),
        ("jobStatus", "enum", "stage"),
        ("startAt", "datetime", READ_ONLY),
        ("endAt", "datetime", READ_ONLY),
        ("total", "money", "money"),
        ("instructions", "text", READ_ONLY),
        ("contact_id", "reference", READ_ONLY),
        ("createdAt", "datetime", READ_ONLY),
        ("updatedAt", "datetime", READ_ONLY),
    ),
    "quotes": (
        ("title", "text", READ_ONLY),
        ("message", "text", READ_ONLY),
        ("amounts.subtotal", "money", "money"),
        ("amounts.total", "money", "money"),
        ("contact_id", "reference", READ_ONLY),
        ("createdAt", "datetime", READ_ONLY),
        ("updatedAt", "datetime", READ_ONLY),
    ),
}
# What an edit of ours never carries, whatever its class says.
_CLOSED: Final = frozenset({READ_ONLY, "money", "stage"})
_CUSTOM_TYPES: Final = {"TRUE_FALSE": "boolean", "DROPDOWN": "enum"}
UNWRITABLE_TYPES: Final = frozenset({"LINK", "AREA"})
_VALUES: Final = {
    "CustomFieldText": "valueText",
    "CustomFieldNumeric": "valueNumeric",
    "CustomFieldTrueFalse": "valueTrueFalse",
    "CustomFieldDropdown": "valueDropdown",
}


def built_in(object_type: str) -> dict[str, FieldMeta]:
    return {
        name: _field(object_type, name, type_, class_) for name, type_, class_ in TABLE[object_type]
    }


def _field(object_type: str, name: str, type_: str, class_: str | None) -> FieldMeta:
    allowed = STAGES[object_type] if class_ == "stage" else TITLES if type_ == "enum" else None
    return FieldMeta(
        name=name,
        label=name,
        type=type_,
        max_length=None,
        allowed_values=allowed,
        read_only=class_ in _CLOSED,
        field_class=class_,
    )


def custom(row: Mapping[str, Any], ours: str) -> FieldMeta:
    """A custom field by its configuration; the one that carries our change ids is nobody's."""
    is_closed = row["readOnly"] or row["valueType"] in UNWRITABLE_TYPES or row["name"] == ours
    return FieldMeta(
        name=CUSTOM + row["name"],
        label=row["name"],
        type=_CUSTOM_TYPES.get(row["valueType"], "text"),
        max_length=None,
        allowed_values=None,
        read_only=is_closed,
        field_class=READ_ONLY if is_closed else None,
    )


def values_of(object_type: str, node: Mapping[str, Any]) -> dict[str, Scalar]:
    """The fields that a node says. Raises `KeyError` and the like for another shape."""
    given = {name: _value(node, name) for name, *_ in TABLE[object_type] if _is_said(node, name)}
    return given | custom_values(node.get("customFields", ()))


def _is_said(node: Mapping[str, Any], name: str) -> bool:
    return name == "contact_id" or name.partition(".")[0] in node


def _value(node: Mapping[str, Any], name: str) -> Scalar:
    if name == "contact_id":
        return (node.get("client") or {}).get("id")
    if name in {"email", "phone"} and f"{name}s" in node:
        return primary(node, name)
    if name == "tags":
        return ", ".join(tag["label"] for tag in node["tags"]["nodes"]) or None
    first, _, part = name.partition(".")
    value = (node[first] or {}).get(part) if part else node[first]
    if name in {"balance", "total", "jobNumber"} or first == "amounts":
        return number(value)
    return None if value == "" else scalar(value)


def primary(node: Mapping[str, Any], name: str) -> str | None:
    """The address or number that is marked as the first one."""
    inner = {"email": "address", "phone": "number"}[name]
    found = next((one[inner] for one in node[f"{name}s"] if one["primary"]), None)
    return found or node.get(name) or None


def custom_values(rows: Iterable[Mapping[str, Any]]) -> dict[str, Scalar]:
    return {CUSTOM + row["label"]: _custom_value(row) for row in rows if _name_of(row) in row}


def _name_of(row: Mapping[str, Any]) -> str:
    return _VALUES.get(row["__typename"], "")


def _custom_value(row: Mapping[str, Any]) -> Scalar:
    name = _name_of(row)
    value = row[name]
    if name == "valueNumeric":
        return number(value)
    return None if value == "" else scalar(value)


def number(value: Any) -> str | None:
    """Without the zeros that a float brings along: "4.50" and "4.5" are the same."""
    if value is None:
        return None
    try:
        found = Decimal(str(value)).normalize()
    except InvalidOperation:
        return str(value)
    return f"{found:f}"
