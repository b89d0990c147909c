"""A producer and a consumer test for each topic: what goes out comes in, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import fields
from marshmallow.validate import OneOf

from shared.bus.envelope import Envelope, body_of, decode, encode, traceparent
from shared.domain.schema import Instant, Many, ScalarField, Whole, schema_of
from shared.domain.topics import TOPICS, Topic
from shared.errors import BadPayload

AT = datetime(2026, 11, 23, 12, 0, 0, 123000, tzinfo=UTC)


def sample(field: fields.Field[Any]) -> Any:
    """A wire value that this field accepts."""
    options = [v for v in field.validators if isinstance(v, OneOf)]
    if options:
        return next(iter(options[0].choices))
    if isinstance(field, fields.Nested):
        return {f.data_key or name: sample(f) for name, f in field.schema.fields.items()}
    if isinstance(field, Many | fields.List):
        return [sample(field.inner)]
    if isinstance(field, fields.Dict):
        return {"a": sample(field.value_field) if field.value_field else "b"}
    if isinstance(field, fields.Enum):
        return next(iter(field.enum)).value
    if isinstance(field, Instant):
        return "2026-11-23T12:00:00.123Z"
    if isinstance(field, Whole):
        return 3
    if isinstance(field, fields.Boolean):
        return True
    if isinstance(field, ScalarField | fields.String):
        return "text"
    raise AssertionError(f"no sample for {field}")


def body_for(topic: Topic) -> dict[str, Any]:
    schema = schema_of(TOPICS[topic].schema)
    return {field.data_key or name: sample(field) for name, field in schema.fields.items()}


def envelope(topic: Topic, body: dict[str, Any]) -> Envelope:
    return Envelope(
        id="m-1",
        topic=topic,
        schema=TOPICS[topic].version,
        chain="c-1",
        cause=None,
        actor="service:test",
        subject="test/1",
        at=AT,
        traceparent=traceparent("c-1"),
        body=body,
    )


@pytest.mark.parametrize("topic", Topic)
def test_the_consumer_gets_what_the_producer_sent(topic: Topic) -> None:
    sent = envelope(topic, body_for(topic))
    received = decode(encode(sent))
    assert received == sent
    received.noun()


@pytest.mark.parametrize("topic", [t for t in Topic if t is not Topic.CHANGE_INTENDED])
def test_a_noun_dumps_to_the_body_it_came_from(topic: Topic) -> None:
    body = body_for(topic)
    assert body_of(topic, envelope(topic, body).noun()) == body


@pytest.mark.parametrize("topic", Topic)
def test_an_unknown_key_is_refused(topic: Topic) -> None:
    with pytest.raises(BadPayload, match="surprise"):
        envelope(topic, {**body_for(topic), "surprise": 1}).noun()


@pytest.mark.parametrize("topic", Topic)
def test_a_missing_key_is_refused_by_name_and_without_values(topic: Topic) -> None:
    schema = schema_of(TOPICS[topic].schema)
    required = next(f.data_key or n for n, f in schema.fields.items() if f.required)
    body = {key: value for key, value in body_for(topic).items() if key != required}
    with pytest.raises(BadPayload, match=required):
        envelope(topic, body).noun()


def test_another_schema_version_is_refused() -> None:
    text = encode(envelope(Topic.WRITING_STOPPED, {"reason": "x"})).replace(
        '"schema":1', '"schema":2'
    )
    with pytest.raises(BadPayload, match="unknown here"):
        decode(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"id":1}', "\ud800"])
def test_what_is_no_envelope_is_refused(text: str) -> None:
    with pytest.raises(BadPayload):
        decode(text)
