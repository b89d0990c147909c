"""Form-like happenings (Zapier, Make, any signed JSON): one text part per field, and the sender."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.ingest.bodies import as_text, flat, json_or_form
from services.ingest.hook import Hook
from services.ingest.source import Description, Identity, Raw
from shared.canonical import sha256_hex
from shared.domain.event import EventKind, Sender

FORM_TYPE = "form.submitted"
FORM_HEADERS = ("content-type", "content-length", "idempotency-key")
LONGEST_ID = 200
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_EMAIL = frozenset({"email", "emailaddress", "mail", "youremail", "contactemail"})
_PHONE = frozenset({"phone", "phonenumber", "telephone", "tel", "mobile", "mobilephone", "cell"})
_NAME = frozenset({"name", "fullname", "yourname", "contactname", "customername"})
_FIRST = frozenset({"firstname", "givenname", "forename"})
_LAST = frozenset({"lastname", "surname", "familyname"})


def one_form(hook: Hook) -> Sequence[Raw]:
    """The request is one happening. Raises `NotJson` or `BadPayload`."""
    return (json_or_form(hook),)


def identify_form(raw: Raw, hook: Hook) -> Identity:
    """The key is the header ``Idempotency-Key`` we ask for, else that of `identify_signed_form`."""
    key = hook.headers.get("idempotency-key", "")
    return _identity(raw, key[:LONGEST_ID] or _content_key(raw, hook))


def identify_signed_form(raw: Raw, hook: Hook) -> Identity:
    """As `identify_form`, without the header: the signature does not cover it, so a replay with
    another header would count as new.
    """
    return _identity(raw, _content_key(raw, hook))


def _content_key(raw: Raw, hook: Hook) -> str:
    """The sender's ``id`` with a hash of the body, since a mapped id is often the record's and
    comes again with new content; else the hash alone. A repeated step sends the same bytes.
    """
    content = sha256_hex(hook.body)
    given = raw.get("id")
    if isinstance(given, str | int) and as_text(given):
        return f"{as_text(given)[:LONGEST_ID]}#{content}"
    return content


def _identity(raw: Raw, key: str) -> Identity:
    return Identity(
        dedup_key=key,
        type=kind_of(raw, FORM_TYPE),
        kind=EventKind.FORM,
        occurred_at=moment(raw.get("occurred_at") or raw.get("timestamp")),
    )


def describe_form(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """Every scalar as text under its dotted path."""
    parts = flat(raw)
    return Description(parts=parts, sender=sender_of(parts))


def kind_of(raw: Raw, default: str) -> str:
    """The sender's own ``type`` or ``event``, if it is a short text."""
    for key in ("type", "event"):
        value = raw.get(key)
        if isinstance(value, str) and 0 < len(value) <= 100:
            return value
    return default


def sender_of(parts: Mapping[str, str]) -> Sender | None:
    """Who filled it in, by the last words of well-known field names; nobody checked it."""
    found: dict[str, str] = {}
    for path, text in parts.items():
        words = _NOT_WORD.sub("", path.rpartition(".")[2].lower())
        if text.strip():
            found.setdefault(words, text.strip())
    name = _first(found, _NAME) or " ".join(
        filter(None, (_first(found, _FIRST), _first(found, _LAST)))
    )
    email, phone = _first(found, _EMAIL), _first(found, _PHONE)
    if not (name or email or phone):
        return None
    return Sender(name=name or None, email=email, phone=phone)


def _first(found: Mapping[str, str], names: frozenset[str]) -> str | None:
    return next((text for key, text in found.items() if key in names), None)


def moment(value: Any) -> datetime | None:
    """An aware time of an ISO 8601 text or of unix milliseconds or seconds; else none."""
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return parsed.astimezone(UTC) if parsed.tzinfo else None
        if isinstance(value, int) and not isinstance(value, bool):
            seconds = value / 1000 if value > 10**11 else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
