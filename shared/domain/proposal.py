"""Changes to one record, proposed by rules or a model and waiting for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from marshmallow import fields, validate

from shared.canonical import digest
from shared.domain.record import RecordRef, RecordRefSchema
from shared.domain.schema import ID, Instant, Many, Noun, Scalar, ScalarField, Whole, dump


class ProposalKind(StrEnum):
    """An update of a live record, a new record as a draft in a space of its own (G8), or a note or
    task that is appended to a live record and takes the place of nothing.
    """

    UPDATE = "update"
    DRAFT = "draft"
    NOTE = "note"
    TASK = "task"

    @property
    def appends(self) -> bool:
        return self in APPENDED


# What the policy calls the fields of what is appended: ``[fields.<crm>.notes.text]``.
APPENDED: Final[Mapping[ProposalKind, str]] = {
    ProposalKind.NOTE: "notes",
    ProposalKind.TASK: "tasks",
}
# Without it there is nothing to append.
SUBSTANCE: Final[Mapping[ProposalKind, str]] = {
    ProposalKind.NOTE: "text",
    ProposalKind.TASK: "subject",
}


def object_of(kind: ProposalKind, record: RecordRef) -> str:
    """The object whose fields are meant, as the policy names it."""
    return APPENDED.get(kind, record.type)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where a value came from: characters ``start``–``end`` of one part of the event.

    ``quote`` is exactly that slice. ``part`` is a key of ``Event.parts``.
    """

    part: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field: what stood there when it was read, what is proposed, and why.

    ``confidence`` is in per mille (0–1000); digests allow no floats.
    """

    field: str
    before: Scalar
    after: Scalar
    evidence: Evidence | None = None
    confidence: int = 0


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Who made the proposal: ``kind`` is ``rules``, ``model`` or ``person``.

    ``cost_microcents`` is in millionths of a US cent.
    """

    kind: str
    name: str
    version: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_microcents: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """``record.id`` is ``new`` for a draft. ``fields`` are sorted by name.

    A note has the field ``text``, a task ``subject`` and perhaps ``due``; ``record`` is then what
    they are appended to.

    ``undoes`` names the change this proposal would put back; ``follows`` the proposal whose
    fields it takes over (superseding, another round). ``promotes`` names the trial whose values it
    would carry to the live record.
    """

    id: str
    event_id: str
    kind: ProposalKind
    record: RecordRef
    title: str
    fields: tuple[FieldChange, ...]
    maker: Maker
    policy: str
    source_sha256: str
    created_at: datetime
    expires_at: datetime
    record_version: str | None = None
    round: int = 1
    follows: str | None = None
    undoes: str | None = None
    promotes: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """The object whose fields these are, as the policy names it."""
        return object_of(self.kind, self.record)

    def digest(self) -> str:
        """Hex SHA-256 over exactly what was proposed."""
        return digest_of(dump(ProposalSchema, self))


def digest_of(body: Mapping[str, Any]) -> str:
    """`Proposal.digest` where the proposal is plain data already."""
    return digest(body, kind="crm-proposal/v1")


class EvidenceSchema(Noun):
    noun = Evidence
    part = fields.String(required=True, validate=ID)
    start = Whole(required=True, validate=validate.Range(min=0))
    end = Whole(required=True, validate=validate.Range(min=0))
    quote = fields.String(required=True)


class FieldChangeSchema(Noun):
    noun = FieldChange
    field = fields.String(required=True, validate=ID)
    before = ScalarField(required=True, allow_none=True)
    after = ScalarField(required=True, allow_none=True)
    evidence = fields.Nested(EvidenceSchema, load_default=None, allow_none=True)
    confidence = Whole(load_default=0, validate=validate.Range(min=0, max=1000))


class MakerSchema(Noun):
    noun = Maker
    kind = fields.String(required=True, validate=validate.OneOf(["rules", "model", "person"]))
    name = fields.String(required=True)
    version = fields.String(required=True)
    tokens_in = Whole(load_default=0)
    tokens_out = Whole(load_default=0)
    cost_microcents = Whole(load_default=0)


class ProposalSchema(Noun):
    noun = Proposal
    id = fields.String(required=True, validate=ID)
    event_id = fields.String(required=True, validate=ID)
    kind = fields.Enum(ProposalKind, by_value=True, required=True)
    record = fields.Nested(RecordRefSchema, required=True)
    title = fields.String(required=True)
    fields_ = Many(
        fields.Nested(FieldChangeSchema),
        required=True,
        data_key="fields",
        attribute="fields",
        validate=validate.Length(min=1, max=8),
    )
    maker = fields.Nested(MakerSchema, required=True)
    policy = fields.String(required=True)
    source_sha256 = fields.String(required=True)
    created_at = Instant(required=True)
    expires_at = Instant(required=True)
    record_version = fields.String(load_default=None, allow_none=True)
    round = Whole(load_default=1)
    follows = fields.String(load_default=None, allow_none=True)
    undoes = fields.String(load_default=None, allow_none=True)
    promotes = fields.String(load_default=None, allow_none=True)
    flags = Many(fields.String(), load_default=())
