"""The fields of a posted form as bytes: mail services send each in a character set of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from urllib.parse import unquote_to_bytes

from services.ingest.bodies import MULTIPART, URLENCODED
from services.ingest.hook import Hook
from shared.errors import BadPayload

MAX_PARTS = 1000
MAX_NAME = 200

_LINE_END = re.compile(rb"\r\n|\n|\r")
_FOLD = re.compile(rb"(?:\r\n|\n|\r)[ \t]+")
_BLANK_LINE = re.compile(rb"(?:\r\n){2}|\n\n|\r\r")


@dataclass(frozen=True, kw_only=True)
class FormPart:
    """One field or file; ``filename`` is ``None`` for a field, and may be empty for a file."""

    name: str
    content: bytes = field(repr=False)
    filename: str | None = None
    media_type: str = ""

    @property
    def is_file(self) -> bool:
        return self.filename is not None


def form_parts(hook: Hook) -> Sequence[FormPart]:
    """All parts in their order, repeated names too. Raises `BadPayload`."""
    if hook.media_type == URLENCODED:
        return _urlencoded(hook)
    if hook.media_type == MULTIPART:
        return _multipart(hook)
    raise BadPayload("the body is no form")


def _urlencoded(hook: Hook) -> list[FormPart]:
    """A form has no end mark: without a length nobody could tell that half of it is missing."""
    if "content-length" not in hook.headers:
        raise BadPayload("the form came without a Content-Length")
    if hook.body.count(b"&") >= MAX_PARTS:
        raise BadPayload("the form has too many fields")
    pairs = [pair.partition(b"=") for pair in hook.body.split(b"&") if pair]
    return [
        FormPart(name=_decoded_name(_plain(name)), content=_plain(value))
        for name, _, value in pairs
    ]


def _plain(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _decoded_name(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _multipart(hook: Hook) -> list[FormPart]:
    """RFC 7578, with any line ends; a form whose last boundary is missing was cut off on its way.

    The framework's own reader gives up on a whole form for one file name that is not UTF-8.
    """
    from werkzeug.http import parse_options_header

    _, options = parse_options_header(hook.headers.get("content-type", ""))
    boundary = options.get("boundary", "").encode("utf-8", "replace")
    if not 0 < len(boundary) <= MAX_NAME:
        raise BadPayload("the multipart form names no boundary")
    marks = list(islice(_boundary(boundary).finditer(hook.body), MAX_PARTS + 2))
    if not marks or not any(mark.group(1) for mark in marks):
        raise BadPayload("the multipart form is cut off or too long")
    parts: list[FormPart] = []
    for mark, following in pairwise(marks):
        if mark.group(1):
            break
        parts.append(_part(hook.body[mark.end() : following.start()]))
    return parts


def _boundary(boundary: bytes) -> re.Pattern[bytes]:
    line_end = rb"(?:\r\n|\n|\r)"
    return re.compile(
        rb"(?:\A|%s)--%s(--)?[ \t]*(?=%s|\Z)" % (line_end, re.escape(boundary), line_end)
    )


def _part(text: bytes) -> FormPart:
    from werkzeug.http import parse_options_header

    blank = _BLANK_LINE.search(text)
    head = text[: blank.start()] if blank else text
    named = dict(map(_header, _LINE_END.split(_FOLD.sub(b" ", head))))
    _, options = parse_options_header(named.get("content-disposition", ""))
    filename = options.get("filename")
    return FormPart(
        name=options.get("name", "")[:MAX_NAME],
        content=text[blank.end() :] if blank else b"",
        filename=None if filename is None else filename[:MAX_NAME],
        media_type=named.get("content-type", "").partition(";")[0].strip().lower(),
    )


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return name.strip().lower(), value.strip()
