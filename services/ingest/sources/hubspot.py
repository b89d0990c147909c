"""HubSpot app webhooks and workflow webhooks, signed with v3, v2 or v1.

https://developers.hubspot.com/docs/api/webhooks/validating-requests
https://developers.hubspot.com/docs/api/webhooks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.ingest.bodies import as_text
from services.ingest.forms import moment
from services.ingest.hook import Hook
from services.ingest.json_gate import parse_json
from services.ingest.signatures import FirstPresent, Hmac
from services.ingest.signed_text import Freshness, Template
from services.ingest.source import (
    NUMBER,
    PLAIN,
    Answer,
    Description,
    Identity,
    Option,
    Outcome,
    Raw,
    Setup,
    Source,
)
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.errors import BadPayload

CRM = "hubspot"
MAX_BATCH = 100
V3 = Hmac(
    header="x-hubspot-signature-v3",
    template=Template(
        text="{method}{url}{body}{header:x-hubspot-request-timestamp}", decodes_url=True
    ),
    encoding="base64",
    freshness=Freshness(header="x-hubspot-request-timestamp", unit=1000),
)
V2 = Hmac(
    header="x-hubspot-signature",
    template=Template(text="{secret}{method}{url}{body}"),
    is_keyed=False,
)
V1 = Hmac(header="x-hubspot-signature", template=Template(text="{secret}{body}"), is_keyed=False)
VERIFY = FirstPresent(
    choices=(
        ("x-hubspot-signature-v3", None, V3),
        ("x-hubspot-signature-version", "v2", V2),
        ("x-hubspot-signature-version", "v1", V1),
    )
)
# The plural names of HubSpot's CRM API, and the ids of the newer ``object.*`` form.
PLURALS = {"contact": "contacts", "company": "companies", "deal": "deals", "ticket": "tickets"}
OBJECT_TYPES = {"0-1": "contact", "0-2": "company", "0-3": "deal", "0-5": "ticket"}
CHANGES = {
    "creation": "created",
    "propertyChange": "updated",
    "merge": "merged",
    "restore": "restored",
}
KEY_FIELDS = (
    "portalId",
    "appId",
    "subscriptionId",
    "eventId",
    "objectId",
    "subscriptionType",
    "propertyName",
    "occurredAt",
    "primaryObjectId",
    "newObjectId",
    "fromObjectId",
    "toObjectId",
    "associationType",
    "associationRemoved",
)
FACTS = {
    "changeSource": "change_source",
    "changeFlag": "change_flag",
    "sourceId": "changed_by",
    "portalId": "portal_id",
    "eventId": "event_id",
    "newObjectId": "new_object_id",
}


def split(hook: Hook) -> Sequence[Raw]:
    """A JSON array of up to 100 events; retries repeat the array as a whole."""
    value = parse_json(hook.body)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadPayload("the body must be a JSON array of objects")
    if len(value) > MAX_BATCH:
        raise BadPayload(f"more than {MAX_BATCH} events in one request")
    return value


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """``eventId`` is not unique, so the key holds everything but ``attemptNumber``, the values
    and where the change came from.
    """
    type_ = _type(raw)
    key = ":".join(as_text(raw.get(name, "")) for name in KEY_FIELDS)
    if len(key) > 1000:
        raise BadPayload("the identifying fields are too long")
    return Identity(
        dedup_key=key,
        type=type_,
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(raw.get("occurredAt")),
        record=_record(raw, type_),
    )


def _type(raw: Raw) -> str:
    """``subscriptionType`` in real bodies, ``eventType`` in the documentation's table."""
    value = raw.get("subscriptionType") or raw.get("eventType")
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise BadPayload("an event has no subscriptionType")
    object_, dot, action = value.partition(".")
    named = OBJECT_TYPES.get(str(raw.get("objectTypeId")))
    if object_ == "object" and named:
        return f"{named}{dot}{action}"
    return value


def _record(raw: Raw, type_: str) -> RecordRef | None:
    plural = PLURALS.get(type_.partition(".")[0])
    id_ = raw.get("newObjectId") or raw.get("objectId") or raw.get("primaryObjectId")
    if plural is None or not isinstance(id_, str | int) or isinstance(id_, bool):
        return None
    return RecordRef(crm=CRM, type=plural, id=as_text(id_)[:100])


def describe(raw: Raw, hook: Hook) -> Description:
    """A change made through an app names it; made through the app that sends the webhooks, or the
    one that the endpoint's option names, it is our own.
    """
    name, value = raw.get("propertyName"), raw.get("propertyValue")
    changes: dict[str, Any] = {}
    if isinstance(name, str) and not isinstance(value, dict | list):
        changes[name] = value
    facts = {
        ours: as_text(raw[theirs])
        for theirs, ours in FACTS.items()
        if isinstance(raw.get(theirs), str | int)
    }
    merged = raw.get("mergedObjectIds")
    if isinstance(merged, list):
        facts["merged_object_ids"] = ",".join(as_text(item) for item in merged[:100])
    if change := CHANGES.get(_type(raw).partition(".")[2]):
        facts["change"] = change
    own = hook.options.get("own_app") or as_text(raw.get("appId"))
    if facts.get("change_source") == "INTEGRATION" and facts.get("changed_by") == own:
        facts["own_write"] = "true"
    return Description(changes=changes, facts=facts)


def _each(*actions: str) -> frozenset[str]:
    return frozenset(f"{object_}.{action}" for object_ in PLURALS for action in actions)


SOURCE = Source(
    name="hubspot",
    title="HubSpot",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=_each(*CHANGES),
    ignored=_each("deletion", "privacyDeletion", "associationChange"),
    answers={**PLAIN, Outcome.STORED: Answer(status=204), Outcome.DUPLICATE: Answer(status=204)},
    # CRM cards and workflow actions are signed the same way with any method.
    methods=frozenset({"POST", "GET", "PUT", "PATCH", "DELETE"}),
    setup=Setup(
        screen="your app → Webhooks → Target URL",
        credential="nothing to enter there; copy the app's client secret from Auth to here",
        made_by="vendor",
        form="the client secret as HubSpot shows it",
        options={
            "own_app": Option(
                hint="id of the app that writes for us; the one that sends the webhooks if not set",
                form=NUMBER,
            )
        },
    ),
)
