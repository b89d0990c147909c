"""Strict marshmallow building blocks: what travels between our services is exactly this."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from shared.domain.plan import Step, dumping, loading
from shared.errors import BadPayload

type_of_scalar = (str, int, bool, type(None))
Scalar = str | int | bool | None
ID = validate.Length(min=1, max=200)


class Instant(fields.Field[datetime]):
    """An aware time; on the wire UTC, RFC 3339 with milliseconds and ``Z``."""

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        if not isinstance(value, str):
            raise ValidationError("not a time")
        return parse_instant(value)


class Whole(fields.Field[int]):
    """An integer and nothing that merely looks like one."""

    def _serialize(self, value: int | None, *_: Any, **__: Any) -> int | None:
        return value

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("not a whole number")
        return value


class ScalarField(fields.Field[Any]):
    """A CRM value: text, integer, boolean or null. Floats travel as text."""

    def _serialize(self, value: Scalar, *_: Any, **__: Any) -> Scalar:
        return value

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Scalar:
        if not isinstance(value, type_of_scalar):
            raise ValidationError("not text, a whole number, true, false or null")
        return value


class Many(fields.List[Any]):
    """A list on the wire, a tuple inside."""

    gather = tuple

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


class Noun(Schema):
    """A schema that refuses unknown keys and builds its dataclass."""

    noun: ClassVar[type]

    class Meta:
        unknown = RAISE

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Any:
        return self.noun(**data)


@functools.cache
def schema_of(schema: type[Schema]) -> Schema:
    """The one instance of a schema: building one costs more than using it."""
    return schema()


def load(schema: type[Schema], data: Any) -> Any:
    """The noun of plain data. Raises `BadPayload` naming the fields, never their values."""
    with contextlib.suppress(ValidationError):
        return _loading(schema)(data)
    try:
        return schema_of(schema).load(data)
    except ValidationError as error:
        raise BadPayload(f"{schema.__name__}: {describe(error)}") from error


def dump(schema: type[Schema], noun: Any) -> dict[str, Any]:
    """Plain data of a noun, ready for JSON."""
    return dict(_dumping(schema)(noun))


@functools.cache
def _loading(schema: type[Schema]) -> Step:
    return loading(schema_of(schema))


@functools.cache
def _dumping(schema: type[Schema]) -> Step:
    return dumping(schema_of(schema))


def fits(schema: type[Schema], data: Any) -> bool:
    """Whether plain data can be loaded."""
    try:
        load(schema, data)
    except BadPayload:
        return False
    return True


def describe(error: ValidationError) -> str:
    """``field: message; …`` without any value that came in."""
    messages = error.normalized_messages()  # type: ignore[no-untyped-call]
    return "; ".join(f"{path}: {text}" for path, text in sorted(_flatten(messages)))


def _flatten(messages: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(messages, Mapping):
        return [
            pair
            for key, value in messages.items()
            for pair in _flatten(value, f"{path}.{key}" if path else str(key))
        ]
    return [(path, str(text)) for text in messages]


def rfc3339(value: datetime) -> str:
    """UTC with milliseconds and ``Z``. Raises `ValueError` for a naive time."""
    if value.tzinfo is None:
        raise ValueError("times are aware")
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return f"{value.isoformat(timespec='milliseconds')[:-6]}Z"


def parse_instant(text: str) -> datetime:
    """The aware time of an RFC 3339 text. Raises `marshmallow.ValidationError`."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationError("not an RFC 3339 time") from error
    if value.tzinfo is None:
        raise ValidationError("the time has no zone")
    return value if value.tzinfo is UTC else value.astimezone(UTC)


def now() -> datetime:
    """The present, aware, cut to the milliseconds that travel."""
    value = datetime.now(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)
