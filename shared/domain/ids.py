"""Deterministic ids: a repeat of the same thing gets the same id, so it is recognised."""

from __future__ import annotations

import hashlib
import json
import uuid

NAMESPACE = uuid.UUID("6f2d5a9e-2f0e-5a57-9d0c-0c6f0f6f7c11")
_SPACE = NAMESPACE.bytes


def derive(kind: str, *parts: str | int) -> str:
    """``uuid5`` over the canonical form (JCS) of the kind and its parts.

    Written out, since every webhook waits for it: for texts and integers the compact JSON of the
    standard library is the canonical form, and the rest is RFC 9562 §5.5.
    """
    name = json.dumps([kind, *parts], ensure_ascii=False, separators=(",", ":"))
    digest = bytearray(hashlib.sha1(_SPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def event_id(source: str, endpoint: str, dedup_key: str) -> str:
    return derive("event", source, endpoint, dedup_key)


def proposal_id(event: str, record: str, round_: int) -> str:
    return derive("proposal", event, record, round_)


def change_id(proposal: str, card_digest: str) -> str:
    return derive("change", proposal, card_digest)


def message_id(cause: str, topic: str, subject: str) -> str:
    """The id of a message that follows from ``cause``: a second try gives the same."""
    return derive("message", cause, topic, subject)


def fresh() -> str:
    """An id for what a person starts, where nothing outside names it."""
    return str(uuid.uuid4())
