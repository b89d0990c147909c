"""A Salesforce record as outbound messages and callouts tell it: which one, what, and by whom.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime

from services.ingest.bodies import as_text
from services.ingest.forms import moment
from services.ingest.source import Description, Form, Option
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar

CRM = "salesforce"
PLURALS = {
    "Account": "accounts",
    "Case": "cases",
    "Contact": "contacts",
    "Event": "events",
    "Lead": "leads",
    "Opportunity": "opportunities",
    "Task": "tasks",
}
# The first three characters of an id name the object.
PREFIXES = {
    "001": "Account",
    "003": "Contact",
    "006": "Opportunity",
    "00Q": "Lead",
    "00T": "Task",
    "00U": "Event",
    "500": "Case",
}
OWN_USER = Option(
    hint="id of the Salesforce user that writes for us",
    form=Form(
        pattern=r"005[A-Za-z0-9]{12}([A-Za-z0-9]{3})?",
        words="an id of 15 or 18 characters that begins with 005",
    ),
)
# An id has 15 characters that count; the last three of 18 only repeat their case.
SIGNIFICANT = 15
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?\Z")
_STAMPS = ("SystemModstamp", "LastModifiedDate")
_SYSTEM = frozenset(
    {
        "Id",
        "CreatedById",
        "CreatedDate",
        "IsDeleted",
        "LastModifiedById",
        "LastReferencedDate",
        "LastViewedDate",
        *_STAMPS,
    }
)


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.match(text) is not None


def same_id(one: str, other: str) -> bool:
    """Whether two ids of 15 or 18 characters mean the same, in constant time."""
    return (
        is_id(one)
        and is_id(other)
        and hmac.compare_digest(one[:SIGNIFICANT].encode(), other[:SIGNIFICANT].encode())
    )


def record_of(kind: str, id_: str) -> RecordRef | None:
    plural = PLURALS.get(kind)
    return RecordRef(crm=CRM, type=plural, id=id_) if plural else None


def changed_at(fields: Mapping[str, Scalar]) -> datetime | None:
    """When the record was last changed, if the sender chose to tell."""
    times = (moment(fields.get(name)) for name in _STAMPS)
    return next((time for time in times if time), None)


def described(fields: Mapping[str, Scalar], own_user: str | None) -> Description:
    """The record's fields as they are now. Who changed it is told by ``LastModifiedById``, that it
    is new by a change at the time of creation; both only if the sender chose these fields.
    """
    at, created = changed_at(fields), moment(fields.get("CreatedDate"))
    facts = {"change": "created" if at and at == created else "updated"}
    by = fields.get("LastModifiedById")
    if by:
        facts["changed_by"] = as_text(by)
        if own_user and same_id(as_text(by), own_user):
            facts["own_write"] = "true"
    changes = {name: value for name, value in fields.items() if name not in _SYSTEM}
    return Description(changes=changes, facts=facts)
