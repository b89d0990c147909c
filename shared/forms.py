"""Reading what was posted: one schema for the form of a page and the JSON of the API."""

from __future__ import annotations

from typing import Any

from flask import request
from marshmallow import Schema, ValidationError, fields

from shared.domain.schema import describe, schema_of
from shared.errors import BadPayload


def posted(schema: type[Schema]) -> dict[str, Any]:
    """The request's data through ``schema``. Raises `BadPayload` naming the fields."""
    form = schema_of(schema)
    try:
        return dict(form.load(_plain(form)))
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


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
