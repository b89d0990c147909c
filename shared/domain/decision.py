"""What a person decided about one proposal: a verdict per field, bound to what was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from marshmallow import fields, validate

from shared.canonical import canonical, digest
from shared.domain.record import RecordRef, RecordRefSchema
from shared.domain.schema import ID, Instant, Many, Noun, Scalar, ScalarField, Whole, dump


class Verdict(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"


class FieldVerdict(StrEnum):
    ACCEPTED = "accepted"
    EDITED = "edited"
    DROPPED = "dropped"


class Reason(StrEnum):
    """Why a proposal was rejected; counted monthly."""

    WRONG_VALUE = "wrong_value"
    WRONG_CUSTOMER = "wrong_customer"
    NOT_ASKED_FOR = "not_asked_for"
    ALREADY_DONE = "already_done"
    SUSPICIOUS = "suspicious"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class FieldDecision:
    """One field: the verdict, the value "now" that was shown, and the final value."""

    field: str
    verdict: FieldVerdict
    now: Scalar
    value: Scalar


@dataclass(frozen=True, kw_only=True)
class Decision:
    """``card_digest`` is what was shown, ``change_digest`` what may be written (approvals only).

    ``signature`` is base64 Ed25519 by ``key_id`` over `signed_bytes`. ``right_record`` is the
    record a person named when they rejected as "wrong customer". ``promotes`` names the trial that
    the person decided to carry to the live record. ``appends`` is note or task where it is about
    one. ``seconds`` is how long the card was open.
    """

    id: str
    proposal_id: str
    event_id: str
    verdict: Verdict
    fields: tuple[FieldDecision, ...]
    card_digest: str
    change_digest: str | None
    approver: str
    auth_level: str
    auth_time: datetime
    nonce: str
    decided_at: datetime
    valid_until: datetime
    reason: Reason | None = None
    comment: str | None = None
    right_record: RecordRef | None = None
    promotes: str | None = None
    appends: str | None = None
    seconds: int = 0
    key_id: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """The canonical bytes the signature covers: everything but the signature itself."""
        data = dump(DecisionSchema, replace(self, signature=""))
        del data["signature"]
        if self.appends is None:
            del data["appends"]  # Most are not about one, and were signed before there was any.
        return b"crm-decision/v1\n" + canonical(data)


def card_digest(proposal_digest: str, now: Mapping[str, Scalar], policy: str) -> str:
    """Hex digest of what a person saw: the proposal, the live values beside it, the policy."""
    card: dict[str, Any] = {"proposal": proposal_digest, "now": dict(now), "policy": policy}
    return digest(card, kind="crm-card/v1")


class FieldDecisionSchema(Noun):
    noun = FieldDecision
    field = fields.String(required=True, validate=ID)
    verdict = fields.Enum(FieldVerdict, by_value=True, required=True)
    now = ScalarField(required=True, allow_none=True)
    value = ScalarField(required=True, allow_none=True)


class DecisionSchema(Noun):
    noun = Decision
    id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    event_id = fields.String(required=True, validate=ID)
    verdict = fields.Enum(Verdict, by_value=True, required=True)
    fields_ = Many(
        fields.Nested(FieldDecisionSchema),
        required=True,
        data_key="fields",
        attribute="fields",
        validate=validate.Length(max=8),
    )
    card_digest = fields.String(required=True, validate=ID)
    change_digest = fields.String(required=True, allow_none=True)
    approver = fields.String(required=True, validate=ID)
    auth_level = fields.String(required=True)
    auth_time = Instant(required=True)
    nonce = fields.String(required=True, validate=ID)
    decided_at = Instant(required=True)
    valid_until = Instant(required=True)
    reason = fields.Enum(Reason, by_value=True, load_default=None, allow_none=True)
    comment = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=2000))
    right_record = fields.Nested(RecordRefSchema, load_default=None, allow_none=True)
    promotes = fields.String(load_default=None, allow_none=True)
    appends = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(["note", "task"])
    )
    seconds = Whole(load_default=0)
    key_id = fields.String(required=True)
    signature = fields.String(required=True)
