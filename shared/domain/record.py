"""A record in a CRM, and what was read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from marshmallow import fields

from shared.domain.schema import ID, Instant, Many, Noun, Scalar, ScalarField

# The type of a new person in our own space, whatever the CRM calls its people.
DRAFTS: Final = "drafts"


@dataclass(frozen=True, kw_only=True)
class RecordRef:
    """``crm`` is the connector's name, ``type`` the CRM's own object type in the plural."""

    crm: str
    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.crm}/{self.type}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class HistoryItem:
    """One thing that happened to the record, in words: a note, a call, a change of stage."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The fields of one record at one moment, as the CRM gave them."""

    ref: RecordRef
    title: str
    fields: Mapping[str, Scalar]
    version: str | None
    read_at: datetime
    url: str | None = None
    history: tuple[HistoryItem, ...] = field(default=())


class RecordRefSchema(Noun):
    noun = RecordRef
    crm = fields.String(required=True, validate=ID)
    type = fields.String(required=True, validate=ID)
    id = fields.String(required=True, validate=ID)


class HistoryItemSchema(Noun):
    noun = HistoryItem
    at = Instant(required=True)
    kind = fields.String(required=True)
    text = fields.String(required=True)


class ReadingSchema(Noun):
    noun = Reading
    ref = fields.Nested(RecordRefSchema, required=True)
    title = fields.String(required=True)
    fields_ = fields.Dict(
        keys=fields.String(),
        values=ScalarField(allow_none=True),
        required=True,
        data_key="fields",
        attribute="fields",
    )
    version = fields.String(required=True, allow_none=True)
    read_at = Instant(required=True)
    url = fields.String(load_default=None, allow_none=True)
    history = Many(fields.Nested(HistoryItemSchema), load_default=())
