"""Reading a verified body: JSON through the strict gate, or a form with limits; and flattening."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from services.ingest.hook import Hook
from services.ingest.json_gate import parse_json
from shared.errors import BadPayload, NotJson

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FIELDS = 1000


def json_object(hook: Hook) -> dict[str, Any]:
    """The body as one JSON object. Raises `NotJson`, or `BadPayload` for another value."""
    value = parse_json(hook.body)
    if not isinstance(value, dict):
        raise BadPayload("the body must be one JSON object")
    return value


def json_or_form(hook: Hook) -> dict[str, Any]:
    """The body as one object, from JSON or from a form; a form's values are all text."""
    if hook.media_type == URLENCODED:
        return _urlencoded(hook)
    if hook.media_type == MULTIPART:
        return _multipart(hook)
    return json_object(hook)


def _urlencoded(hook: Hook) -> dict[str, Any]:
    """A form has no end mark: without a length nobody could tell that half of it is missing."""
    if not hook.body or "content-length" not in hook.headers:
        raise BadPayload("the form is empty or came without a Content-Length")
    try:
        text = hook.body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadPayload("the form is not UTF-8 or has too many fields") from error
    return _collected(pairs)


def _multipart(hook: Hook) -> dict[str, Any]:
    from werkzeug.exceptions import HTTPException
    from werkzeug.formparser import FormDataParser
    from werkzeug.http import parse_options_header

    _, options = parse_options_header(hook.headers.get("content-type", ""))
    parser = FormDataParser(
        max_form_memory_size=len(hook.body) + 1, max_form_parts=MAX_FIELDS, silent=False
    )
    try:
        _, form, files = parser.parse(io.BytesIO(hook.body), MULTIPART, len(hook.body), options)
    except (ValueError, HTTPException) as error:
        raise BadPayload("the multipart form cannot be read") from error
    named = [(key, storage.filename or "") for key, storage in files.items(multi=True)]
    return _collected([*form.items(multi=True), *named])


def _collected(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """One entry per key, a list where a key comes more than once."""
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        if "\x00" in key or "\x00" in value:
            raise NotJson("a text holds NUL")
        values.setdefault(key, []).append(value)
    return {key: items[0] if len(items) == 1 else items for key, items in values.items()}


def flat(value: Any) -> dict[str, str]:
    """Dotted paths to text for every scalar below; null and empty containers are left out."""
    return dict(_walk(value, ""))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _walk(item, f"{path}.{place}" if path else str(place))
    elif value is not None:
        yield path or "value", as_text(value)


def as_text(value: Any) -> str:
    """A scalar as text; true and false as JSON writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
