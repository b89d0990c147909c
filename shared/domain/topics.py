"""The one table of what can happen: topic, who publishes it, who acts on it, its schema.

Broker rights, bindings and the topology are generated from it. Audit hears everything, so it is
not named among the consumers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from marshmallow import Schema

from shared.domain import notices
from shared.domain.classification import ClassificationSchema
from shared.domain.decision import DecisionSchema
from shared.domain.event import EventSchema
from shared.domain.receipt import ReceiptSchema


class Topic(StrEnum):
    """One value is a routing key and an audit action at once."""

    EVENT_RECEIVED = "event.received"
    EVENT_REJECTED = "event.rejected"
    EVENT_REPLAYED = "event.replayed"
    EVENT_CLASSIFIED = "event.classified"
    EVENT_HANDLED = "event.handled"
    EVENT_FAILED = "event.failed"
    MESSAGE_PARKED = "message.parked"
    MESSAGE_REPLAYED = "message.replayed"
    MESSAGE_DROPPED = "message.dropped"
    RECORD_READ = "record.read"
    MODEL_ASKED = "model.asked"
    MODEL_ANSWERED = "model.answered"
    PROPOSAL_DROPPED = "proposal.dropped"
    PROPOSAL_SUPERSEDED = "proposal.superseded"
    PROPOSAL_EXPIRED = "proposal.expired"
    CARD_OPENED = "card.opened"
    DECISION_MADE = "decision.made"
    CHANGE_INTENDED = "change.intended"
    RECEIPT_ISSUED = "receipt.issued"
    CHANGE_APPLIED = "change.applied"
    CHANGE_FAILED = "change.failed"
    CHANGE_STALE = "change.stale"
    CHANGE_UNKNOWN = "change.unknown"
    CHANGE_VERIFIED = "change.verified"
    ASSIST_REQUESTED = "assist.requested"
    REPAIR_REQUESTED = "repair.requested"
    POLICY_CHANGED = "policy.changed"
    PERSON_CHANGED = "person.changed"
    SOURCE_CHANGED = "source.changed"
    SESSION_OPENED = "session.opened"
    SEARCH_MADE = "search.made"
    RECORD_UNMASKED = "record.unmasked"
    PERSON_ERASED = "person.erased"
    CHECKPOINT_SIGNED = "checkpoint.signed"
    KEY_CHANGED = "key.changed"
    WRITING_STOPPED = "writing.stopped"
    WRITING_RESUMED = "writing.resumed"
    DRAFT_PROMOTED = "draft.promoted"
    DRAFT_DISCARDED = "draft.discarded"
    GRANT_MADE = "grant.made"
    GRANT_REVOKED = "grant.revoked"


@dataclass(frozen=True, kw_only=True)
class Row:
    """``version`` is the schema's version; it grows when the body's shape changes."""

    publishers: tuple[str, ...]
    consumers: tuple[str, ...] = ()
    schema: type[Schema]
    version: int = 1


T = Topic
INGEST, CLASSIFIER, WRITER, AUDIT = "ingest", "classifier", "writer", "audit"
SERVICES = (INGEST, CLASSIFIER, WRITER, AUDIT)

TOPICS: dict[Topic, Row] = {
    T.EVENT_RECEIVED: Row(publishers=(INGEST,), consumers=(CLASSIFIER,), schema=EventSchema),
    T.EVENT_REJECTED: Row(publishers=(INGEST, CLASSIFIER), schema=notices.EventRejected),
    T.EVENT_REPLAYED: Row(publishers=(INGEST,), schema=notices.EventReplayed),
    T.EVENT_CLASSIFIED: Row(
        publishers=(CLASSIFIER,), consumers=(WRITER,), schema=ClassificationSchema
    ),
    T.EVENT_HANDLED: Row(publishers=(WRITER,), schema=notices.EventHandled),
    T.EVENT_FAILED: Row(publishers=SERVICES, schema=notices.EventFailed),
    T.MESSAGE_PARKED: Row(publishers=SERVICES, schema=notices.MessageParked),
    T.MESSAGE_REPLAYED: Row(
        publishers=(AUDIT,),
        consumers=(INGEST, CLASSIFIER, WRITER),
        schema=notices.MessageReplayed,
    ),
    T.MESSAGE_DROPPED: Row(
        publishers=(AUDIT,),
        consumers=(INGEST, CLASSIFIER, WRITER),
        schema=notices.MessageDropped,
    ),
    T.RECORD_READ: Row(publishers=(CLASSIFIER, WRITER), schema=notices.RecordRead),
    T.MODEL_ASKED: Row(publishers=(CLASSIFIER,), schema=notices.ModelAsked),
    T.MODEL_ANSWERED: Row(publishers=(CLASSIFIER,), schema=notices.ModelAnswered),
    T.PROPOSAL_DROPPED: Row(publishers=(CLASSIFIER, WRITER), schema=notices.ProposalDropped),
    T.PROPOSAL_SUPERSEDED: Row(publishers=(WRITER,), schema=notices.ProposalSuperseded),
    T.PROPOSAL_EXPIRED: Row(publishers=(WRITER,), schema=notices.ProposalExpired),
    T.CARD_OPENED: Row(publishers=(WRITER,), schema=notices.CardOpened),
    T.DECISION_MADE: Row(publishers=(WRITER,), consumers=(WRITER,), schema=DecisionSchema),
    T.CHANGE_INTENDED: Row(publishers=(WRITER,), schema=notices.ChangeIntended),
    T.RECEIPT_ISSUED: Row(publishers=(AUDIT,), consumers=(WRITER,), schema=ReceiptSchema),
    T.CHANGE_APPLIED: Row(publishers=(WRITER,), schema=notices.ChangeApplied),
    T.CHANGE_FAILED: Row(publishers=(WRITER,), schema=notices.ChangeFailed),
    T.CHANGE_STALE: Row(publishers=(WRITER,), schema=notices.ChangeStale),
    T.CHANGE_UNKNOWN: Row(publishers=(WRITER,), schema=notices.ChangeUnknown),
    T.CHANGE_VERIFIED: Row(publishers=(WRITER,), schema=notices.ChangeVerified),
    T.ASSIST_REQUESTED: Row(
        publishers=(WRITER,), consumers=(CLASSIFIER,), schema=notices.AssistRequested
    ),
    T.REPAIR_REQUESTED: Row(
        publishers=(AUDIT,), consumers=(WRITER,), schema=notices.RepairRequested
    ),
    T.POLICY_CHANGED: Row(publishers=(WRITER,), schema=notices.PolicyChanged),
    T.PERSON_CHANGED: Row(publishers=(WRITER,), schema=notices.PersonChanged),
    T.SOURCE_CHANGED: Row(publishers=(INGEST,), schema=notices.SourceChanged),
    T.SESSION_OPENED: Row(publishers=(WRITER, AUDIT), schema=notices.SessionOpened),
    T.SEARCH_MADE: Row(publishers=(AUDIT,), schema=notices.SearchMade),
    T.RECORD_UNMASKED: Row(publishers=(AUDIT, WRITER, INGEST), schema=notices.RecordUnmasked),
    T.PERSON_ERASED: Row(
        publishers=(AUDIT,), consumers=(INGEST, CLASSIFIER, WRITER), schema=notices.PersonErased
    ),
    T.CHECKPOINT_SIGNED: Row(publishers=(AUDIT,), schema=notices.CheckpointSigned),
    T.KEY_CHANGED: Row(publishers=(AUDIT,), schema=notices.KeyChanged),
    T.WRITING_STOPPED: Row(publishers=(WRITER,), schema=notices.WritingStopped),
    T.WRITING_RESUMED: Row(publishers=(WRITER,), schema=notices.WritingResumed),
    T.DRAFT_PROMOTED: Row(publishers=(WRITER,), schema=notices.DraftPromoted),
    T.DRAFT_DISCARDED: Row(publishers=(WRITER,), schema=notices.DraftDiscarded),
    T.GRANT_MADE: Row(publishers=(WRITER,), schema=notices.GrantMade),
    T.GRANT_REVOKED: Row(publishers=(WRITER,), schema=notices.GrantRevoked),
}


def consumed_by(service: str) -> tuple[Topic, ...]:
    """The topics a service acts on; audit hears all."""
    if service == AUDIT:
        return tuple(TOPICS)
    return tuple(topic for topic, row in TOPICS.items() if service in row.consumers)
