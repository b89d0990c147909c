"""Postmark Inbound: mail as JSON, unsigned, so Basic authentication in the webhook's URL.

https://postmarkapp.com/developer/webhooks/inbound-webhook
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from services.ingest.addresses import address_of
from services.ingest.bodies import json_object
from services.ingest.file_types import media_type_of
from services.ingest.hook import Hook
from services.ingest.mail import Mail, date_of, describe_mail
from services.ingest.signatures import Basic
from services.ingest.source import (
    MEBIBYTE,
    WITH_BASIC,
    Description,
    File,
    Identity,
    Raw,
    Setup,
    Source,
)
from shared.domain.event import EventKind, Sender
from shared.errors import BadPayload

MAX_FILES = 100


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """``MessageID`` is Postmark's own id of the delivery, not the mail's header."""
    id_ = raw.get("MessageID")
    if not isinstance(id_, str) or not 0 < len(id_) <= 200:
        raise BadPayload("the mail has no MessageID")
    return Identity(
        dedup_key=id_,
        type="mail.received",
        kind=EventKind.MAIL,
        occurred_at=date_of(_text(raw, "Date")),
        subject=_text(raw, "Subject")[:500] or None,
    )


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """Postmark names no header of its own for SPF, DKIM or DMARC, so no sender is verified."""
    headers = _headers(raw.get("Headers"))
    mail = Mail(
        subject=_text(raw, "Subject"),
        text=_text(raw, "TextBody"),
        html=_text(raw, "HtmlBody"),
        sender=_sender(raw),
        headers=headers,
        recipient=_text(raw, "OriginalRecipient"),
        files=_files(raw.get("Attachments")),
    )
    return describe_mail(mail)


def _sender(raw: Raw) -> Sender:
    full = raw.get("FromFull")
    if isinstance(full, dict):
        return Sender(name=_text(full, "Name") or None, email=_text(full, "Email") or None)
    name, email = address_of(_text(raw, "From"))
    return Sender(name=name, email=email)


def _headers(given: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list):
        return ()
    pairs = (
        (_text(item, "Name"), _text(item, "Value")) for item in given if isinstance(item, dict)
    )
    return tuple((name.lower(), value) for name, value in pairs if name)


def _files(given: Any) -> tuple[File, ...]:
    """Attachments; test posts of Postmark carry ``Data`` in place of ``Content``."""
    if not isinstance(given, list):
        return ()
    items = [item for item in given[:MAX_FILES] if isinstance(item, dict)]
    return tuple(map(_file, items))


def _file(item: Raw) -> File:
    content = _decoded(_text(item, "Content") or _text(item, "Data"))
    return File(
        name=_text(item, "Name")[:200] or "unnamed",
        media_type=media_type_of(content, _text(item, "ContentType")),
        content=content,
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPayload("an attachment is not base64") from error


def _text(raw: Raw, name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


SOURCE = Source(
    name="postmark-inbound",
    title="Postmark inbound mail",
    verify=Basic(),
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({"mail.received"}),
    answers=WITH_BASIC,
    max_bytes=35 * MEBIBYTE,
    keep_days=30,
    setup=Setup(
        screen="Server → Inbound message stream → Settings → Webhook",
        credential="the URL with the credentials in it: https://user:password@…",
        form="user:password",
    ),
)
