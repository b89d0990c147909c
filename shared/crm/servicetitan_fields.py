"""ServiceTitan's fields: their types and classes, and the fixed table of what a PATCH may carry.

https://developer.servicetitan.io/docs (CRM v2, JPM v2). No metadata of these fields exists: each
PATCH body is closed, and whatever it does not name is read-only. Custom fields alone are described
by the tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.crm.metadata import FieldMeta

CUSTOM: Final = "customFields."
PRIORITIES: Final = ("Low", "Normal", "High", "Urgent")
CUSTOMER_TYPES: Final = ("Residential", "Commercial")
STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "leads": ("Open", "Dismissed", "Converted"),
    "bookings": ("New", "Accepted", "Converted", "Dismissed"),
    "jobs": ("Scheduled", "Dispatched", "InProgress", "Hold", "Completed", "Canceled"),
}
# What a closed PATCH body names and a policy may list. ``active`` (archiving), tags and the move of
# a job to another customer are left out on purpose; what has a class is closed further below.
TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "customers": frozenset({"name", "type", "doNotMail", "doNotService"}),
    "leads": frozenset({"campaignId", "priority", "businessUnitId", "jobTypeId"}),
    "bookings": frozenset({"name", "summary", "priority", "customerType", "jobTypeId"}),
    "jobs": frozenset(
        {"summary", "priority", "customerPo", "campaignId", "jobTypeId", "soldById"}
        | {"businessUnitId", "jobGeneratedLeadSource"}
    ),
}
# Sub-resources of a customer, each with a closed body of its own.
CONTACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("Email",),
    "phone": ("Phone", "MobilePhone"),
}
WITH_CONTACTS: Final = frozenset({"customers", "bookings"})
# The types that a tenant gives fields of its own. A job's PATCH takes away every one of them that
# it does not name, so only a customer's may be written.
WITH_CUSTOM: Final = frozenset({"customers", "jobs"})
WRITTEN_CUSTOM: Final = frozenset({"customers"})
CLASSES: Final[Mapping[str, str]] = {
    "balance": "money",
    "total": "money",
    "membershipId": "money",
    "invoiceId": "money",
    "noCharge": "money",
    "jobGeneratedLeadSource": "money",
    "soldById": "money",
    "createdById": "owner",
    "businessUnitId": "owner",
    "doNotMail": "consent",
    "doNotService": "consent",
    "status": "stage",
    "jobStatus": "stage",
    "followUpDate": "stage",
}
_TYPES: Final[Mapping[str, str]] = {
    "email": "email",
    "phone": "phone",
    "balance": "money",
    "total": "money",
    "active": "boolean",
    "doNotMail": "boolean",
    "doNotService": "boolean",
    "noCharge": "boolean",
    "notificationsEnabled": "boolean",
    "isFirstTimeClient": "boolean",
    "isSendConfirmationEmail": "boolean",
    "type": "enum",
    "customerType": "enum",
    "priority": "enum",
    "status": "enum",
    "jobStatus": "enum",
    "start": "datetime",
    "completedOn": "datetime",
    "followUpDate": "datetime",
    "createdOn": "datetime",
    "modifiedOn": "datetime",
    "contact_id": "reference",
}
ADDRESS: Final = tuple(
    f"address.{part}"
    for part in ("street", "unit", "city", "state", "zip", "country", "latitude", "longitude")
)
_STAMPS: Final = ("createdOn", "modifiedOn")
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "customers": (
        *("name", "type", "email", "phone", *ADDRESS, "balance", "doNotMail", "doNotService"),
        *("active", "tagTypeIds", "externalData", "createdById", *_STAMPS, "mergedToId", "id"),
    ),
    "leads": (
        *("summary", "priority", "status", "followUpDate", "contact_id", "customerId"),
        *("locationId", "businessUnitId", "jobTypeId", "campaignId", "callReasonId", "callId"),
        *("bookingId", "manualCallId", "tagTypeIds", "dismissingReasonId", "leadUrl"),
        *("createdById", *_STAMPS, "id"),
    ),
    "bookings": (
        *("name", "summary", "email", "phone", *ADDRESS[:6], "customerType", "start", "status"),
        *("priority", "source", "externalId", "campaignId", "businessUnitId", "jobTypeId"),
        *("isFirstTimeClient", "isSendConfirmationEmail", "uploadedImages", "jobId"),
        *("dismissingReasonId", "bookingProviderId", *_STAMPS, "id"),
    ),
    "jobs": (
        *("jobNumber", "summary", "priority", "jobStatus", "completedOn", "customerPo", "total"),
        *("contact_id", "customerId", "locationId", "businessUnitId", "jobTypeId", "campaignId"),
        *("projectId", "noCharge", "notificationsEnabled", "soldById", "jobGeneratedLeadSource"),
        *("membershipId", "invoiceId", "recallForId", "warrantyId", "leadCallId", "bookingId"),
        *("appointmentCount", "firstAppointmentId", "lastAppointmentId", "tagTypeIds"),
        *("externalData", "createdById", *_STAMPS, "id"),
    ),
}
_CUSTOM_TYPES: Final = {"Dropdown": "enum"}


def is_open(object_type: str, name: str) -> bool:
    """Whether this product may ever send this field; custom fields depend on the account."""
    if name in CLASSES:
        return False
    return name in TAKEN[object_type] or (object_type == "customers" and name in CONTACTS)


def fixed_fields(object_type: str) -> dict[str, FieldMeta]:
    """Every field that the vendor itself defines, by name. Raises `KeyError` for another type."""
    return {name: _fixed(object_type, name) for name in NAMES[object_type]}


def _fixed(object_type: str, name: str) -> FieldMeta:
    return FieldMeta(
        name=name,
        label=name,
        type=type_of(name),
        max_length=None,
        allowed_values=_allowed(object_type, name),
        read_only=not is_open(object_type, name) and name not in TAKEN[object_type],
        field_class=CLASSES.get(name),
    )


def type_of(name: str) -> str:
    """The neutral type of a field that the vendor defines; ids are references."""
    return _TYPES.get(name) or ("reference" if name == "id" or name.endswith("Id") else "text")


def _allowed(object_type: str, name: str) -> tuple[str, ...] | None:
    if name in {"status", "jobStatus"}:
        return STAGES[object_type]
    if name == "priority":
        return PRIORITIES
    return CUSTOMER_TYPES if name in {"type", "customerType"} else None


def custom_field(row: Mapping[str, Any], *, is_writable: bool) -> FieldMeta:
    """A field that the tenant made; its id alone is sure. Raises `KeyError` and the like."""
    type_ = str(row.get("dataType") or "Text")
    options = row.get("dataTypeOptions") or ()
    return FieldMeta(
        name=f"{CUSTOM}{row['id']}",
        label=str(row.get("name") or row["id"]),
        type=_CUSTOM_TYPES.get(type_, "text"),
        max_length=None,
        allowed_values=tuple(map(str, options)) if type_ == "Dropdown" else None,
        read_only=not is_writable,
        field_class=None,
    )
