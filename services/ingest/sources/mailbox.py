"""Mail of a mailbox, as it lies on an IMAP server: fetched by us, never posted to the door.

https://www.rfc-editor.org/rfc/rfc5322 (the mail), rfc8601 (what the receiving host found out)
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Sequence
from dataclasses import replace
from email.message import Message
from email.parser import BytesHeaderParser

from services.ingest.authentication_results import verdict_of
from services.ingest.hook import Endpoint, Hook
from services.ingest.mail import date_of, describe_mail
from services.ingest.mime import headers_of, read_mime
from services.ingest.signed_text import Reason, Verdict
from services.ingest.source import MEBIBYTE, Description, Identity, Raw, Setup, Source
from shared.canonical import sha256_hex
from shared.domain.event import EventKind
from shared.errors import BadPayload

TRUSTED_HOST = "trusted_host"
ADDRESS = "address"
# Of the headers that the author's program writes; those of the way differ from copy to copy.
AUTHORED = frozenset({"from", "to", "cc", "date", "subject"})
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def verify(_: Hook, __: Endpoint) -> Verdict:
    """Whoever posts a mail here is refused: mails are fetched."""
    return Verdict(Reason.POLICY, "mails of a mailbox are fetched and never posted")


def split(hook: Hook) -> Sequence[Raw]:
    """One mail. Raises `BadPayload` where none of the headers is there that every mail has."""
    message = _headers_of(hook.body)
    if not any(name in message for name in ("from", "date", "message-id", "subject", "to")):
        raise BadPayload("the bytes are no mail: no From, no To, no Date, no Subject, no id")
    return ({"message": message},)


def identify(raw: Raw, hook: Hook) -> Identity:
    """The mail's own id may be missing or another's, so the hash of what its author wrote stands
    behind it: a second copy has the same, on whatever way and in whatever folder it came.
    """
    first = dict(reversed(headers_of(raw["message"])))
    own = sha256_hex(_authored(raw["message"], hook.body))
    id_ = first.get("message-id", "")[:200]
    return Identity(
        dedup_key=f"{id_}#{own}" if id_ else own,
        type="mail.received",
        kind=EventKind.MAIL,
        occurred_at=date_of(first.get("date", "")),
        subject=first.get("subject", "")[:500] or None,
    )


def describe(raw: Raw, hook: Hook) -> Description:
    """``From`` is verified only by the host that the mailbox's settings name."""
    mail = read_mime(hook.body)
    first = dict(reversed(mail.headers))
    verdict = verdict_of(raw["message"], hook.options.get(TRUSTED_HOST, ""), mail.sender.email)
    return describe_mail(
        replace(
            mail,
            sender=replace(mail.sender, verified=verdict),
            recipient=first.get("delivered-to") or hook.options.get(ADDRESS, ""),
        )
    )


def _headers_of(body: bytes) -> Message:
    try:
        return BytesHeaderParser(policy=email.policy.compat32).parsebytes(body)
    except (RecursionError, ValueError, LookupError) as error:
        raise BadPayload("the mail's headers cannot be read") from error


def _authored(message: Message, body: bytes) -> bytes:
    lines = sorted(
        f"{name.lower()}:{' '.join(value.split())}\n"
        for name, value in message.raw_items()
        if name.lower() in AUTHORED
    )
    written = _BLANK_LINE.split(body, maxsplit=1)[-1].replace(b"\r\n", b"\n")
    return "".join(lines).encode("utf-8", "surrogateescape") + b"\n" + written


SOURCE = Source(
    name="mailbox",
    title="Mailbox over IMAP",
    verify=verify,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({"mail.received"}),
    methods=frozenset(),
    max_bytes=35 * MEBIBYTE,
    keep_days=30,
    setup=Setup(
        screen="mailboxes.toml: host, user and folder; then `countersign mailboxes check`",
        credential="the password of the mailbox, in a file of its own (password_file)",
        made_by="vendor",
        form="the mailbox's password",
    ),
)
