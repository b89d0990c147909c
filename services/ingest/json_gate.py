"""The strict I-JSON gate (RFC 7493): what is not the same for every reader does not come in.

Refused beside broken syntax: other encodings than UTF-8, a byte order mark, repeated keys, lone
surrogates, NUL, NaN and Infinity, numbers that overflow or are absurdly long, and nesting deeper
than `MAX_DEPTH` (found before parsing, since the parser's own limit ends in a crash). Numbers
that digests do not allow become text: non-integers as they were written, integers beyond 2^53.
Unicode non-characters are let through: senders do produce them and every reader agrees on them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from shared.canonical import MAX_SAFE_INTEGER
from shared.errors import NotJson

MAX_DEPTH = 32
MAX_NUMBER = 400
_SAFE_DIGITS = 15
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def parse_json(body: bytes) -> Any:
    """The value of a JSON text of lists, string-keyed dictionaries, text, safe integers, booleans
    and null. Raises `NotJson` saying which rule is broken, never repeating the input.
    """
    _check_depth(body)
    text = _text(body)
    try:
        value = _decode(text)
    except ValueError as error:
        raise NotJson(f"the body is not JSON: {_reason(error)}") from error
    except RecursionError as error:
        raise NotJson("the body is nested too deeply") from error
    if _SUSPECT.search(text):
        _check_texts(value)
    return value


def _text(body: bytes) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        raise NotJson("the body begins with a byte order mark")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson("the body is not UTF-8") from error


def _check_depth(body: bytes) -> None:
    """Counting brackets is enough for nearly every body; only a suspicious one is walked."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_DEPTH:
            raise NotJson(f"the body is nested deeper than {MAX_DEPTH}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _integer(text: str) -> int | str:
    if len(text) <= _SAFE_DIGITS:
        return int(text)
    if len(text) > MAX_NUMBER:
        raise ValueError("a number is too long")
    number = int(text)
    return number if abs(number) <= MAX_SAFE_INTEGER else text


def _number(text: str) -> str:
    if len(text) > MAX_NUMBER:
        raise ValueError("a number is too long")
    if not math.isfinite(float(text)):
        raise ValueError("a number is too large")
    return text


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_no_constant,
    strict=True,
).decode


def _check_texts(value: Any) -> None:
    """Refuse NUL and lone surrogates in any key or text."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(key)
            _check_texts(item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise NotJson("a text holds NUL")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise NotJson("a text holds a lone surrogate") from error


def _reason(error: ValueError) -> str:
    """The parser's words without the document it carries."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error)
