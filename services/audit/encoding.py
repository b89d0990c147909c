"""The canonical bytes of bodies and entries, as they go into the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.canonical import canonical
from shared.errors import BadPayload

_text = json.encoder.encode_basestring


def canonical_body(body: Mapping[str, Any]) -> bytes:
    """JCS bytes of a body.

    What has no canonical form (a float, a lone surrogate) is kept as text instead, in
    ``{"not_canonical": <JSON text>}``, so that it is logged all the same.
    """
    try:
        return canonical(body)
    except (BadPayload, RecursionError, TypeError, ValueError):
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
