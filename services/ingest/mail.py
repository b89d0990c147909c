"""Mail as a happening: what the person wrote, apart from signature and quoted history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from services.ingest.html_text import visible_text
from services.ingest.leads import with_lead
from services.ingest.reply import cut_reply
from services.ingest.source import MEBIBYTE, Description, File
from shared.domain.event import Sender

MAX_PART = MEBIBYTE
# RFC 3834, RFC 2919, RFC 3464 and habits: headers kept as facts, under these names.
FACTS = {
    "message-id": "message_id",
    "in-reply-to": "in_reply_to",
    "references": "references",
    "reply-to": "reply_to",
    "return-path": "return_path",
    "auto-submitted": "auto_submitted",
    "precedence": "precedence",
    "list-id": "list_id",
    "list-unsubscribe": "list_unsubscribe",
    "x-auto-response-suppress": "auto_response_suppress",
    "x-spam-status": "spam_status",
    "x-spam-score": "spam_score",
}
LONGEST_FACT = 1000
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
# RFC 8098 and 5965: somebody read it, somebody complained of it.
_OTHER_REPORT = re.compile(r"(?i)report-type=\"?(?:disposition-notification|feedback-report)")
_BOUNCER = re.compile(r"(?i)^(mailer-daemon|postmaster)@")


@dataclass(frozen=True, kw_only=True)
class Mail:
    """``headers`` have lower-case names, in the order they came. ``text`` may be empty.

    ``report`` are the facts of a delivery report, by their names.
    """

    subject: str
    text: str
    html: str
    sender: Sender
    headers: tuple[tuple[str, str], ...]
    recipient: str
    files: tuple[File, ...] = ()
    report: Mapping[str, str] = field(default_factory=dict)

    def received_from(self, address: str) -> Mail:
        """With the envelope sender that the receiving host knows; an empty one is a bounce."""
        known = ("return-path", address.strip() or "<>")
        others = tuple(pair for pair in self.headers if pair[0] != "return-path")
        return replace(self, headers=(known, *others))


def describe_mail(mail: Mail) -> Description:
    """Parts ``subject``, ``body``, ``signature``, ``quoted``; facts from `FACTS` and what was
    found: ``auto_reply``, ``bounce``, ``bulk``, ``hidden_text``, ``truncated`` are ``yes``. A form
    that came as a mail has a part for each field too (`leads`).
    """
    html_text, has_hidden_text = visible_text(mail.html[:MAX_PART])
    text = mail.text if mail.text.strip() else html_text
    cut = cut_reply(text[:MAX_PART])
    parts = {
        "subject": mail.subject.strip(),
        "body": cut.body,
        "signature": cut.signature,
        "quoted": cut.quoted,
    }
    facts = {**_facts(mail), **mail.report}
    if has_hidden_text:
        facts["hidden_text"] = "yes"
    if max(len(mail.text), len(mail.html)) > MAX_PART:
        facts["truncated"] = "yes"
    said = Description(
        parts={name: part for name, part in parts.items() if part},
        sender=mail.sender,
        facts=facts,
        files=mail.files,
    )
    return with_lead(said, text[:MAX_PART])


def _facts(mail: Mail) -> dict[str, str]:
    first: dict[str, str] = {}
    for name, value in mail.headers:
        first.setdefault(name, value.strip()[:LONGEST_FACT])
    facts = {fact: first[name] for name, fact in FACTS.items() if first.get(name)}
    if mail.recipient:
        facts["recipient"] = mail.recipient[:LONGEST_FACT]
    findings = {
        "auto_reply": _is_auto_reply(first),
        "bounce": _is_bounce(first, mail.sender),
        "bulk": first.get("precedence", "").lower() in _BULK or "list-id" in first,
    }
    return {**facts, **{name: "yes" for name, found in findings.items() if found}}


def _is_auto_reply(headers: Mapping[str, str]) -> bool:
    """RFC 3834: anything but ``no`` was sent by a machine; older ones use their own headers."""
    submitted = headers.get("auto-submitted", "no").partition(";")[0].strip().lower()
    marked = any(name in headers for name in ("x-autoreply", "x-autorespond"))
    marked = marked or bool(_OTHER_REPORT.search(headers.get("content-type", "")))
    return submitted != "no" or marked or headers.get("precedence", "").lower() == "auto_reply"


def _is_bounce(headers: Mapping[str, str], sender: Sender) -> bool:
    """An empty envelope sender, a delivery report, or a mail system as the sender."""
    content_type = headers.get("content-type", "")
    report = "multipart/report" in content_type.lower() and not _OTHER_REPORT.search(content_type)
    from_system = bool(_BOUNCER.match(sender.email or ""))
    return report or from_system or headers.get("return-path") == "<>"


def is_authentic(
    address: str | None, *, dkim: Mapping[str, str], spf: str, envelope_from: str
) -> str:
    """``pass``, ``fail`` or ``unverified``: what a receiving host found out, held against ``From``.

    ``dkim`` maps signing domains to results, ``spf`` is about the domain of ``envelope_from``. Only
    a domain that ``From`` lies in counts: anybody can sign with a domain of his own.
    """
    domain = _domain(address or "")
    signed = {name.lower(): result.lower() for name, result in dkim.items()}
    passing = {name for name, result in signed.items() if result == "pass"}
    if spf.lower() == "pass":
        passing.add(_domain(envelope_from))
    if domain and any(_lies_in(domain, name) for name in passing if name):
        return "pass"
    failing = {name for name, result in signed.items() if result == "fail"}
    failed_by_spf = spf.lower() == "fail" and _lies_in(domain, _domain(envelope_from))
    return "fail" if failed_by_spf or any(_lies_in(domain, n) for n in failing) else "unverified"


def _domain(address: str) -> str:
    return address.rpartition("@")[2].strip("<> ").lower() if "@" in address else ""


def _lies_in(domain: str, other: str) -> bool:
    """The same domain or one below it; never a whole top-level domain."""
    return bool(domain) and "." in other and (domain == other or domain.endswith(f".{other}"))


def date_of(text: str) -> datetime | None:
    """The time of a ``Date`` header, which the sender controls; none if it cannot be read."""
    try:
        value = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return None if value.tzinfo is None else value.astimezone(UTC)
