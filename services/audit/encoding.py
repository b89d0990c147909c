"""The canonical bytes of bodies and entries, fast: the same as `shared.canonical`, proven by test.

Plain ``json.dumps`` with sorted keys is JCS as long as there are no floats, no unsafe integers,
and no characters beyond the basic plane (where UTF-16 order and code point order part ways).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.canonical import MAX_SAFE_INTEGER, canonical
from shared.errors import BadPayload

_text = json.encoder.encode_basestring
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical_body(body: Mapping[str, Any]) -> bytes:
    """JCS bytes of a body.

    What has no canonical form (a float, a lone surrogate) is kept as text instead, in
    ``{"not_canonical": <JSON text>}``, so that it is logged all the same.
    """
    try:
        if _is_plain(body):
            text = _encode(body)
            data = text.encode()
            if text.isascii() or len(text.encode("utf-16-le")) == 2 * len(text):
                return data
        return canonical(body)
    except (BadPayload, UnicodeEncodeError, RecursionError, TypeError, ValueError):
        return canonical({"not_canonical": json.dumps(body, sort_keys=True, default=repr)})


def entry_leaf(
    *,
    seq: int,
    at: str,
    topic: str,
    actor: str,
    subject: str,
    chain: str,
    message_id: str,
    cause: str | None,
    commitment: str,
) -> bytes:
    """JCS bytes of a ledger entry: `LedgerEntry.leaf` without building the noun.

    ``at``, ``topic``, ``message_id`` and ``commitment`` are plain ASCII without escapes.
    """
    because = "null" if cause is None else _text(cause)
    return (
        f'{{"actor":{_text(actor)},"at":"{at}","cause":{because},"chain":{_text(chain)},'
        f'"commitment":"{commitment}","message_id":{_text(message_id)},"seq":{seq},'
        f'"subject":{_text(subject)},"topic":"{topic}"}}'
    ).encode()


def _is_plain(value: Any) -> bool:
    """Nothing but text, safe integers, booleans, null, lists and maps with text keys."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if kind is list:
        return all(map(_is_plain, value))
    return kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
