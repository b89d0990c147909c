"""Salesforce outbound messages: SOAP, unsigned, so a secret path and the pinned organisation.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging.htm
An address of Salesforce proves little, since every customer can aim a message at any URL: the
organisation in each message is compared, and the endpoint's name cannot be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.ingest.hook import Endpoint, Hook
from services.ingest.signed_text import VERIFIED, Reason, Verdict
from services.ingest.sobject import (
    OWN_USER,
    PLURALS,
    changed_at,
    described,
    is_id,
    record_of,
    same_id,
)
from services.ingest.source import (
    PLAIN,
    WHY_ASIDE,
    Answer,
    Description,
    Identity,
    Outcome,
    Raw,
    Setup,
    Source,
)
from services.ingest.xml_gate import Element, parse_xml
from shared.domain.event import EventKind
from shared.domain.schema import Scalar
from shared.errors import BadPayload, Rejected

MAX_NOTIFICATIONS = 100
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/}"
_OUT = "http://soap.sforce.com/2005/09/outbound}"
_XSI = "http://www.w3.org/2001/XMLSchema-instance}"
ACK = Answer(
    status=200,
    content_type="text/xml; charset=UTF-8",
    body='<?xml version="1.0" encoding="UTF-8"?>\n'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">\n'
    "  <soapenv:Body>\n"
    '    <notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound">\n'
    "      <Ack>true</Ack>\n"
    "    </notificationsResponse>\n"
    "  </soapenv:Body>\n"
    "</soapenv:Envelope>",
)


def verify(hook: Hook, endpoint: Endpoint) -> Verdict:
    """The secrets are organisation ids, of which the first 15 characters count."""
    pinned = [secret for secret in endpoint.secrets if is_id(secret)]
    if not pinned:
        return Verdict(Reason.NO_SECRET, "this endpoint has no organisation id")
    try:
        message = _message(hook)
        if not any(message.all(f"{_OUT}OrganizationId")):
            return Verdict(Reason.MISSING, "OrganizationId is missing")
        organisation = message.only(f"{_OUT}OrganizationId").text
    except Rejected as error:
        # The parser has refused it; which class that is may be read from the bytes.
        is_policy = b"<!DOCTYPE" in hook.body
        return Verdict(Reason.POLICY if is_policy else Reason.MALFORMED, str(error))
    if not is_id(organisation):
        return Verdict(Reason.MALFORMED, "OrganizationId is not an id")
    matches = [same_id(organisation, one) for one in pinned]
    if any(matches):
        return VERIFIED
    return Verdict(Reason.POLICY, "OrganizationId is not the configured one")


def _message(hook: Hook) -> Element:
    """``notifications`` of the envelope. Raises `BadPayload`."""
    envelope = parse_xml(hook.body)
    if envelope.name != f"{_SOAP}Envelope":
        raise BadPayload("the body is not a SOAP 1.1 envelope")
    return envelope.only(f"{_SOAP}Body").only(f"{_OUT}notifications")


def split(hook: Hook) -> Sequence[Raw]:
    """One to a hundred notifications; all are stored in one commit, or none is acknowledged."""
    message = _message(hook)
    notifications = list(message.all(f"{_OUT}Notification"))
    if not 1 <= len(notifications) <= MAX_NOTIFICATIONS:
        raise BadPayload(f"a message has one to {MAX_NOTIFICATIONS} notifications")
    action = message.only(f"{_OUT}ActionId").text
    return [_notification(one, action) for one in notifications]


def _notification(one: Element, action: str) -> dict[str, Any]:
    sobject = one.only(f"{_OUT}sObject")
    kind = sobject.attributes.get(f"{_XSI}type", "").rpartition(":")[2]
    fields: dict[str, Scalar] = {}
    for child in sobject.children:
        if child.local_name in fields:
            raise BadPayload("a field is repeated")
        is_nil = child.attributes.get(f"{_XSI}nil") in {"true", "1"}
        fields[child.local_name] = None if is_nil else child.text
    return {"id": one.only(f"{_OUT}Id").text, "action": action, "kind": kind, "fields": fields}


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """``Notification/Id`` is the same on every retry, which may come even after an ``Ack``."""
    id_, kind, record = raw["id"], raw["kind"], raw["fields"].get("Id")
    if not is_id(id_) or not is_id(record) or not 0 < len(kind) <= 80:
        raise BadPayload("a notification has no Id, or its record no type or Id")
    return Identity(
        dedup_key=id_,
        type=kind,
        kind=EventKind.RECORD_CHANGE,
        occurred_at=changed_at(raw["fields"]),
        record=record_of(kind, record),
    )


def describe(raw: Raw, hook: Hook) -> Description:
    """The chosen fields as they were when it was sent, which is later than the change."""
    said = described(raw["fields"], hook.options.get("own_user"))
    more = {"notification_id": raw["id"], "action_id": raw["action"]}
    return Description(changes=said.changes, facts={**said.facts, **more})


SOURCE = Source(
    name="salesforce-outbound-message",
    title="Salesforce outbound message",
    verify=verify,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset(PLURALS),
    answers={**PLAIN, **dict.fromkeys((Outcome.STORED, Outcome.DUPLICATE, *WHY_ASIDE), ACK)},
    setup=Setup(
        screen="Setup → Workflow Actions → Outbound Messages → New → Endpoint URL",
        credential="nothing to enter there; leave “Send Session ID” off; choose LastModifiedById, "
        "LastModifiedDate and CreatedDate too. Here: the Organization ID of Setup → Company "
        "Information",
        made_by="vendor",
        form="00D…, the Organization ID",
        options={"own_user": OWN_USER},
        has_secret_path=True,
    ),
)
