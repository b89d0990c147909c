"""A permitted write. `services/writer/gate.py` alone makes one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from marshmallow import EXCLUDE, Schema, fields

from shared.canonical import digest
from shared.domain.proposal import ProposalKind, object_of
from shared.domain.record import RecordRef, RecordRefSchema
from shared.domain.schema import Instant, Scalar, ScalarField, dump


@dataclass(frozen=True, kw_only=True)
class FieldWrite:
    """One field: ``before`` is the "now" that was shown and approved; ``after`` is written."""

    name: str
    before: Scalar
    after: Scalar


@dataclass(frozen=True, kw_only=True)
class Change:
    """``fields`` are sorted by name. ``decisions`` are the ids of the approvals it rests on.

    ``account`` is the CRM account that is written: the record's own, or the sandbox that stands in
    for it. ``promotes`` names the trial that this change carries to the live record.
    """

    id: str
    proposal_id: str
    event_id: str
    kind: ProposalKind
    account: str
    record: RecordRef
    record_version: str | None
    fields: tuple[FieldWrite, ...]
    source_sha256: str
    policy: str
    proposer: str
    expires_at: datetime
    decisions: tuple[str, ...] = ()
    promotes: str | None = None

    @property
    def object(self) -> str:
        """The object whose fields these are, as the policy names it."""
        return object_of(self.kind, self.record)

    @property
    def is_trial(self) -> bool:
        """Whether it is written to a sandbox and not to the live record."""
        return self.account != self.record.crm

    def digest(self) -> str:
        """Hex digest of the bytes that will be sent; who decided is signed beside it."""
        data = dump(ChangeSchema, self)
        del data["decisions"]
        return digest(data, kind="crm-change/v2")


class FieldWriteSchema(Schema):
    name = fields.String()
    before = ScalarField(allow_none=True)
    after = ScalarField(allow_none=True)


class ChangeSchema(Schema):
    """Only dumps: a change is never loaded from a message, it is derived again by the gate."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String()
    proposal_id = fields.String()
    event_id = fields.String()
    kind = fields.Enum(ProposalKind, by_value=True)
    account = fields.String()
    record = fields.Nested(RecordRefSchema)
    record_version = fields.String(allow_none=True)
    fields_ = fields.List(fields.Nested(FieldWriteSchema), data_key="fields", attribute="fields")
    source_sha256 = fields.String()
    policy = fields.String()
    proposer = fields.String()
    expires_at = Instant()
    decisions = fields.List(fields.String())
    promotes = fields.String(allow_none=True)
