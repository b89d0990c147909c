"""One schema per act, for a form and for the API alike, and the filters of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request
from marshmallow import Schema, ValidationError, fields, validate

from shared.domain.decision import FieldVerdict, Reason
from shared.domain.record import RecordRef, RecordRefSchema
from shared.domain.schema import ID, Noun, Scalar, ScalarField, load
from shared.errors import BadPayload

TABS = ("needs_you", "waiting", "decided", "expired", "all")
NOTE = validate.Length(max=2000)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A person's verdict on one field; ``value`` counts only with ``edited``."""

    verdict: FieldVerdict
    value: Scalar = None


@dataclass(frozen=True, kw_only=True)
class Approve:
    """``fields`` that are not named are accepted. ``confirmed`` answers a second look."""

    card_digest: str
    fields: Mapping[str, Choice] = field(default_factory=dict)
    comment: str | None = None
    confirmed: bool = False


@dataclass(frozen=True, kw_only=True)
class Reject:
    """``right_record`` is a record, or what a person typed: e-mail, phone or record number."""

    reason: Reason
    comment: str | None = None
    right_record: RecordRef | str | None = None
    card_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Again:
    note: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """``record`` is crm/type/id."""

    record: str
    kind: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Assign:
    assignee: str | None = None


@dataclass(frozen=True, kw_only=True)
class Snooze:
    hours: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    card_digest: str


@dataclass(frozen=True, kw_only=True)
class Work:
    action: str
    assignee: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Discard:
    reason: str


@dataclass(frozen=True, kw_only=True)
class Settle:
    """What a person says of a change that was done by hand, or by a flow: done or failed."""

    outcome: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stop:
    reason: str


@dataclass(frozen=True, kw_only=True)
class CardFilters:
    """What the queue is narrowed to; lives in the URL, so that a view is saved by its address."""

    tab: str = "needs_you"
    record: str | None = None
    field: str | None = None
    source: str | None = None
    risk: str | None = None
    older_than_minutes: int | None = None
    prompt_version: str | None = None
    assignee: str | None = None
    after: str | None = None
    limit: int = 50


class RecordOrText(fields.Field[Any]):
    """A record as an object, or the words by which a person knows it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> RecordRef | str:
        if isinstance(value, str) and 0 < len(value) <= 200:
            return value.strip()
        if isinstance(value, Mapping):
            record: RecordRef = RecordRefSchema().load(value)
            return record
        raise ValidationError("not a record")


class ChoiceSchema(Noun):
    noun = Choice
    verdict = fields.Enum(FieldVerdict, by_value=True, required=True)
    value = ScalarField(load_default=None, allow_none=True)


class ApproveSchema(Noun):
    noun = Approve
    card_digest = fields.String(required=True, validate=ID)
    fields_ = fields.Dict(
        keys=fields.String(validate=ID),
        values=fields.Nested(ChoiceSchema),
        load_default=dict,
        data_key="fields",
        attribute="fields",
    )
    comment = fields.String(load_default=None, allow_none=True, validate=NOTE)
    confirmed = fields.Boolean(load_default=False, truthy={True, "1", "true"}, falsy={False, ""})


class RejectSchema(Noun):
    noun = Reject
    reason = fields.Enum(Reason, by_value=True, required=True)
    comment = fields.String(load_default=None, allow_none=True, validate=NOTE)
    right_record = RecordOrText(load_default=None, allow_none=True)
    card_digest = fields.String(load_default=None, allow_none=True, validate=ID)


class AgainSchema(Noun):
    noun = Again
    note = fields.String(required=True, validate=validate.Length(min=1, max=2000))


class AskSchema(Noun):
    noun = Ask
    record = fields.String(required=True, validate=ID)
    kind = fields.String(required=True, validate=validate.OneOf(["summary", "reply", "next_steps"]))
    note = fields.String(load_default=None, allow_none=True, validate=NOTE)


class AssignSchema(Noun):
    noun = Assign
    assignee = fields.String(load_default=None, allow_none=True, validate=ID)


class SnoozeSchema(Noun):
    noun = Snooze
    hours = fields.Integer(required=True, validate=validate.Range(min=1, max=24 * 14))


class OpenedSchema(Noun):
    noun = Opened
    card_digest = fields.String(required=True, validate=ID)


class WorkSchema(Noun):
    noun = Work
    action = fields.String(required=True, validate=validate.OneOf(["done", "assigned", "reopened"]))
    assignee = fields.String(load_default=None, allow_none=True, validate=ID)
    note = fields.String(load_default=None, allow_none=True, validate=NOTE)


class DiscardSchema(Noun):
    noun = Discard
    reason = fields.String(required=True, validate=validate.Length(min=1, max=2000))


class SettleSchema(Noun):
    noun = Settle
    outcome = fields.String(required=True, validate=validate.OneOf(["done", "failed"]))
    note = fields.String(load_default=None, allow_none=True, validate=NOTE)


class StopSchema(Noun):
    noun = Stop
    reason = fields.String(required=True, validate=validate.Length(min=1, max=500))


class CardFiltersSchema(Noun):
    noun = CardFilters
    tab = fields.String(load_default="needs_you", validate=validate.OneOf(TABS))
    record = fields.String(load_default=None, validate=validate.Length(max=200))
    field = fields.String(load_default=None, validate=validate.Length(max=200))
    source = fields.String(load_default=None, validate=validate.Length(max=100))
    risk = fields.String(load_default=None, validate=validate.OneOf(["normal", "sensitive"]))
    older_than_minutes = fields.Integer(
        load_default=None, validate=validate.Range(min=0, max=10**7)
    )
    prompt_version = fields.String(load_default=None, validate=validate.Length(max=100))
    assignee = fields.String(load_default=None, validate=validate.Length(max=200))
    after = fields.String(load_default=None, validate=validate.Length(max=300))
    limit = fields.Integer(load_default=50, validate=validate.Range(min=1, max=200))


class RecordQuerySchema(Schema):
    """What a record is searched by."""

    q = fields.String(required=True, validate=validate.Length(min=1, max=200))


class WorkQuerySchema(Schema):
    """Which part of the worklist."""

    state = fields.String(
        load_default="open", validate=validate.OneOf(["open", "assigned", "done", "all"])
    )
    assignee = fields.String(load_default=None, validate=validate.Length(max=200))


class DraftQuerySchema(Schema):
    """Which drafts."""

    state = fields.String(
        load_default="open", validate=validate.OneOf(["open", "promoted", "discarded", "all"])
    )


def read_act(schema: type[Schema], request: Request) -> Any:
    """What was posted, from JSON or from a form. Raises `BadPayload` naming the fields."""
    if request.mimetype == "application/json":
        data = request.get_json(silent=True)
        if not isinstance(data, dict):
            raise BadPayload("the body must be a JSON object")
        return load(schema, data)
    return load(schema, _from_form(schema, request.form))


def _from_form(schema: type[Schema], form: Mapping[str, str]) -> dict[str, Any]:
    """Empty inputs are left out; ``verdict.<field>`` and ``value.<field>`` make one choice."""
    names = {field.data_key or name for name, field in schema().fields.items()}
    data: dict[str, Any] = {k: v for k, v in form.items() if k in names and v.strip()}
    choices: dict[str, dict[str, Any]] = {}
    for key, value in form.items():
        kind, _, name = key.partition(".")
        if kind == "verdict" and name:
            choices.setdefault(name, {})["verdict"] = value
        if kind == "value" and name:
            is_null = bool(form.get(f"null.{name}"))
            choices.setdefault(name, {})["value"] = None if is_null else value
    if choices and "fields" in names:
        data["fields"] = {name: choice for name, choice in choices.items() if "verdict" in choice}
    return data


def read_query(schema: type[Schema], args: Mapping[str, str]) -> Any:
    """The filters of a URL; empty and unknown ones are left out. Raises `BadPayload`."""
    names = set(schema().fields)
    return load(schema, {k: v for k, v in args.items() if k in names and v.strip()})
