"""ServiceTitan's closed bodies and error answers, for its double (RFC 7807, 400 names members)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

PRIORITY = ("Low", "Normal", "High", "Urgent")
CONTACT_TYPE = ("Phone", "MobilePhone", "Email", "Fax")
KIND = ("Residential", "Commercial")
# A closed body: member → what it must be; an exclamation mark: required.
Body = Mapping[str, Any]
PATCHES: Mapping[str, Body] = {
    "customers": {
        "name": str,
        "type": KIND,
        "address": dict,
        "customFields": list,
        "externalData": dict,
        "doNotMail": bool,
        "doNotService": bool,
        "active": bool,
        "tagTypeIds": list,
    },
    "leads": {"campaignId": int, "priority": PRIORITY, "businessUnitId": int, "jobTypeId": int},
    "bookings": {
        "source": str,
        "name": str,
        "address": dict,
        "customerType": KIND,
        "start": str,
        "summary": str,
        "campaignId": int,
        "businessUnitId": int,
        "jobTypeId": int,
        "priority": PRIORITY,
        "isFirstTimeClient": bool,
        "externalId": str,
    },
    "jobs": {
        "customerId": int,
        "locationId": int,
        "businessUnitId": int,
        "jobTypeId": int,
        "priority": PRIORITY,
        "campaignId": int,
        "summary": str,
        "customFields": list,
        "tagTypeIds": list,
        "externalData": dict,
        "customerPo": str,
        "soldById": int,
        "jobGeneratedLeadSource": dict,
        "shouldUpdateInvoiceItems": bool,
    },
}
CONTACT: Body = {"type!": CONTACT_TYPE, "value!": str, "memo": str}
CONTACT_PATCH: Body = {"type": CONTACT_TYPE, "value": str, "memo": str}
NOTE: Body = {"text!": str, "pinToTop": bool}
CUSTOMER_NOTE: Body = {**NOTE, "addToLocations": bool}
LEAD: Body = {
    "campaignId!": int,
    "summary!": str,
    "customerId": int,
    "locationId": int,
    "businessUnitId": int,
    "jobTypeId": int,
    "priority": PRIORITY,
    "followUpDate": str,
    "tagTypeIds": list,
    "callReasonId": int,
}
# One of the two, though neither is required by itself.
LEAD_IS_DUE = ("followUpDate", "callReasonId")
BOOKING: Body = {
    "source!": str,
    "name!": str,
    "summary!": str,
    "isFirstTimeClient!": bool,
    "externalId!": str,
    "contacts": list,
    "address": dict,
    "customerType": str,
    "start": str,
    "campaignId": int,
    "businessUnitId": int,
    "jobTypeId": int,
    "priority": PRIORITY,
    "uploadedImages": list,
    "isSendConfirmationEmail": bool,
}


@dataclass(kw_only=True)
class Problem(Exception):
    """RFC 7807 as ServiceTitan sends it."""

    status: int
    title: str
    errors: Mapping[str, list[str]] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()


def checked(body: Any, shape: Body, one_of: tuple[str, ...] = ()) -> dict[str, Any]:
    """A closed body: 400 names every member that is missing, unknown or of another type.

    ``one_of``: members of which at least one is needed.
    """
    if not isinstance(body, dict):
        raise Problem(status=400, title="Bad request", errors={"": ["an object is needed"]})
    known = {name.rstrip("!"): type_ for name, type_ in shape.items()}
    errors = {
        name[:-1]: ["is required"] for name in shape if name[-1] == "!" and name[:-1] not in body
    }
    if one_of and not body.keys() & set(one_of):
        errors |= {name: [f"one of {', '.join(one_of)} is required"] for name in one_of}
    for name, value in body.items():
        if name not in known:
            errors[name] = ["additional property"]
        elif not _fits(value, known[name]):
            errors[name] = [f"the value {value!r} is not valid"]
    if errors:
        raise Problem(status=400, title="One or more validation errors occurred.", errors=errors)
    return body


def _fits(value: Any, type_: Any) -> bool:
    if isinstance(type_, tuple):
        return value in type_
    return isinstance(value, type_) and (type_ in {bool, object} or not isinstance(value, bool))


def public(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"of", "is_active"}}


def without_nulls(data: Any) -> Any:
    """An optional member that holds nothing is left out, as the vendor's own schema has it."""
    if isinstance(data, list):
        return [without_nulls(one) for one in data]
    if not isinstance(data, dict):
        return data
    return {name: without_nulls(one) for name, one in data.items() if one is not None}


def now_text() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def read_body(environ: Mapping[str, Any]) -> bytes:
    content: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return content


def json_body(environ: Mapping[str, Any]) -> Any:
    try:
        return json.loads(read_body(environ))
    except ValueError:
        raise Problem(status=400, title="The body is no JSON") from None


def answer(
    start_response: Any, status: int, data: Any, headers: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    content = json.dumps(data).encode()
    length = ("Content-Length", str(len(content)))
    start_response(f"{status} Said", [("Content-Type", "application/json"), length, *headers])
    return [content]
