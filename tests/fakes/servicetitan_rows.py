"""Rows as ServiceTitan gives them, for its double."""

from __future__ import annotations

from typing import Any

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
