"""Reports of mail systems (RFC 3464, 8098, 5965): which mail of ours they are about, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from email.message import Message

LONGEST = 1000
_ADDRESS = re.compile(r"(?:[A-Za-z0-9-]{1,40};)?\s*<?([^\s<>;]{1,320})>?\s*\Z")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_MESSAGE_ID = re.compile(r"(?im)^(?:original-)?message-id:\s*(<[^<>\s]{1,900}>)")
_RETURNED = frozenset({"message/rfc822", "text/rfc822-headers", "message/disposition-notification"})

Headers = Sequence[tuple[str, str]]


def report_facts(
    headers: Headers, parts: Sequence[Message], content_of: Callable[[Message], bytes]
) -> dict[str, str]:
    """``bounced_recipient`` (the first), ``bounce_status`` as ``5.1.1``, ``bounce_action`` and
    ``bounced_message_id``: whatever the report says of them; nothing for a mail that is no report.
    """
    first = dict(reversed(headers))
    facts = {"bounced_recipient": _address(first.get("x-failed-recipients", ""))}
    if first.get("content-type", "").lower().startswith("multipart/report"):
        status = dict(reversed(list(_status_fields(parts))))
        facts |= {
            "bounced_recipient": _recipient(status) or facts["bounced_recipient"],
            "bounce_status": _matched(_STATUS, status.get("status", "")),
            "bounce_action": status.get("action", "").lower(),
            "bounced_message_id": _returned_id(parts, content_of),
        }
    return {name: value[:LONGEST] for name, value in facts.items() if value}


def _status_fields(parts: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Of all blocks in their order: that of the whole report, then one for each recipient."""
    for part in parts:
        blocks = part.get_payload()
        if part.get_content_type() == "message/delivery-status" and isinstance(blocks, list):
            for block in blocks:
                if isinstance(block, Message):
                    yield from ((name.lower(), str(value).strip()) for name, value in block.items())


def _recipient(status: dict[str, str]) -> str:
    return _address(status.get("original-recipient") or status.get("final-recipient", ""))


def _address(text: str) -> str:
    found = _ADDRESS.match(text.partition(",")[0].strip())
    return found[1] if found else ""


def _matched(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


def _returned_id(parts: Sequence[Message], content_of: Callable[[Message], bytes]) -> str:
    """The id of the mail that is reported on, out of what came back of it."""
    for part in parts:
        if part.get_content_type() in _RETURNED:
            head = content_of(part)[:100_000].decode("utf-8", "replace")
            if found := _MESSAGE_ID.search(head):
                return found[1]
    return ""
