"""SendGrid Inbound Parse: mail as a signed multipart form, taken apart or raw.

https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook
https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.addresses import address_of
from services.ingest.file_types import media_type_of
from services.ingest.form_parts import FormPart, form_parts
from services.ingest.hook import Hook
from services.ingest.mail import Mail, date_of, describe_mail, is_authentic
from services.ingest.mime import Headers, decode_text, read_headers, read_mime
from services.ingest.source import MEBIBYTE, Description, File, Identity, Raw, Setup, Source
from services.ingest.sources.sendgrid_event import KEY_FORM, VERIFY
from shared.canonical import sha256_hex
from shared.domain.event import EventKind, Sender
from shared.errors import BadPayload

MAX_FILES = 100
MAIL_FIELDS = frozenset({"email", "headers", "text", "html", "subject", "from"})
_DKIM = re.compile(r"@([A-Za-z0-9.-]{1,253})\s*:\s*([a-z]+)")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def split(hook: Hook) -> Sequence[Raw]:
    """One mail. Of a field that comes twice the first counts; the signature covers both."""
    fields: dict[str, FormPart] = {}
    files: list[FormPart] = []
    for part in form_parts(hook):
        if part.is_file and part.name not in MAIL_FIELDS:
            files.append(part)
        else:
            fields.setdefault(part.name, part)
    if not MAIL_FIELDS & fields.keys():
        raise BadPayload("the form holds no mail")
    return ({"fields": fields, "files": files},)


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """SendGrid gives no id. A mail's own may be missing or another's, so the hash of its headers
    and its recipients stands behind it; a repeated delivery has the same.
    """
    headers = _headers(raw)
    first = dict(reversed(headers))
    trace = _header_bytes(raw) or _content(raw, "text") or _content(raw, "html")
    recipients = " ".join(sorted(_envelope(raw)["to"]))
    own = sha256_hex(trace + b"\n" + recipients.encode("utf-8", "replace"))
    id_ = first.get("message-id", "")[:200]
    return Identity(
        dedup_key=f"{id_}#{own}" if id_ else own,
        type="mail.received",
        kind=EventKind.MAIL,
        occurred_at=date_of(first.get("date", "")),
        subject=_subject(raw, first)[:500] or None,
    )


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    headers = _headers(raw)
    envelope = _envelope(raw)
    first = dict(reversed(headers))
    name, address = address_of(_text(raw, "from") or first.get("from", ""))
    sender = Sender(name=name, email=address, verified=_verdict(raw, address, envelope["from"]))
    recipient = ", ".join(envelope["to"]) or _text(raw, "to")
    whole = raw["fields"].get("email")
    if whole is not None:
        mail = read_mime(whole.content, recipient=recipient, sender=sender)
    else:
        mail = Mail(
            subject=_subject(raw, first),
            text=_text(raw, "text"),
            html=_text(raw, "html"),
            sender=sender,
            headers=headers,
            recipient=recipient,
            files=_files(raw["files"]),
        )
    return describe_mail(mail.received_from(envelope["from"]))


def _subject(raw: Raw, headers: Mapping[str, str]) -> str:
    return _text(raw, "subject") or headers.get("subject", "")


def _verdict(raw: Raw, address: str | None, envelope_from: str) -> str:
    """What SendGrid found out: ``dkim`` is ``{@example.org : pass}``, ``SPF`` one word."""
    return is_authentic(
        address,
        dkim=dict(_DKIM.findall(_text(raw, "dkim")[:2000])),
        spf=_text(raw, "SPF").strip(),
        envelope_from=envelope_from,
    )


def _envelope(raw: Raw) -> dict[str, Any]:
    """``from`` (empty for a bounce) and ``to`` as SMTP had them."""
    value = _json(_content(raw, "envelope"))
    to = value.get("to")
    recipients = [item for item in to if isinstance(item, str)] if isinstance(to, list) else []
    sender = value.get("from")
    return {"to": recipients[:100], "from": sender if isinstance(sender, str) else ""}


def _headers(raw: Raw) -> Headers:
    return read_headers(decode_text(_header_bytes(raw), ""))


def _header_bytes(raw: Raw) -> bytes:
    """The header block, of the raw mail where there is one."""
    whole = _content(raw, "email")
    return _BLANK_LINE.split(whole, 1)[0] if whole else _content(raw, "headers")


def _text(raw: Raw, name: str) -> str:
    """Each field has a character set of its own, which ``charsets`` names."""
    content = _content(raw, name)
    charset = _json(_content(raw, "charsets")).get(name) if content else None
    return decode_text(content, charset if isinstance(charset, str) else "")


def _content(raw: Raw, name: str) -> bytes:
    part = raw["fields"].get(name)
    return part.content if part is not None else b""


def _files(parts: Sequence[FormPart]) -> tuple[File, ...]:
    return tuple(
        File(
            name=part.filename or part.name or "unnamed",
            media_type=media_type_of(part.content, part.media_type),
            content=part.content,
        )
        for part in parts[:MAX_FILES]
    )


def _json(text: bytes) -> dict[str, Any]:
    """A JSON object inside a field; what is no such is nothing, since the mail itself is there."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


SOURCE = Source(
    name="sendgrid-inbound",
    title="SendGrid inbound mail",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({"mail.received"}),
    max_bytes=35 * MEBIBYTE,
    keep_days=30,
    kept_headers=("content-type", "content-length"),
    setup=Setup(
        screen="Settings → Inbound Parse → Add Host & URL → Destination URL",
        credential="attach a security policy with a signature to the parse setting (Parse webhook "
        "security policies in the API) and copy its public key to here; unsigned mail is refused",
        made_by="vendor",
        form=KEY_FORM,
    ),
)
