"""One line of the audit log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import fields, validate

from shared.canonical import canonical
from shared.domain.schema import ID, Instant, Noun, Whole, dump


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """``seq`` counts from 0 without gaps. Nothing here is personal data.

    ``subject`` names the thing it is about (``change/<id>``, ``proposal/<id>``, ``event/<id>``),
    ``chain`` the event all of it follows from, ``commitment`` is hex SHA-256 over a 32-byte salt
    and the canonical body. ``actor`` names a service or a person by id.
    """

    seq: int
    at: datetime
    topic: str
    actor: str
    subject: str
    chain: str
    message_id: str
    cause: str | None
    commitment: str

    def leaf(self) -> bytes:
        """The leaf data of the Merkle tree: the canonical entry."""
        return canonical(dump(LedgerEntrySchema, self))


def commitment(salt: bytes, body: Mapping[str, Any]) -> str:
    """Hex SHA-256 over the salt and the canonical body."""
    return hashlib.sha256(salt + canonical(body)).hexdigest()


class LedgerEntrySchema(Noun):
    noun = LedgerEntry
    seq = Whole(required=True, validate=validate.Range(min=0))
    at = Instant(required=True)
    topic = fields.String(required=True, validate=ID)
    actor = fields.String(required=True)
    subject = fields.String(required=True)
    chain = fields.String(required=True)
    message_id = fields.String(required=True, validate=ID)
    cause = fields.String(required=True, allow_none=True)
    commitment = fields.String(required=True)
