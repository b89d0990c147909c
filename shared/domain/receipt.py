"""Proof that the intent of a change is in the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import fields

from shared.domain.ledger import LedgerEntry, LedgerEntrySchema
from shared.domain.schema import ID, Many, Noun


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """``entry`` is the ledger line of the intent, ``salt`` (hex) opens its commitment.

    ``proof`` is the RFC 6962 inclusion path (hex hashes) of the entry in the tree that
    ``checkpoint`` (a C2SP signed note) seals.
    """

    change_id: str
    entry: LedgerEntry
    salt: str
    proof: tuple[str, ...]
    checkpoint: str


class ReceiptSchema(Noun):
    noun = Receipt
    change_id = fields.String(required=True, validate=ID)
    entry = fields.Nested(LedgerEntrySchema, required=True)
    salt = fields.String(required=True)
    proof = Many(fields.String(), required=True)
    checkpoint = fields.String(required=True)
