"""The objects of the demo CRM: their fields, what each field may hold, and the sales stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

Value = str | int | bool | None

USERS = ("Ava Lindqvist", "Marcus Bell", "Priya Raman", "Tom Okafor")
CHANNELS = {"email": "E-mail", "phone": "Phone call", "text": "Text message", "post": "Letter"}
LIFECYCLE = {
    "lead": "Lead",
    "qualified": "Qualified lead",
    "customer": "Customer",
    "former": "Former customer",
}
DEAL_STAGES = {
    "new": "New enquiry",
    "site_visit": "Site visit",
    "quote_sent": "Quote sent",
    "negotiation": "Negotiation",
    "won": "Won",
    "lost": "Lost",
}
DRAFT_STATES = {"open": "Waiting", "promoted": "Promoted", "discarded": "Discarded"}
STAGES = {"contacts": LIFECYCLE, "deals": DEAL_STAGES}

# What no integration may write: the write token's rights stop here, whatever it is asked to do.
GUARDED = frozenset({"money", "owner", "consent", "sensitive", "read_only"})


class Refused(Exception):
    """The CRM says no: an HTTP status, a stable code for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Field:
    """``field_class`` marks what needs care: money, owner, consent, stage, sensitive, read_only."""

    name: str
    label: str
    type: str = "text"
    max_length: int | None = None
    choices: Mapping[str, str] | None = None
    field_class: str | None = None
    required: bool = False

    @property
    def read_only(self) -> bool:
        return self.field_class == "read_only"

    def described(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "max_length": self.max_length,
            "allowed_values": None if self.choices is None else list(self.choices),
            "read_only": self.read_only,
            "class": self.field_class,
        }


def _text(name: str, label: str, length: int, **more: Any) -> Field:
    return Field(name=name, label=label, max_length=length, **more)


def _enum(name: str, label: str, choices: Mapping[str, str], **more: Any) -> Field:
    return Field(name=name, label=label, type="enum", choices=choices, **more)


_OWNERS = {name: name for name in USERS}
_STAMPS = (
    Field(name="created_at", label="Created", type="datetime", field_class="read_only"),
    Field(name="updated_at", label="Last changed", type="datetime", field_class="read_only"),
)
_CONTACT = (
    _text("first_name", "First name", 80),
    _text("last_name", "Last name", 80, required=True),
    _text("email", "E-mail", 254, type="email"),
    _text("phone", "Phone", 32, type="phone"),
    _text("company", "Company", 120),
    _text("job_title", "Job title", 120),
    _text("address", "Street address", 200),
    _text("city", "City", 80),
    _text("postal_code", "Postal code", 20),
    _text("country", "Country", 60),
    _enum("preferred_channel", "Preferred channel", CHANNELS),
    _text("notes_summary", "Summary", 1000, type="long_text"),
    Field(name="last_contacted", label="Last contacted", type="date"),
    _enum("lifecycle", "Lifecycle stage", LIFECYCLE, field_class="stage", required=True),
    _enum("owner", "Owner", _OWNERS, field_class="owner"),
    Field(name="credit_limit", label="Credit limit", type="money", field_class="money"),
    Field(name="marketing_consent", label="Marketing consent", type="bool", field_class="consent"),
    Field(name="date_of_birth", label="Date of birth", type="date", field_class="sensitive"),
    _text("external_id", "External id", 40, field_class="read_only"),
)
_DEAL = (
    _text("name", "Deal name", 120, required=True),
    Field(name="contact_id", label="Contact", type="reference", field_class="read_only"),
    _enum("stage", "Stage", DEAL_STAGES, field_class="stage", required=True),
    Field(name="close_date", label="Close date", type="date"),
    Field(name="amount", label="Amount", type="money", field_class="money"),
    _text("order_number", "Order number", 20, field_class="read_only"),
    _text("next_step", "Next step", 200),
    _text("description", "Description", 2000, type="long_text"),
    _enum("owner", "Owner", _OWNERS, field_class="owner"),
)
_DRAFT_OUTCOME = (
    _enum("draft_state", "State", DRAFT_STATES, field_class="read_only"),
    Field(name="promoted_to", label="Became contact", type="reference", field_class="read_only"),
)

FIELDS: dict[str, dict[str, Field]] = {
    "contacts": {field.name: field for field in (*_CONTACT, *_STAMPS)},
    "deals": {field.name: field for field in (*_DEAL, *_STAMPS)},
    "drafts": {field.name: field for field in (*_CONTACT, *_DRAFT_OUTCOME, *_STAMPS)},
}
SINGULAR = {"contacts": "contact", "deals": "deal", "drafts": "draft"}

_PATTERNS = {
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    "phone": re.compile(r"\+?[0-9][0-9 ().-]{4,30}"),
    "money": re.compile(r"[0-9]{1,9}\.[0-9]{2}"),
}


def check(record_type: str, values: Mapping[str, Any], *, integration: bool) -> None:
    """Raise `Refused` unless each value may be written.

    A person in the CRM may write all but read-only fields; an integration none of `GUARDED`.
    """
    for name, value in values.items():
        field = FIELDS[record_type].get(name)
        if field is None:
            raise Refused(422, "unknown_field", f"{record_type} have no field {name[:60]!r}")
        if field.read_only:
            raise Refused(422, "read_only", f"{name} is kept by the CRM itself")
        if integration and field.field_class in GUARDED:
            raise Refused(403, "field_not_permitted", f"this token has no right to write {name}")
        _check_value(field, value)


def _check_value(field: Field, value: Any) -> None:
    if value is None:
        if field.required:
            raise Refused(422, "required", f"{field.name} cannot be empty")
        return
    if not isinstance(value, bool if field.type == "bool" else str):
        raise Refused(422, "wrong_type", f"{field.name} is a {field.type} field")
    if isinstance(value, str) and (problem := _fault(field, value)):
        raise Refused(422, "not_valid", f"{field.name} {problem}")


def _fault(field: Field, text: str) -> str | None:
    if field.required and not text.strip():
        return "cannot be empty"
    if field.max_length is not None and len(text) > field.max_length:
        return f"is longer than {field.max_length} characters"
    if field.choices is not None and text not in field.choices:
        return f"is none of {', '.join(field.choices)}"
    if field.type == "date" and not is_date(text):
        return "is not a date like 2026-11-23"
    pattern = _PATTERNS.get(field.type)
    if text and pattern is not None and not pattern.fullmatch(text):
        return f"is not a valid {field.type}"
    return None


def is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def title_of(record_type: str, fields: Mapping[str, Value]) -> str:
    """What people call the record."""
    if record_type == "deals":
        return str(fields["name"])
    names = (fields.get("first_name"), fields.get("last_name"))
    return " ".join(str(name) for name in names if name)


def writable_by_integrations(record_type: str) -> list[str]:
    fields = FIELDS[record_type].values()
    return [field.name for field in fields if field.field_class not in GUARDED]
