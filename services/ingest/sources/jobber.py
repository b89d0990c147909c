"""Jobber app webhooks: ids only, signed with the app's OAuth client secret.

https://developer.getjobber.com/docs/using_jobbers_api/setting_up_webhooks
The topics are those of ``WebHookTopicEnum`` in Jobber's GraphQL schema. Jobber waits 1 s for an
answer; the door answers as soon as the event is stored, and reads nothing from Jobber before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.bodies import URLENCODED, as_text, json_or_form
from services.ingest.forms import LONGEST_ID, moment
from services.ingest.hook import Hook
from services.ingest.signatures import Hmac
from services.ingest.signed_text import Template
from services.ingest.source import Description, Identity, Raw, Setup, Source
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.errors import BadPayload

CRM = "jobber"
VERIFY = Hmac(header="x-jobber-hmac-sha256", template=Template(text="{body}"), encoding="base64")
PLURALS = {
    "CLIENT": "clients",
    "PROPERTY": "properties",
    "REQUEST": "requests",
    "QUOTE": "quotes",
    "JOB": "jobs",
    "VISIT": "visits",
}
# What happened beyond these two is a new state of the record.
CHANGES = {"CREATE": "created", "UPDATE": "updated"}
STATES = frozenset({"QUOTE_SENT", "QUOTE_APPROVED", "JOB_CLOSED", "VISIT_COMPLETE"})
HANDLED = frozenset(f"{object_}_{action}" for object_ in PLURALS for action in CHANGES) | STATES
# Money, hours and the vendor's own housekeeping are no business of a proposal.
ASIDE = ("INVOICE", "PAYMENT", "PAYOUT", "PRODUCT_OR_SERVICE", "TIMESHEET", "EXPENSE")
IGNORED = frozenset(
    {
        *(f"{object_}_DESTROY" for object_ in (*PLURALS, *ASIDE)),
        *(f"{object_}_{action}" for object_ in (*ASIDE, "USER") for action in CHANGES),
        "APP_CONNECT",
        "APP_DISCONNECT",
        "MARKETING_ITEM_UPDATE",
        "ON_MY_WAY_TRACKING_LINK_REQUEST",
    }
)
FACTS = {"accountId": "account_id", "appId": "app_id"}


def split(hook: Hook) -> Sequence[Raw]:
    """One event in ``data.webHookEvent``. Apps from before 2022-04-11 send it as a form."""
    body = json_or_form(hook)
    event = _from_form(body) if hook.media_type == URLENCODED else _event(body)
    if not isinstance(event, dict):
        raise BadPayload("the body has no data.webHookEvent")
    return (event,)


def _event(body: Mapping[str, Any]) -> Any:
    data = body.get("data")
    return data.get("webHookEvent") if isinstance(data, dict) else None


def _from_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a form names ``data[webHookEvent][…]``."""
    front = "data[webHookEvent]["
    return {
        key[len(front) : -1]: value
        for key, value in body.items()
        if key.startswith(front) and key.endswith("]")
    }


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """Jobber gives no id of the event, so its four facts are the key; repeats have the same."""
    topic, item = _text(raw, "topic"), _text(raw, "itemId")
    at = raw.get("occurredAt") or raw.get("occuredAt")  # So spelled before 2023-12-08.
    key = ":".join((_text(raw, "accountId"), topic, item, as_text(at or "")))
    if not at or len(key) > 4 * LONGEST_ID:
        raise BadPayload("the event says not when it occurred, or its fields are too long")
    return Identity(
        dedup_key=key,
        type=topic,
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(at),
        record=_record(topic, item),
    )


def _text(raw: Raw, name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise BadPayload(f"the event has no {name}")
    if not 0 < len(as_text(value)) <= LONGEST_ID:
        raise BadPayload(f"{name} of the event is empty or too long")
    return as_text(value)


def _record(topic: str, item: str) -> RecordRef | None:
    plural = PLURALS.get(topic.partition("_")[0])
    return RecordRef(crm=CRM, type=plural, id=item) if plural else None


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """Which record and what kind of change; Jobber tells neither its values nor who made it."""
    facts = {ours: as_text(raw[theirs]) for theirs, ours in FACTS.items() if raw.get(theirs)}
    action = _text(raw, "topic").partition("_")[2]
    return Description(facts={**facts, "change": CHANGES.get(action, "updated")})


SOURCE = Source(
    name="jobber",
    title="Jobber",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=HANDLED,
    ignored=IGNORED,
    kept_headers=("content-type", "content-length"),
    setup=Setup(
        screen="Developer Center → your app → Webhooks → Add webhook: a topic and this URL",
        credential="nothing to enter there; copy the app's OAuth client secret from its page",
        made_by="vendor",
        form="the client secret as Jobber shows it",
    ),
)
