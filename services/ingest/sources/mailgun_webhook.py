"""Mailgun event webhooks: what became of the mails we sent, as JSON with the signature inside.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.ingest.bodies import as_text, flat, json_object
from services.ingest.forms import moment
from services.ingest.hook import Hook
from services.ingest.signed_fields import NAMES, Given, SignedFields
from services.ingest.source import Description, Identity, Raw, Setup, Source
from services.ingest.sources.mailgun_routes import ANSWERS, SETUP_KEY
from shared.domain.event import EventKind, Sender

UNKNOWN = "unknown"


def signed_fields(hook: Hook) -> Given:
    """The object ``signature``; a number counts as its text, anything else as no text."""
    block = json_object(hook).get("signature")
    if not isinstance(block, dict):
        return {}
    return {name: [_plain(block[name])] for name in NAMES if name in block}


def _plain(value: Any) -> str | None:
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    return as_text(value) if is_text else None


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """The token is the key: the signature covers nothing else, so another event under it is a
    repeat, and nothing in here may fail for what the event looks like.
    """
    data = _data(raw)
    type_ = data.get("event")
    return Identity(
        dedup_key=as_text(raw["signature"]["token"]),
        type=type_ if isinstance(type_, str) and 0 < len(type_) <= 100 else UNKNOWN,
        kind=EventKind.MESSAGE,
        occurred_at=_moment(data.get("timestamp")),
    )


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """The sender is the person the mail went to: it is that record the news is about."""
    data = _data(raw)
    address = data.get("recipient")
    message = data.get("message")
    headers = message.get("headers") if isinstance(message, dict) else None
    id_ = headers.get("message-id") if isinstance(headers, dict) else None
    return Description(
        parts=flat(data),
        sender=Sender(email=address) if isinstance(address, str) and address else None,
        facts={"message_id": id_} if isinstance(id_, str) and id_ else {},
    )


def _data(raw: Raw) -> dict[str, Any]:
    data = raw.get("event-data")
    return data if isinstance(data, dict) else {}


def _moment(value: Any) -> Any:
    """Seconds with a fraction, which the gate hands on as text."""
    whole, _, fraction = value.partition(".") if isinstance(value, str) else ("", "", "")
    if whole.isascii() and whole.isdigit() and len(whole) <= 10 and (fraction or "0").isdigit():
        return moment(int(whole))
    return moment(value)


SOURCE = Source(
    name="mailgun-webhook",
    title="Mailgun event webhook",
    verify=SignedFields(read=signed_fields),
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({"complained", "failed", "rejected", "unsubscribed"}),
    # A mail that arrives, is opened or clicked changes nothing that a person would approve.
    ignored=frozenset({"accepted", "clicked", "delivered", "opened", "stored"}),
    answers=ANSWERS,
    setup=Setup(
        screen="Sending → Webhooks → Add webhook (failures, spam complaints, unsubscribes)",
        credential=SETUP_KEY,
        made_by="vendor",
        form="the HTTP webhook signing key",
    ),
)
