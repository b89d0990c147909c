"""What audit does with every message of every service: it goes into the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.audit.checkpoints import MOST_UNSEALED, SignedCheckpoint, sign_edge
from services.audit.contacts import persons_of
from services.audit.deps import WorkerDeps
from services.audit.encoding import canonical_body
from services.audit.ledger import Draft, Placed, append, edge_of, proof
from services.audit.outcomes import End, end_of, record_ends
from services.audit.vault import Vault
from shared.bus.envelope import Envelope
from shared.dead_letters import HANDLERS
from shared.domain import ids
from shared.domain.receipt import Receipt
from shared.domain.schema import fits, rfc3339
from shared.domain.topics import TOPICS, Topic
from shared.errors import BadPayload
from shared.faultpoints import reached
from shared.outbox import Unit
from shared.service import Effect


def log(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """One entry for the message, and before it one for each step it tells of.

    Raises `BadPayload` only for what no database can hold; a body that does not fit its schema
    is logged and marked.
    """
    drafts = drafts_of(envelope, deps.vault)
    end = end_of(envelope)

    def add(unit: Unit) -> None:
        batch = _batch_of(unit, deps)
        batch.drafts += drafts
        batch.ends += [end] if end else []
        if envelope.topic == Topic.CHANGE_INTENDED:
            batch.intents[envelope.id] = unit

    return add


def log_and_decide(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """A decision about a dead letter may be about one of audit's own."""
    HANDLERS[envelope.topic](envelope, deps)
    return log(envelope, deps)


def drafts_of(envelope: Envelope, vault: Vault) -> list[Draft]:
    """The entries that one message becomes."""
    drafts = []
    if envelope.topic == Topic.EVENT_CLASSIFIED:
        steps = envelope.body.get("steps")
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, Mapping) and step.get("topic") in TOPICS:
                drafts.append(_step_draft(envelope, number, step, vault))
    drafts.append(
        _draft(
            envelope,
            vault,
            topic=str(envelope.topic),
            at=rfc3339(envelope.at),
            message_id=envelope.id,
            cause=envelope.cause,
            body=envelope.body,
        )
    )
    return drafts


def _step_draft(envelope: Envelope, number: int, step: Mapping[str, Any], vault: Vault) -> Draft:
    topic = str(step["topic"])
    body = step.get("data")
    return _draft(
        envelope,
        vault,
        topic=topic,
        at=_time(step.get("at")) or rfc3339(envelope.at),
        message_id=ids.message_id(envelope.id, topic, f"step/{number}"),
        cause=envelope.id,
        body=body if isinstance(body, Mapping) else {"value": body},
    )


def _draft(
    envelope: Envelope,
    vault: Vault,
    *,
    topic: str,
    at: str,
    message_id: str,
    cause: str | None,
    body: Mapping[str, Any],
) -> Draft:
    for text in (envelope.subject, envelope.actor, envelope.chain, message_id):
        if not text.isprintable():
            raise BadPayload("the envelope holds characters that cannot be logged")
    return Draft(
        at=at,
        topic=topic,
        actor=envelope.actor,
        subject=envelope.subject,
        chain=envelope.chain,
        message_id=message_id,
        cause=cause,
        body=canonical_body(body),
        fits=_fits(topic, body),
        persons=vault.persons(persons_of(topic, body)),
    )


def _fits(topic: str, body: Mapping[str, Any]) -> bool:
    return fits(TOPICS[Topic(topic)].schema, body)


def _time(text: Any) -> str | None:
    try:
        return rfc3339(datetime.fromisoformat(str(text)).astimezone(UTC))
    except ValueError:
        return None


@dataclass(eq=False, kw_only=True)
class Batch:
    """What one commit appends. It runs last in the transaction: entries, seal, receipts."""

    deps: WorkerDeps
    drafts: list[Draft] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    intents: dict[str, Unit] = field(default_factory=dict)

    def __call__(self, unit: Unit) -> None:
        placed = append(unit.db, self.deps.vault, self.drafts)
        record_ends(unit.db, self.ends)
        reached("audit.appended")
        intents = [one for one in placed if one.draft.message_id in self.intents]
        if not intents and edge_of(unit.db).unsealed < MOST_UNSEALED:
            return
        checkpoint = sign_edge(unit, self.deps)
        for one in intents:
            _issue(self.intents[one.draft.message_id], one, checkpoint)
        reached("audit.receipts_issued")


def _batch_of(unit: Unit, deps: WorkerDeps) -> Batch:
    for ending in unit.endings:
        if isinstance(ending, Batch):
            return ending
    batch = Batch(deps=deps)
    unit.before_commit(batch)
    return batch


def _issue(unit: Unit, one: Placed, checkpoint: SignedCheckpoint) -> None:
    """The receipt leaves with the very commit that holds the entry, never without it."""
    path = proof(unit.db, one.seq, checkpoint.size)
    cause = unit.cause
    change_id = str(cause.body.get("id")) if cause else ""
    receipt = Receipt(
        change_id=change_id,
        entry=one.entry(),
        salt=one.salt.hex(),
        proof=tuple(hash_.hex() for hash_ in path),
        checkpoint=checkpoint.note,
    )
    unit.publish(Topic.RECEIPT_ISSUED, receipt, subject=f"change/{change_id}")
