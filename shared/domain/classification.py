"""The answer for one event, whoever gave it: rules or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from marshmallow import fields, validate

from shared.domain.event import Event, EventSchema
from shared.domain.proposal import Maker, MakerSchema, Proposal, ProposalSchema
from shared.domain.record import Reading, ReadingSchema, RecordRef, RecordRefSchema
from shared.domain.schema import ID, Instant, Many, Noun


class Outcome(StrEnum):
    """Three outcomes of equal rank."""

    PROPOSED = "proposed"
    NOTHING_TO_DO = "nothing_to_do"
    A_PERSON_MUST_LOOK = "a_person_must_look"


class Urgency(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A record that might be meant, and why."""

    record: RecordRef
    title: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing done on the way, for the log: a row of its own there.

    ``topic`` is one of ``record.read``, ``model.asked``, ``model.answered``,
    ``proposal.dropped``; ``data`` is checked against that topic's schema.
    """

    topic: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Classification:
    """``reason`` says in plain words why this outcome; ``flags`` mark what to be wary of.

    Flags in use: ``injection`` (steering text), ``unverified_sender``, ``auto_reply``, ``spam``,
    ``dropped_values``, ``budget``, ``model_unavailable``. ``reading`` is the matched record as it
    was read; ``matched_by`` is ``email``, ``phone``, ``external_id`` or ``event``.
    """

    event: Event
    outcome: Outcome
    route: str
    urgency: Urgency
    summary: str
    reason: str
    maker: Maker
    policy: str
    reply_draft: str | None = None
    next_steps: tuple[str, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    record: RecordRef | None = None
    matched_by: str | None = None
    reading: Reading | None = None
    candidates: tuple[Candidate, ...] = ()
    flags: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


class CandidateSchema(Noun):
    noun = Candidate
    record = fields.Nested(RecordRefSchema, required=True)
    title = fields.String(required=True)
    why = fields.String(required=True)


class StepSchema(Noun):
    noun = Step
    topic = fields.String(
        required=True,
        validate=validate.OneOf(
            ["record.read", "model.asked", "model.answered", "proposal.dropped"]
        ),
    )
    at = Instant(required=True)
    data = fields.Dict(keys=fields.String(), required=True)


class ClassificationSchema(Noun):
    noun = Classification
    event = fields.Nested(EventSchema, required=True)
    outcome = fields.Enum(Outcome, by_value=True, required=True)
    route = fields.String(required=True, validate=ID)
    urgency = fields.Enum(Urgency, by_value=True, required=True)
    summary = fields.String(required=True)
    reason = fields.String(required=True)
    maker = fields.Nested(MakerSchema, required=True)
    policy = fields.String(required=True)
    reply_draft = fields.String(load_default=None, allow_none=True)
    next_steps = Many(fields.String(), load_default=())
    proposals = Many(
        fields.Nested(ProposalSchema), load_default=(), validate=validate.Length(max=5)
    )
    record = fields.Nested(RecordRefSchema, load_default=None, allow_none=True)
    matched_by = fields.String(load_default=None, allow_none=True)
    reading = fields.Nested(ReadingSchema, load_default=None, allow_none=True)
    candidates = Many(fields.Nested(CandidateSchema), load_default=())
    flags = Many(fields.String(), load_default=())
    steps = Many(fields.Nested(StepSchema), load_default=())
