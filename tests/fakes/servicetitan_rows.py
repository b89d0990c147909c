"""Rows as ServiceTitan gives, sorts and filters them, for its double."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.servicetitan_bodies import Body, Problem

CUSTOMER: dict[str, Any] = {
    "type": "Residential",
    "active": True,
    "balance": 12.5,
    "doNotMail": False,
    "doNotService": False,
    "createdById": 9,
    "mergedToId": None,
    "tagTypeIds": [3, 4],
    "customFields": [],
    "externalData": [],
    "address": {
        "street": "1 Main Street",
        "unit": None,
        "city": "Austin",
        "state": "TX",
        "zip": "78701",
        "country": "USA",
        "latitude": 30.2672,
        "longitude": -97.7431,
    },
}
JOB: dict[str, Any] = {
    "locationId": 2,
    "appointmentCount": 1,
    "firstAppointmentId": 6,
    "lastAppointmentId": 6,
    "notificationsEnabled": True,
    "jobStatus": "Scheduled",
    "total": 99.9,
    "businessUnitId": 3,
    "jobTypeId": 4,
    "priority": "Normal",
    "campaignId": 5,
    "summary": "Leaking pipe",
    "customFields": [],
    "noCharge": False,
    "createdById": 9,
    "soldById": None,
    "membershipId": None,
    "invoiceId": 8,
    "customerPo": "",
    "jobGeneratedLeadSource": None,
    "tagTypeIds": [],
    "externalData": [],
}
LEAD_ROW: dict[str, Any] = {
    "status": "Open",
    "businessUnitId": 3,
    "jobTypeId": 4,
    "priority": "Normal",
    "campaignId": 5,
    "summary": "Wants a new heater",
    "followUpDate": None,
    "createdById": 9,
    "leadUrl": "https://go.example.com/lead",
}


def custom_fields(kept: list[Any], given: list[Any]) -> list[dict[str, Any]]:
    named = [{"name": f"field {one['typeId']}", **one} for one in given]
    return list({one["typeId"]: one for one in [*kept, *named]}.values())


def in_order(rows: list[dict[str, Any]], order: str) -> list[dict[str, Any]]:
    """``+Field`` or ``-Field`` of the three that the vendor sorts by; a plus may come as a space."""
    names = {"Id": "id", "ModifiedOn": "modifiedOn", "CreatedOn": "createdOn"}
    if not order:
        return rows
    if order[0] not in "+- " or order[1:] not in names:
        raise Problem(status=400, title="Bad request", errors={"sort": ["cannot be sorted by"]})
    return sorted(rows, key=lambda row: row[names[order[1:]]], reverse=order[0] == "-")


def matches(row: Mapping[str, Any], query: Body) -> bool:
    since = query.get("createdOnOrAfter")
    if since and row["createdOn"] < since:
        return False
    if "name" in query and query["name"].lower() not in row["name"].lower():
        return False
    named = {"number": "jobNumber", "externalId": "externalId", "customerId": "customerId"}
    return all(str(row.get(of)) == query[name] for name, of in named.items() if name in query)
