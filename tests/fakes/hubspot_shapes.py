"""What HubSpot's fake accepts and gives: property rows, body checks and error bodies.

Written from the tables of the vendor's documentation, not from its description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

OPERATORS = (
    "EQ", "NEQ", "LT", "LTE", "GT", "GTE", "BETWEEN", "IN", "NOT_IN", "HAS_PROPERTY",
    "NOT_HAS_PROPERTY", "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN",
)  # fmt: skip
CATEGORIES = ("HUBSPOT_DEFINED", "USER_DEFINED", "INTEGRATOR_DEFINED", "WORK")
LINK_TYPES = {
    "notes": {202: "contacts", 190: "companies", 214: "deals", 228: "tickets"},
    "tasks": {204: "contacts", 192: "companies", 216: "deals"},
}
SEARCH_KEYS = ("after", "filterGroups", "limit", "properties", "sorts")


class Refused(Exception):
    """An answer that is not the one that was hoped for."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {
            "status": "error",
            "message": message,
            "correlationId": "c0895ebf-9e3e-4b7d-b6e6-124e02d3f9c3",
            "category": category,
            **more,
        }


def invalid(*faults: tuple[str, str, str]) -> Refused:
    """A 400 that names each property with its code and words."""
    errors = [
        {"message": words, "code": code, "context": {"propertyName": [name]}}
        for name, code, words in faults
    ]
    said = "; ".join(words for _, _, words in faults)
    return Refused(
        400, "VALIDATION_ERROR", f"Property values were not valid: {said}", errors=errors
    )


def shape(words: str) -> Refused:
    return Refused(400, "VALIDATION_ERROR", f"Invalid input JSON: {words}")


def row(
    name: str, label: str, type_: str = "string", field: str = "text", **more: Any
) -> dict[str, Any]:
    """One property of the metadata; ``readOnly`` makes it HubSpot's own to set."""
    is_read_only = more.pop("readOnly", False)
    return {
        "name": name,
        "label": label,
        "type": type_,
        "fieldType": field,
        "description": "",
        "groupName": "contactinformation",
        "options": [],
        "displayOrder": 1,
        "calculated": False,
        "externalOptions": False,
        "hasUniqueValue": False,
        "hidden": False,
        "hubspotDefined": True,
        "modificationMetadata": {
            "archivable": True,
            "readOnlyDefinition": True,
            "readOnlyValue": is_read_only,
        },
        "formField": True,
        "dataSensitivity": "non_sensitive",
        **more,
    }


def _choices(*values: str) -> list[dict[str, Any]]:
    return [
        {"label": value.title(), "value": value, "displayOrder": at, "hidden": False}
        for at, value in enumerate(values)
    ]


def _kept(modified: str) -> list[dict[str, Any]]:
    """What HubSpot keeps of every record."""
    return [
        row("createdate", "Create Date", "datetime", "date", readOnly=True),
        row(modified, "Last Modified", "datetime", "date", readOnly=True),
        row("hs_object_id", "Record ID", "number", "number", readOnly=True),
        row("hs_object_source_id", "Record source ID", readOnly=True),
        row("hubspot_owner_id", "Owner", "enumeration", "select", referencedObjectType="OWNER"),
    ]


def metadata() -> dict[str, list[dict[str, Any]]]:
    """The properties of each object type of the account on stage."""
    lifecycle = _choices("subscriber", "lead", "opportunity", "customer")
    contacts = [
        row("firstname", "First Name"),
        row("lastname", "Last Name"),
        row("email", "Email"),
        row("phone", "Phone Number", "string", "phonenumber"),
        row("mobilephone", "Mobile Phone Number", "string", "phonenumber"),
        row("jobtitle", "Job Title"),
        row("company", "Company Name"),
        row("address", "Street Address"),
        row("city", "City"),
        row("zip", "Postal Code"),
        row("hs_additional_emails", "Additional emails", readOnly=True),
        row("hs_legal_basis", "Legal basis", "enumeration", "checkbox"),
        row("hs_email_optout", "Opted out", "bool", "booleancheckbox", readOnly=True),
        row("lifecyclestage", "Lifecycle Stage", "enumeration", "radio", options=lifecycle),
        row("hubspotscore", "HubSpot Score", "number", "calculation_score", readOnly=True),
        row("budget", "Budget", "number", "number", showCurrencySymbol=True),
        row("preferred", "Preferred", "enumeration", "select", options=_choices("email", "phone")),
        row("passport", "Passport", dataSensitivity="sensitive"),
        row("customer_number", "Customer Number", hasUniqueValue=True, hubspotDefined=False),
        row("countersign_change", "Change", hasUniqueValue=True, hubspotDefined=False),
        *_kept("lastmodifieddate"),
    ]
    companies = [row("name", "Name"), row("domain", "Domain"), row("city", "City")]
    deals = [
        row("dealname", "Deal Name"),
        row("dealstage", "Deal Stage", "enumeration", "radio", externalOptions=True),
        row("pipeline", "Pipeline", "enumeration", "select", externalOptions=True),
        row("amount", "Amount", "number", "number", showCurrencySymbol=True),
        row("description", "Description", "string", "textarea"),
        row("order_number", "Order Number", hubspotDefined=False),
    ]
    tickets = [
        row("subject", "Subject"),
        row("hs_pipeline_stage", "Status", "enumeration", "select", externalOptions=True),
    ]
    words = {
        "notes": ("hs_note_body",),
        "tasks": ("hs_task_subject", "hs_task_body"),
        "calls": ("hs_call_title", "hs_call_body"),
        "meetings": ("hs_meeting_title", "hs_meeting_body"),
        "emails": ("hs_email_subject", "hs_email_text"),
    }
    activities = {
        kind: [*(row(name, name) for name in names), row("hs_timestamp", "At", "datetime", "date"),
               row("hs_createdate", "Made", "datetime", "date"), *_kept("hs_lastmodifieddate")]
        for kind, names in words.items()
    }  # fmt: skip
    states = _choices("NOT_STARTED", "IN_PROGRESS", "WAITING", "DEFERRED", "COMPLETED")
    activities["tasks"].append(
        row("hs_task_status", "Status", "enumeration", "select", options=states)
    )
    return {
        "contacts": contacts,
        "companies": [*companies, *_kept("hs_lastmodifieddate")],
        "deals": [*deals, *_kept("hs_lastmodifieddate")],
        "tickets": [*tickets, *_kept("hs_lastmodifieddate")],
        **activities,
    }


def check_properties(body: Any) -> dict[str, str]:
    """The properties of a body. Raises `Refused` for any other shape, numbers among the values."""
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise shape("must have required property 'properties'")
    for name, value in body["properties"].items():
        if not isinstance(value, str):
            raise shape(f"properties.{name} must be string")
    return dict(body["properties"])


def check_known(given: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Raises `Refused` for properties that are unknown, read-only or of no such choice."""
    known = {one["name"]: one for one in rows}
    faults = []
    for name, value in given.items():
        if name not in known:
            faults.append((name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
        elif known[name]["modificationMetadata"]["readOnlyValue"]:
            faults.append((name, "READ_ONLY_VALUE", f'"{name}" is a read only property'))
        elif (options := known[name]["options"]) and value:
            if value not in {option["value"] for option in options}:
                faults.append((name, "INVALID_OPTION", f"{value} was not one of the options"))
        elif name == "email" and value and "@" not in value:
            faults.append((name, "INVALID_EMAIL", f"Email address {value} is invalid"))
    if faults:
        raise invalid(*faults)


def check_associations(kind: str, body: Any) -> list[tuple[str, str]]:
    """Type and id of each. The description calls the list required."""
    known = LINK_TYPES.get(kind, {})
    if not isinstance(body.get("associations"), list):
        raise shape("must have required property 'associations'")
    found = []
    for one in body["associations"]:
        for type_ in one["types"]:
            if type_["associationCategory"] not in CATEGORIES:
                raise shape("associationCategory must be equal to one of the allowed values")
            if type(type_["associationTypeId"]) is not int:
                raise shape("associationTypeId must be integer")
            if type_["associationTypeId"] not in known:
                raise Refused(400, "VALIDATION_ERROR", "association type is not valid")
            found.append((known[type_["associationTypeId"]], str(one["to"]["id"])))
    return found


def check_query(text: str) -> dict[str, str]:
    """The parameters of a query. Raises `Refused` for one without a value."""
    query = dict(parse_qsl(text, keep_blank_values=True))
    if blank := [name for name, value in query.items() if not value]:
        raise shape(f"the query parameter {blank[0]} is empty")
    return query


def check_search(body: Any) -> None:
    """All five members, five groups of six filters, and operators that HubSpot knows.

    What is sorted by is the name of a property, after a minus sign for the largest first.
    """
    if missing := [key for key in SEARCH_KEYS if not isinstance(body, dict) or key not in body]:
        raise shape("must have required properties " + ", ".join(missing))
    if len(body["filterGroups"]) > 5 or not 1 <= body["limit"] <= 200:
        raise shape("too many filter groups, or limit out of range")
    for text in (body["after"], *body["sorts"], *body["properties"]):
        if not isinstance(text, str):
            raise shape(f"{text} must be string")
    for group in body["filterGroups"]:
        if not 1 <= len(group["filters"]) <= 6:
            raise shape("a group has one to six filters")
        for one in group["filters"]:
            if one["operator"] not in OPERATORS:
                raise shape("operator must be equal to one of " + ", ".join(OPERATORS))


def check_batch(body: Any, most: int) -> list[dict[str, Any]]:
    """The inputs. Raises `Refused` for another shape, or more of them than a batch holds."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(one.get("id"), str) for one in inputs):
        raise shape("inputs must be an array of objects with an id")
    if len(inputs) > most:
        raise Refused(400, "VALIDATION_ERROR", f"The maximum number of inputs is {most}")
    return inputs
