"""The answer before anyone trusts it: its shape, and the strict gate a model's text must pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load, validate

from shared.domain.classification import Outcome, Urgency
from shared.domain.schema import Many, Scalar, ScalarField, load
from shared.errors import BadPayload

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_PROPOSALS = 5
MAX_FIELDS = 8

# A model never names a record: it points at the one it was shown, or at a new draft.
MATCHED, NEW = "record", "new"
# What the answer would append to the record that it was shown.
NOTE, TASK = "note", "task"
# Names of sources that are no part of the event: the header and the CRM reading.
SENDER, READING = "@sender", "@record"


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One value for one field, and where it was read: ``quote`` out of ``part`` of the event.

    ``basis`` says what kind of evidence it is (`services.classifier.confidence`); ``start`` is
    where the quote begins, if whoever suggests it knows.
    """

    field: str
    value: Scalar
    part: str
    quote: str
    basis: str = "quoted"
    start: int | None = None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Suggestions for the record that ``handle`` points at."""

    handle: str
    fields: tuple[Suggestion, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What rules or a model say about one event; nothing in it has been checked against facts."""

    outcome: Outcome
    route: str
    urgency: Urgency
    summary: str
    reason: str
    reply_draft: str | None = None
    next_steps: tuple[str, ...] = ()
    proposals: tuple[Draft, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is said about one record when a person asks; nothing of it is written anywhere."""

    summary: str
    reply_draft: str | None
    next_steps: tuple[str, ...]


class _Strict(Schema):
    class Meta:
        unknown = RAISE


class SuggestionSchema(_Strict):
    field = fields.String(required=True, validate=validate.Length(min=1, max=80))
    value = ScalarField(required=True, allow_none=True)
    part = fields.String(required=True, validate=validate.Length(max=200))
    quote = fields.String(required=True, validate=validate.Length(max=2000))

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Suggestion:
        return Suggestion(**data)


class DraftSchema(_Strict):
    handle = fields.String(
        required=True, validate=validate.Length(min=1, max=40), data_key="record"
    )
    fields_ = Many(fields.Nested(SuggestionSchema), required=True, data_key="fields")

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Draft:
        return Draft(handle=data["handle"], fields=data["fields_"])


class TextsSchema(_Strict):
    summary = fields.String(required=True, validate=validate.Length(max=4000))
    reply_draft = fields.String(required=True, allow_none=True, validate=validate.Length(max=8000))
    next_steps = Many(
        fields.String(validate=validate.Length(max=500)),
        required=True,
        validate=validate.Length(max=8),
    )

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Any:
        return Texts(**data)


class AnswerSchema(TextsSchema):
    outcome = fields.Enum(Outcome, by_value=True, required=True)
    route = fields.String(required=True, validate=validate.Length(min=1, max=80))
    urgency = fields.Enum(Urgency, by_value=True, required=True)
    reason = fields.String(required=True, validate=validate.Length(max=2000))
    proposals = Many(
        fields.Nested(DraftSchema), required=True, validate=validate.Length(max=MAX_PROPOSALS)
    )

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Any:
        return Answer(**data)


def parse_texts(text: str) -> Texts:
    """The texts of a model's text. Raises `BadPayload` for anything but exactly this shape."""
    texts: Texts = load(TextsSchema, _strict_json(text))
    return texts


def parse_answer(text: str) -> Answer:
    """The answer of a model's text. Raises `BadPayload` for anything but exactly this shape."""
    answer: Answer = load(AnswerSchema, _strict_json(text))
    changed = sum(len(draft.fields) for draft in answer.proposals)
    if changed > MAX_FIELDS:
        raise BadPayload(f"the answer changes {changed} fields, {MAX_FIELDS} are allowed")
    return answer


def _strict_json(text: str) -> Any:
    """I-JSON (RFC 7493) without floats, of bounded size and depth."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadPayload("the answer holds a lone surrogate") from error
    if size > MAX_BYTES:
        raise BadPayload(f"the answer has {size} bytes, {MAX_BYTES} are allowed")
    try:
        data = json.loads(
            text,
            object_pairs_hook=_no_repeats,
            parse_constant=_refuse,
            parse_float=_refuse,
            parse_int=_small_int,
        )
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"the answer is not strict JSON: {type(error).__name__}") from error
    _check(data, MAX_DEPTH)
    return data


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(text: str) -> Any:
    raise ValueError(f"a number that is not whole: {text[:20]}")


def _small_int(text: str) -> int:
    if len(text) > 16:
        raise ValueError("a number beyond 2^53")
    return int(text)


def _check(value: Any, depth: int) -> None:
    """Refuse deep nesting, and surrogates that came in as escapes."""
    if depth == 0:
        raise BadPayload("the answer is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth - 1)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise BadPayload("the answer holds a lone surrogate")


def texts_schema() -> dict[str, Any]:
    """The shape of `Texts` as a JSON schema for structured output."""
    return _table(_TEXTS)


def json_schema(
    routes: list[str], field_names: list[str], parts: list[str], handles: list[str]
) -> dict[str, Any]:
    """The shape of `Answer` for structured output, closed over what may be named."""
    suggestion = _table(
        {
            "field": _choice(field_names),
            "value": {"type": ["string", "integer", "boolean"]},
            "part": _choice(parts),
            "quote": _TEXT,
        }
    )
    draft = _table({"record": _choice(handles), "fields": {"type": "array", "items": suggestion}})
    return _table(
        {
            "outcome": _choice([outcome.value for outcome in Outcome]),
            "route": _choice(routes),
            "urgency": _choice([urgency.value for urgency in Urgency]),
            "reason": _TEXT,
            **_TEXTS,
            "proposals": {"type": "array", "items": draft},
        }
    )


_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {
    "summary": _TEXT,
    "reply_draft": {"type": ["string", "null"]},
    "next_steps": {"type": "array", "items": _TEXT},
}


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    """Strict structured output wants every key required and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _choice(names: list[str]) -> dict[str, Any]:
    return {**_TEXT, "enum": names} if names else _TEXT
