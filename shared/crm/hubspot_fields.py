"""HubSpot's properties in our words, and which of them nobody may open.

https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.crm.accounts import Account
from shared.crm.metadata import FieldMeta

TYPES: Final = ("contacts", "companies", "deals", "tickets")
# What a record is called by, the first of them that is there.
TITLES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "contacts": (("firstname", "lastname"), ("email",)),
    "companies": (("name",), ("domain",)),
    "deals": (("dealname",),),
    "tickets": (("subject",),),
}
NAMES: Final[Mapping[str, str]] = {
    "first_name": "firstname",
    "last_name": "lastname",
    "email": "email",
    "phone": "phone",
    "job_title": "jobtitle",
    "company": "company",
    "address": "address",
    "city": "city",
    "postal_code": "zip",
}
# HubSpot's own properties begin with ``hs_`` and are its own affair, but for these.
OPEN_SYSTEM: Final = frozenset({"hs_language", "hs_ticket_priority", "hs_ticket_category"})
_SHOWN_SYSTEM = OPEN_SYSTEM | {"hs_lead_status", "hs_pipeline", "hs_pipeline_stage"}
OTHER_ADDRESSES: Final = "hs_additional_emails"
_STAGES = frozenset(
    {"dealstage", "pipeline", "lifecyclestage", "hs_lead_status", "hs_pipeline"}
    | {"hs_pipeline_stage"}
)
_MONEY = re.compile(r"amount|.*_amount|amount_.*|.*revenue|.*currency(_code)?")
_OWNER = re.compile(r"(hubspot_|hs_)?(all_)?(owner|team|accessible_team)(_.*|id|ids)?|hubspot_.*")
_CONSENT = re.compile(
    r".*(legal_basis|consent|gdpr|unsubscri|opt_?(in|out|ed)|marketable|do_?not_).*"
)
_KEPT_BY_HUBSPOT = frozenset(
    {"createdate", "lastmodifieddate", "closed_date", "associatedcompanyid", "hubspotscore"}
)
_NEUTRAL = {"bool": "boolean", "booleancheckbox": "boolean", "date": "date", "datetime": "datetime"}
_CHOICES = frozenset({"select", "radio"})


def names_of(account: Account) -> Mapping[str, str]:
    """Our words for a contact's properties; the preferred channel has a property of one's own."""
    own = account.options.get("preferred_channel_property")
    return {**NAMES, "preferred_channel": own} if own else NAMES


def closed_by_name(name: str) -> str | None:
    """The class that a property's name alone puts it into; ``None``: the name closes nothing."""
    if _CONSENT.fullmatch(name):
        return "consent"
    if name in _STAGES:
        return "stage"
    if _OWNER.fullmatch(name) and name not in _KEPT_BY_HUBSPOT:
        return "owner"
    if _MONEY.fullmatch(name):
        return "money"
    is_system = name.startswith("hs_") and name not in OPEN_SYSTEM
    return "read_only" if is_system or name in _KEPT_BY_HUBSPOT else None


def field_of(row: Mapping[str, Any], mark: str | None) -> FieldMeta:
    """One row of the metadata; ``mark`` is the property that carries our change ids.

    Raises `KeyError` and the like for another shape.
    """
    class_ = _class_of(row)
    is_read_only = _is_read_only(row) or class_ == "read_only" or row["name"] == mark
    return FieldMeta(
        name=row["name"],
        label=row["label"],
        type=_type_of(row, class_),
        max_length=None,
        allowed_values=_choices_of(row),
        read_only=is_read_only,
        field_class=class_ or ("read_only" if is_read_only else None),
    )


def shown(fields: Mapping[str, FieldMeta]) -> tuple[str, ...]:
    """The properties that a reading asks for: no system's own, nothing sensitive."""
    return tuple(
        name
        for name, field in fields.items()
        if field.field_class != "sensitive"
        and (not name.startswith("hs_") or name in _SHOWN_SYSTEM)
    )


def title_of(object_type: str, properties: Mapping[str, Any], id_: str) -> str:
    for names in TITLES[object_type]:
        if words := [str(properties[name]) for name in names if properties.get(name)]:
            return " ".join(words)
    return id_


def _class_of(row: Mapping[str, Any]) -> str | None:
    if row.get("dataSensitivity", "non_sensitive") != "non_sensitive":
        return "sensitive"
    by_name = closed_by_name(row["name"])
    if by_name not in {None, "read_only"}:
        return by_name
    if row.get("referencedObjectType") == "OWNER":
        return "owner"
    if _is_money(row):
        return "money"
    # Who a record belongs to is an association, and those are not ours to set.
    return "read_only" if row.get("referencedObjectType") else by_name


def _is_money(row: Mapping[str, Any]) -> bool:
    return bool(
        row.get("numberDisplayHint") == "currency"
        or row.get("showCurrencySymbol")
        or row.get("currencyPropertyName")
    )


def _is_read_only(row: Mapping[str, Any]) -> bool:
    return bool(
        row.get("modificationMetadata", {}).get("readOnlyValue")
        or row.get("calculated")
        or row["fieldType"].startswith("calculation_")
        or row.get("archived")
    )


def _type_of(row: Mapping[str, Any], class_: str | None) -> str:
    if class_ == "money":
        return "money"
    if row.get("referencedObjectType"):
        return "reference"
    if row["fieldType"] in _NEUTRAL or row["type"] in _NEUTRAL:
        return _NEUTRAL.get(row["fieldType"]) or _NEUTRAL[row["type"]]
    if row["fieldType"] == "phonenumber":
        return "phone"
    if row["name"] == "email":
        return "email"
    return "enum" if _choices_of(row) is not None else "text"


def _choices_of(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Of a single choice whose values stand in the metadata; several are one text with ``;``."""
    if row["type"] != "enumeration" or row["fieldType"] not in _CHOICES or not row["options"]:
        return None
    return tuple(option["value"] for option in row["options"] if not option.get("hidden"))


def stages_of(pipelines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """From id to label, in order; several pipelines stand before their stages' names."""
    lines = sorted((one for one in pipelines if not one.get("archived")), key=_order)
    return {
        stage["id"]: stage["label"] if len(lines) == 1 else f"{line['label']}: {stage['label']}"
        for line in lines
        for stage in sorted(line["stages"], key=_order)
        if not stage.get("archived")
    }


def person_of(row: Mapping[str, Any]) -> str:
    """An owner by name, else by address."""
    words = (str(row.get(name) or "") for name in ("firstName", "lastName"))
    return " ".join(word for word in words if word) or str(row.get("email") or row["id"])


def _order(row: Mapping[str, Any]) -> int:
    return int(row["displayOrder"])
