"""Reading what was posted: one schema for the form of a page and the JSON of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import request
from marshmallow import Schema, ValidationError, fields

from shared.domain.schema import describe, schema_of
from shared.errors import BadPayload
from shared.values import has_surrogate


def posted(schema: type[Schema]) -> dict[str, Any]:
    """The request's data through ``schema``. Raises `BadPayload` naming the fields."""
    form = schema_of(schema)
    given = _plain(form)
    # Before the schema: its words about a field may repeat the name.
    # No store can hold these two.
    if any(has_surrogate(text) or "\0" in text for text in _texts(given)):
        raise BadPayload("A text holds half a character (a lone surrogate), or a zero byte.")
    try:
        return dict(form.load(given))
    except ValidationError as error:
        raise BadPayload(_sentence(describe(error))) from error


def _plain(schema: Schema) -> Any:
    if request.mimetype == "application/json":
        return request.get_json()
    data: dict[str, Any] = {}
    for name in request.form:
        if name.startswith("csrf"):
            continue
        is_list = isinstance(schema.fields.get(name), fields.List)
        data[name] = request.form.getlist(name) if is_list else request.form[name]
    return data


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts(item))
    elif isinstance(value, dict):
        yield from value
        yield from _texts(list(value.values()))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
