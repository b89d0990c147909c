"""Mailgun Routes: mail as a form, taken apart or raw. Its signature does not cover the mail.

https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.ingest.addresses import address_of
from services.ingest.file_types import media_type_of
from services.ingest.form_parts import FormPart, form_parts
from services.ingest.hook import Hook
from services.ingest.mail import LONGEST_FACT, Mail, date_of, describe_mail
from services.ingest.mime import Headers, decode_text, decode_words, read_headers, read_mime
from services.ingest.signed_fields import NAMES, Given, SignedFields
from services.ingest.source import (
    MEBIBYTE,
    PLAIN,
    Answer,
    Description,
    File,
    Identity,
    Outcome,
    Raw,
    Setup,
    Source,
)
from shared.domain.event import EventKind, Sender
from shared.errors import BadPayload

MAX_FILES = 100
MAX_HEADERS = 300
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
# Mailgun, Receive HTTP: 406 ends the tries. What can never be read is not sent for eight hours.
NOT_AGAIN = Answer(status=406, body="This cannot be read; it was kept. Do not send it again.")
TOO_LARGE = Answer(status=406, body="This is too large. Do not send it again.")
ANSWERS: Mapping[Outcome, Answer] = {
    **PLAIN,
    Outcome.NOT_JSON: NOT_AGAIN,
    Outcome.BAD_PAYLOAD: NOT_AGAIN,
    Outcome.TOO_LARGE: TOO_LARGE,
}
SETUP_KEY = "nothing to enter there; copy the “HTTP webhook signing key” (not the API key) to here"


def signed_fields(hook: Hook) -> Given:
    """The three fields of the form, under ``signature[]`` too: no such spelling gets past."""
    found: dict[str, list[str | None]] = {}
    for part in form_parts(hook):
        name, bracket, _ = part.name.partition("[")
        if name in NAMES:
            is_text = not bracket and not part.is_file
            found.setdefault(name, []).append(_ascii(part.content) if is_text else None)
    return found


def _ascii(content: bytes) -> str | None:
    return content.decode("ascii") if content.isascii() else None


VERIFY = SignedFields(read=signed_fields)


def split(hook: Hook) -> Sequence[Raw]:
    fields: dict[str, FormPart] = {}
    files: list[FormPart] = []
    for part in form_parts(hook):
        if part.is_file and part.name != "body-mime":
            files.append(part)
        else:
            fields.setdefault(part.name, part)
    return ({"fields": fields, "files": files},)


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """The token is the key, whatever stands beside it: a second mail under it is a repeat.

    So nothing in here may fail for what the mail looks like; that would leave the token unused.
    """
    first = dict(reversed(_headers(raw)))
    return Identity(
        dedup_key=_text(raw, "token"),
        type="mail.received",
        kind=EventKind.MAIL,
        occurred_at=date_of(first.get("date", "") or _text(raw, "Date")),
        subject=(_text(raw, "subject") or first.get("subject", ""))[:500] or None,
    )


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """Nothing in it is signed, so no verdict on SPF or DKIM in it is believed. A mail that Mailgun
    stored comes with its address there, which is kept as a fact and never fetched.
    """
    whole = _content(raw, "body-mime")
    recipient = _text(raw, "recipient")
    mail = read_mime(whole, recipient=recipient) if whole else _parsed(raw, recipient)
    said = describe_mail(mail.received_from(_text(raw, "sender")))
    link = _text(raw, "message-url")[:LONGEST_FACT]
    return replace(said, facts={**said.facts, "message_url": link}) if link else said


def _parsed(raw: Raw, recipient: str) -> Mail:
    headers = _headers(raw)
    first = dict(reversed(headers))
    text, html = _text(raw, "body-plain"), _text(raw, "body-html")
    if not (text or html or headers):
        raise BadPayload("the form holds no mail")
    name, address = address_of(decode_words(_text(raw, "from")) or first.get("from", ""))
    return Mail(
        subject=decode_words(_text(raw, "subject")) or first.get("subject", ""),
        text=text,
        html=html,
        sender=Sender(name=name, email=address),
        headers=headers,
        recipient=recipient,
        files=_files(raw["files"]),
    )


def _headers(raw: Raw) -> Headers:
    """Of the raw mail, or ``message-headers``: a JSON list of pairs."""
    whole = _content(raw, "body-mime")
    if whole:
        return read_headers(decode_text(_BLANK_LINE.split(whole, 1)[0], ""))
    return tuple(
        (name.strip().lower(), decode_words(value))
        for name, value in _pairs(_content(raw, "message-headers"))
    )


def _pairs(text: bytes) -> list[tuple[str, str]]:
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    pairs = given[:MAX_HEADERS] if isinstance(given, list) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)
    ]


def _files(parts: Sequence[FormPart]) -> tuple[File, ...]:
    return tuple(
        File(
            name=part.filename or part.name or "unnamed",
            media_type=media_type_of(part.content, part.media_type),
            content=part.content,
        )
        for part in parts[:MAX_FILES]
    )


def _text(raw: Raw, name: str) -> str:
    """Mailgun transcodes every field to UTF-8."""
    return decode_text(_content(raw, name), "utf-8")


def _content(raw: Raw, name: str) -> bytes:
    part = raw["fields"].get(name)
    return part.content if part is not None else b""


SOURCE = Source(
    name="mailgun-routes",
    title="Mailgun inbound mail",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({"mail.received"}),
    answers=ANSWERS,
    max_bytes=35 * MEBIBYTE,
    keep_days=30,
    kept_headers=("content-type", "content-length"),
    setup=Setup(
        screen="Receiving → Create route → Forward → this address (mail comes raw to an endpoint "
        "whose name ends in mime)",
        credential=SETUP_KEY,
        made_by="vendor",
        form="the HTTP webhook signing key",
    ),
)
