"""The one canonical form: JCS (RFC 8785) without floats, and SHA-256 digests over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from shared.errors import BadPayload

MAX_SAFE_INTEGER = 2**53 - 1
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical(value: Any) -> bytes:
    """JCS bytes of a value of strings, safe integers, booleans, null, lists and string-keyed maps.

    Raises `BadPayload` for floats, unsafe integers, lone surrogates and anything else: what
    cannot be hashed the same everywhere cannot be approved.
    """
    try:
        if _is_plain(value) and _is_in_basic_plane(text := _encode(value)):
            return text.encode()
        _refuse_floats(value)
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise BadPayload(f"not canonical: {error}") from error


def digest(value: Any, *, kind: str) -> str:
    """Lower-case hex SHA-256 over ``kind``, a newline and the canonical bytes.

    The kind separates domains: a card never hashes like a change.
    """
    return hashlib.sha256(kind.encode() + b"\n" + canonical(value)).hexdigest()


def sha256_hex(data: bytes) -> str:
    """Lower-case hex SHA-256 of bytes as they are."""
    return hashlib.sha256(data).hexdigest()


def _is_plain(value: Any) -> bool:
    """Nothing but text, safe integers, booleans, null, lists and maps with text keys.

    Of these plain ``json.dumps`` with sorted keys makes JCS, twenty times as fast, as long as there
    are no characters beyond the basic plane: there UTF-16 order and code point order part ways.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if kind is list:
        return all(map(_is_plain, value))
    return kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER


def _is_in_basic_plane(text: str) -> bool:
    return text.isascii() or len(text.encode("utf-16-le")) == 2 * len(text)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise BadPayload("digests allow no floats: send the number as a string")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise BadPayload("keys must be strings")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
