"""Deterministic ids: a repeat of the same thing gets the same id, so it is recognised."""

from __future__ import annotations

import uuid

from shared.canonical import canonical

NAMESPACE = uuid.UUID("6f2d5a9e-2f0e-5a57-9d0c-0c6f0f6f7c11")


def derive(kind: str, *parts: str | int) -> str:
    """``uuid5`` over the canonical form of the kind and its parts."""
    return str(uuid.uuid5(NAMESPACE, canonical([kind, *parts]).decode()))


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
