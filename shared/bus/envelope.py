"""What travels: one body with its topic, schema version, chain, cause and actor, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import fields

from shared.domain.schema import ID, Instant, Noun, Whole, dump, load
from shared.domain.topics import TOPICS, Topic
from shared.errors import BadPayload


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """``body`` is plain data, already checked against the schema of ``topic``.

    ``subject`` names the thing it is about: ``event/<id>``, ``proposal/<id>``, ``change/<id>``,
    ``person/<id>``. ``actor`` is ``service:<name>``, ``person:<id>`` or ``source:<name>``.
    """

    id: str
    topic: Topic
    schema: int
    chain: str
    cause: str | None
    actor: str
    subject: str
    at: datetime
    traceparent: str
    body: Mapping[str, Any]

    def noun(self) -> Any:
        """The body as its noun (or, for a notice, a dictionary). Raises `BadPayload`."""
        return load(TOPICS[self.topic].schema, self.body)


class EnvelopeSchema(Noun):
    noun = Envelope
    id = fields.String(required=True, validate=ID)
    topic = fields.Enum(Topic, by_value=True, required=True)
    schema = Whole(required=True)
    chain = fields.String(required=True)
    cause = fields.String(required=True, allow_none=True)
    actor = fields.String(required=True, validate=ID)
    subject = fields.String(required=True, validate=ID)
    at = Instant(required=True)
    traceparent = fields.String(required=True)
    body = fields.Dict(keys=fields.String(), required=True)


def encode(envelope: Envelope) -> str:
    """JSON text of the envelope."""
    return json.dumps(dump(EnvelopeSchema, envelope), ensure_ascii=False, separators=(",", ":"))


def decode(text: str | bytes) -> Envelope:
    """The envelope of JSON text; the body is checked by `Envelope.noun`.

    Raises `BadPayload` for anything that is not an envelope of a schema version we know.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadPayload("not JSON") from error
    envelope: Envelope = load(EnvelopeSchema, data)
    if envelope.schema != TOPICS[envelope.topic].version:
        raise BadPayload(f"{envelope.topic} schema {envelope.schema} is unknown here")
    return envelope


def body_of(topic: Topic, noun: Any) -> dict[str, Any]:
    """Plain data for the body of ``topic``. Raises `BadPayload` if it does not fit its schema."""
    schema = TOPICS[topic].schema
    data = dump(schema, noun)
    try:
        load(schema, data)
    except BadPayload as error:
        raise BadPayload(f"{topic}: {error}") from error
    return data


def traceparent(chain: str) -> str:
    """A W3C trace context whose trace id is the chain's id, so one search finds all spans."""
    trace = chain.replace("-", "")[:32].ljust(32, "0")
    return f"00-{trace}-{trace[16:32]}-01"
