"""The demonstration's webhooks of CRM vendors, signed as each vendor signs them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Secrets = Mapping[str, str]
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Post:
    """One request: ``what`` is what it shows, in words for the person who watches."""

    what: str
    source: str
    body: bytes
    headers: Mapping[str, str]
    endpoint: str = "demo"

    @property
    def path(self) -> str:
        return f"/hooks/{self.source}/{self.endpoint}".rstrip("/")


def crm_posts(secrets: Secrets, run: str) -> list[Post]:
    """One of each vendor. ``run`` makes their ids new."""
    number = int(hashlib.sha256(run.encode()).hexdigest()[:7], 16)
    return [
        _pipedrive(secrets["pipedrive"], number),
        _pipedrive_v1(secrets["pipedrive"], number),
        _jobber(secrets["jobber"], number),
        _servicetitan(secrets["servicetitan"], number),
        _salesforce_message(secrets["salesforce-outbound-message"], number),
        _salesforce_flow(secrets["salesforce-callout"], number),
        _salesforce_apex(secrets["salesforce-callout"], number),
    ]


def _pipedrive(secret: str, number: int) -> Post:
    """Webhooks v2 by HTTP Basic: pipedrive.readme.io/docs/guide-for-webhooks-v2."""
    body = {
        "meta": {
            "action": "change",
            "entity": "person",
            "company_id": "77",
            "entity_id": "179",
            "id": f"6f1d0c52-0000-4000-8000-{number:012d}",
            "timestamp": _now(),
            "type": "general",
            "user_id": "9",
            "version": "2.0",
            "webhook_id": "31",
            "webhook_owner_id": "9",
            "change_source": "app",
            "attempt": 1,
            "host": "company.pipedrive.com",
        },
        "data": {
            "id": 179,
            "name": "Dana Miller",
            "phones": [{"value": "+12025550186", "primary": True, "label": "work"}],
        },
        "previous": {"phones": [{"value": "+12025550101", "primary": True, "label": "work"}]},
    }
    return with_basic("A phone number changed in Pipedrive", "pipedrive", secret, body)


def _pipedrive_v1(secret: str, number: int) -> Post:
    """Webhooks v1, which have no id of the event: pipedrive.readme.io/docs/guide-for-webhooks."""
    micro = time.time_ns() // 1000
    body = {
        "v": 1,
        "meta": {
            "v": 1,
            "action": "updated",
            "object": "deal",
            "change_source": "app",
            "id": number,
            "company_id": 77,
            "user_id": 9,
            "timestamp": micro // 10**6,
            "timestamp_micro": micro,
            "webhook_id": 30,
        },
        "retry": 0,
        "current": {"id": number, "title": "New roof", "stage_id": 428},
        "previous": {"id": number, "title": "New roof", "stage_id": 427},
        "event": "updated.deal",
    }
    return with_basic("A deal moved in Pipedrive, told by v1", "pipedrive", secret, body)


def _jobber(secret: str, number: int) -> Post:
    """Ids only, base64 HMAC: developer.getjobber.com, Setting up Webhooks."""
    item = base64.b64encode(f"gid://Jobber/Client/{number}".encode()).decode()
    event = {
        "topic": "CLIENT_UPDATE",
        "appId": "3ef22a50-072d-430c-a78f-b7646657560b",
        "accountId": "MTA0NA==",
        "itemId": item,
        "occurredAt": _now(),
    }
    body = as_json({"data": {"webHookEvent": event}})
    mac = hmac.digest(secret.encode(), body, "sha256")
    return Post(
        what="A client was changed in Jobber",
        source="jobber",
        body=body,
        headers={**JSON, "X-Jobber-Hmac-SHA256": base64.b64encode(mac).decode()},
    )


def _servicetitan(secret: str, number: int) -> Post:
    """Hex HMAC in the default header: developer-next.servicetitan.io/docs/webhooks."""
    data = {"id": number, "summary": "Two leaks", "modifiedOn": _now()}
    body = as_json({"eventType": "job.completed", "tenantId": 1234567890, "data": data})
    return Post(
        what="A job was completed in ServiceTitan",
        source="servicetitan",
        body=body,
        headers={
            **JSON,
            "X-ServiceTitan-Signature": hmac.digest(secret.encode(), body, "sha256").hex(),
        },
    )


def _salesforce_message(organisation: str, number: int) -> Post:
    """Two notifications in one envelope: developer.salesforce.com, Outbound Messaging."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{organisation}</OrganizationId>"
        "<ActionId>04k24000000L1x2AAC</ActionId>"
        '<SessionId xsi:nil="true"/>'
        f"{_notification(number, 0, 'Closed Won')}{_notification(number, 1, 'Closed Lost')}"
        "</notifications></soapenv:Body></soapenv:Envelope>"
    )
    return Post(
        what="Two opportunities were closed in Salesforce",
        source="salesforce-outbound-message",
        body=body.encode(),
        headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'},
    )


def _notification(number: int, place: int, stage: str) -> str:
    return (
        f"<Notification><Id>04l24{place}{number:09d}AAA</Id>"
        '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        f"<sf:Id>00624{place}{number:09d}AAA</sf:Id><sf:StageName>{stage}</sf:StageName>"
        f"<sf:LastModifiedDate>{_now()}</sf:LastModifiedDate></sObject></Notification>"
    )


def _salesforce_flow(token: str, number: int) -> Post:
    """A flow's HTTP callout with the header of its external credential: help.salesforce.com."""
    contact = {
        "object": "Contact",
        "id": f"00324{number:010d}AAA",
        "fields": {"Phone": "+1 202 555 0186", "SystemModstamp": _now()},
    }
    return Post(
        what="A Salesforce flow tells of a contact",
        source="salesforce-callout",
        body=as_json(contact),
        headers={**JSON, "X-Ingest-Token": token},
    )


def _salesforce_apex(secret: str, number: int) -> Post:
    """``JSON.serialize(record)`` and a hex HMAC: developer.salesforce.com, Crypto class."""
    id_ = f"00Q24{number:010d}AAA"
    lead = {
        "attributes": {"type": "Lead", "url": f"/services/data/v67.0/sobjects/Lead/{id_}"},
        "Id": id_,
        "LastName": "Riley",
        "Company": "Riley Interiors",
        "SystemModstamp": _now(),
    }
    body, stamp = as_json(lead), str(int(time.time()))
    mac = hmac.digest(secret.encode(), f"{stamp}.".encode() + body, "sha256").hex()
    return Post(
        what="An Apex trigger tells of a lead, signed",
        source="salesforce-callout",
        body=body,
        headers={**JSON, "X-Ingest-Timestamp": stamp, "X-Ingest-Signature": mac},
    )


def with_basic(what: str, source: str, secret: str, body: Mapping[str, Any]) -> Post:
    credentials = base64.b64encode(secret.encode()).decode()
    headers = {**JSON, "Authorization": f"Basic {credentials}"}
    return Post(what=what, source=source, body=as_json(body), headers=headers)


def as_json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
