"""How each CRM tells that a field of a record has a new value: its webhook, signed, as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from services.ingest.sources import salesforce_outbound_message
from tests.hostile.signing import Request, of_bytes, secret_for

Told = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class News:
    """That ``field`` of the record ``id`` is ``value`` now; ``number`` makes it unlike others."""

    number: int
    id: str
    field: str
    value: Any
    at: datetime


def _hubspot(news: News) -> Any:
    """Every value as text, nothing as the empty text."""
    return [
        {
            "eventId": news.number,
            "subscriptionId": 7,
            "portalId": 62515,
            "appId": 54321,
            "occurredAt": _milliseconds(news),
            "subscriptionType": "contact.propertyChange",
            "attemptNumber": 0,
            "objectId": int(news.id),
            "propertyName": news.field,
            "propertyValue": as_text(news.value),
            "changeSource": "CRM_UI",
            "sourceId": "userId:42",
        }
    ]


def _pipedrive(news: News) -> Any:
    return {
        "meta": {
            "action": "change",
            "entity": "person",
            "entity_id": news.id,
            "id": f"6f1d0c52-0000-4000-8000-{news.number:012d}",
            "webhook_id": "31",
            "timestamp": _iso(news),
        },
        "data": {"id": int(news.id), "custom_fields": {news.field: news.value}},
        "previous": {"custom_fields": {news.field: "what it was"}},
    }


def _pipedrive_v1(news: News) -> Any:
    micro = _milliseconds(news) * 1000 + news.number % 1000
    return {
        "v": 1,
        "meta": {
            "action": "updated",
            "object": "person",
            "id": int(news.id),
            "timestamp": micro // 10**6,
            "timestamp_micro": micro,
            "webhook_id": 30,
        },
        "retry": 0,
        "current": {"id": int(news.id), news.field: news.value, "name": "Ann"},
        "previous": {"id": int(news.id), news.field: "what it was", "name": "Ann"},
        "event": "updated.person",
    }


def _servicetitan(news: News) -> Any:
    data = {"id": int(news.id), news.field: news.value, "modifiedOn": _iso(news)}
    return {"eventType": "customer.updated", "tenantId": 1, "number": news.number, "data": data}


def _callout(news: News) -> Any:
    fields = {news.field: news.value, "SystemModstamp": _iso(news), "Number": news.number}
    return {"object": "Contact", "id": news.id, "fields": fields}


def _jobber(news: News) -> Any:
    """Which record, and no value."""
    event = {
        "topic": "CLIENT_UPDATE",
        "appId": "a",
        "accountId": f"MTA0{news.number}",
        "itemId": news.id,
        "occurredAt": _iso(news),
    }
    return {"data": {"webHookEvent": event}}


def _demo(news: News) -> Any:
    changes = {news.field: {"old": "what it was", "new": news.value}}
    data = {"object": "contacts", "id": news.id, "changes": changes, "number": news.number}
    return {"type": "contact.updated", "timestamp": _iso(news), "data": data}


def _outbound_message(news: News) -> bytes:
    """Every value as text, nothing as nil."""
    text = escape(as_text(news.value))
    nil = f'<sf:{news.field} xsi:nil="true"/>'
    field = nil if news.value is None else f"<sf:{news.field}>{text}</sf:{news.field}>"
    return (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{secret_for(salesforce_outbound_message.SOURCE.name)}</OrganizationId>"
        f"<ActionId>04k24000000L1x2AAC</ActionId><Notification><Id>04l24{news.number:010d}AAA</Id>"
        '<sObject xsi:type="sf:Contact" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        f"<sf:Id>{news.id}</sf:Id>{field}<sf:LastModifiedDate>{_iso(news)}</sf:LastModifiedDate>"
        "</sObject></Notification></notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


@dataclass(frozen=True, kw_only=True)
class Teller:
    """``ids`` makes a record's id of a number; ``tells_values`` is false where none are sent."""

    source: str
    crm: str
    object: str
    body: Callable[[News], Any]
    ids: Callable[[int], str] = str
    tells_values: bool = True

    def request(self, news: News) -> Request:
        body = self.body(news)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return of_bytes(self.source, content, news.number, int(news.at.timestamp()))


def _salesforce_id(number: int) -> str:
    return f"0032400000{number:05d}AAA"


TELLERS: Mapping[str, Teller] = {
    "hubspot": Teller(source="hubspot", crm="hubspot", object="contacts", body=_hubspot),
    "salesforce outbound message": Teller(
        source="salesforce-outbound-message",
        crm="salesforce",
        object="contacts",
        body=_outbound_message,
        ids=_salesforce_id,
    ),
    "salesforce callout": Teller(
        source="salesforce-callout",
        crm="salesforce",
        object="contacts",
        body=_callout,
        ids=_salesforce_id,
    ),
    "pipedrive v1": Teller(
        source="pipedrive", crm="pipedrive", object="persons", body=_pipedrive_v1
    ),
    "pipedrive v2": Teller(source="pipedrive", crm="pipedrive", object="persons", body=_pipedrive),
    "jobber": Teller(
        source="jobber", crm="jobber", object="clients", body=_jobber, tells_values=False
    ),
    "servicetitan": Teller(
        source="servicetitan", crm="servicetitan", object="customers", body=_servicetitan
    ),
    "demo": Teller(source="demo-crm", crm="demo", object="contacts", body=_demo),
}


def as_text(value: Any) -> str:
    """As HubSpot and SOAP write any value."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _milliseconds(news: News) -> int:
    return int(news.at.timestamp() * 1000)


def _iso(news: News) -> str:
    return news.at.astimezone(UTC).isoformat(timespec="milliseconds")
