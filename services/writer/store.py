"""Rows of proposals and decisions: written and moved by compare-and-set alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, select, update

from services.writer.office import Stop, effective_end
from services.writer.tables import (
    assists,
    card_views,
    classifications,
    corrections,
    decisions,
    pending_fields,
    proposal_fields,
    proposals,
    worklist,
)
from shared.db import insert_new, upsert
from shared.domain.classification import Classification, ClassificationSchema
from shared.domain.decision import Decision, DecisionSchema, FieldVerdict
from shared.domain.event import Event
from shared.domain.proposal import Proposal, ProposalKind, ProposalSchema, digest_of
from shared.domain.schema import Scalar, dump, load, parse_instant, rfc3339
from shared.errors import NotFound
from shared.office import Office

# What every proposal asks for: building a statement costs more than running it.
_HOLD = pending_fields.insert().inline()
_FREE = pending_fields.delete().where(pending_fields.c.proposal_id == bindparam("proposal"))
_HOLDERS = (
    select(pending_fields.c.field.label("held_field"), proposals)
    .join(proposals, proposals.c.id == pending_fields.c.proposal_id)
    .where(
        pending_fields.c.slot == bindparam("of_slot"),
        pending_fields.c.field.in_(bindparam("of_fields", expanding=True)),
    )
)
_CLOSE = (
    update(proposals)
    .where(proposals.c.id == bindparam("proposal"), proposals.c.state == "pending")
    .values(
        state=bindparam("to"),
        decided_at=bindparam("at"),
        decided_by=bindparam("by"),
        superseded_by=bindparam("newer"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a proposal comes from: the source's name and when the thing happened outside."""

    source: str
    event_at: datetime


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def slot_of(proposal: Proposal) -> str:
    """What only one proposal may wait for: the record, or this event's draft, note or task."""
    if proposal.kind is ProposalKind.DRAFT:
        return f"{proposal.record}#{proposal.event_id}"
    if proposal.kind.appends:
        return f"{proposal.record}#{proposal.event_id}/{proposal.object}"
    return str(proposal.record)


def insert_proposal(db: Connection, proposal: Proposal, origin: Origin, risk: str) -> bool:
    """Store it as pending, without holding its fields yet. False: it is here already."""
    body = dump(ProposalSchema, proposal)
    row = {
        "id": proposal.id,
        "event_id": proposal.event_id,
        "record": str(proposal.record),
        "slot": slot_of(proposal),
        "state": "pending",
        "title": proposal.title,
        "source": origin.source,
        "maker": str(proposal.maker),
        "prompt_version": proposal.maker.version,
        "risk": risk,
        "round": proposal.round,
        "event_at": rfc3339(origin.event_at),
        "created_at": rfc3339(proposal.created_at),
        "expires_at": rfc3339(proposal.expires_at),
        "digest": digest_of(body),
        "body": to_json(body),
        "follows": proposal.follows,
        "undoes": proposal.undoes,
        "promotes": proposal.promotes,
    }
    if not insert_new(db, proposals, [row]):
        return False
    fields = [
        {
            "proposal_id": proposal.id,
            "field": field.field,
            "record": str(proposal.record),
            "created_at": row["created_at"],
        }
        for field in proposal.fields
    ]
    insert_new(db, proposal_fields, fields)
    return True


def hold_fields(db: Connection, proposal: Proposal) -> None:
    """Take the record's fields. The primary key refuses where another proposal has one."""
    rows = [
        {"slot": slot_of(proposal), "field": field.field, "proposal_id": proposal.id}
        for field in proposal.fields
    ]
    db.execute(_HOLD, rows)


def free_fields(db: Connection, proposal_id: str) -> None:
    db.execute(_FREE, {"proposal": proposal_id})


def holders(db: Connection, slot: str, fields: Iterable[str]) -> dict[str, Row[Any]]:
    """The rows of the pending proposals that hold these fields, by field."""
    found = db.execute(_HOLDERS, {"of_slot": slot, "of_fields": list(fields)})
    return {row.held_field: row for row in found}


def row_of(db: Connection, proposal_id: str) -> Row[Any]:
    """The stored row. Raises `NotFound`."""
    row = db.execute(select(proposals).where(proposals.c.id == proposal_id)).first()
    if row is None:
        raise NotFound("there is no such card")
    return row


def proposal_of(row: Row[Any] | Mapping[str, Any]) -> Proposal:
    """The noun of a stored row."""
    body = row["body"] if isinstance(row, Mapping) else row.body
    proposal: Proposal = load(ProposalSchema, json.loads(body))
    return proposal


def origin_of(row: Row[Any]) -> Origin:
    return Origin(source=row.source, event_at=parse_instant(row.event_at))


def deadline(row: Row[Any], office: Office, stops: Sequence[Stop], now: datetime) -> datetime:
    """When a card really expires: its signed time and the time that writing was stopped."""
    created, expires = parse_instant(row.created_at), parse_instant(row.expires_at)
    return effective_end(office, created, expires, stops, now)


def note_refused(db: Connection, proposal_id: str, rule: str, detail: str) -> None:
    """An approval that the gate refused: the card says so."""
    db.execute(
        update(proposals)
        .where(proposals.c.id == proposal_id)
        .values(refused_rule=rule, refused_detail=detail)
    )


def keep_pending(db: Connection, proposal_id: str) -> bool:
    """Lock the row of a pending proposal until the commit. False: it is pending no more."""
    statement = (
        update(proposals)
        .where(proposals.c.id == proposal_id, proposals.c.state == "pending")
        .values(state="pending")
    )
    return db.execute(statement).rowcount == 1


def close(
    db: Connection,
    proposal_id: str,
    state: str,
    *,
    at: datetime,
    by: str | None = None,
    superseded_by: str | None = None,
) -> bool:
    """Move pending to its end. False: somebody else already did."""
    end = {"to": state, "at": rfc3339(at), "by": by, "newer": superseded_by}
    if db.execute(_CLOSE, {"proposal": proposal_id, **end}).rowcount != 1:
        return False
    free_fields(db, proposal_id)
    return True


def insert_decision(db: Connection, decision: Decision, policy: str, look: int) -> bool:
    """Store a signed decision. False: this person decided on this very card before."""
    row = {
        "id": decision.id,
        "proposal_id": decision.proposal_id,
        "approver": decision.approver,
        "verdict": str(decision.verdict),
        "card_digest": decision.card_digest,
        "policy": policy,
        "look": look,
        "nonce": decision.nonce,
        "decided_at": rfc3339(decision.decided_at),
        "body": to_json(dump(DecisionSchema, decision)),
    }
    return insert_new(db, decisions, [row]) == 1


def decisions_for(
    db: Connection, proposal_id: str, card_digest: str | None = None
) -> list[tuple[Decision, str]]:
    """Decisions on a proposal, oldest first, each with the policy hash that was shown."""
    query = select(decisions).where(decisions.c.proposal_id == proposal_id)
    if card_digest is not None:
        query = query.where(decisions.c.card_digest == card_digest)
    rows = db.execute(query.order_by(decisions.c.decided_at, decisions.c.id))
    return [(load(DecisionSchema, json.loads(row.body)), row.policy) for row in rows]


def approvals_since(db: Connection, approver: str, since: datetime) -> int:
    """How many cards this person approved from ``since`` on."""
    query = select(func.count()).where(
        decisions.c.approver == approver,
        decisions.c.verdict == "approved",
        decisions.c.decided_at >= rfc3339(since),
    )
    return db.scalar(query) or 0


def note_verdicts(db: Connection, proposal_id: str, verdicts: Mapping[str, FieldVerdict]) -> None:
    """Remember each field's verdict, for the track record of the field."""
    for field, verdict in verdicts.items():
        db.execute(
            update(proposal_fields)
            .where(
                and_(proposal_fields.c.proposal_id == proposal_id, proposal_fields.c.field == field)
            )
            .values(verdict=str(verdict))
        )


def set_columns(db: Connection, proposal_id: str, **values: Any) -> None:
    """Soft columns (claim, assignee, snooze) of a card that still waits."""
    db.execute(
        update(proposals)
        .where(proposals.c.id == proposal_id, proposals.c.state == "pending")
        .values(**values)
    )


def sender_of(event: Event) -> str | None:
    """Who says they sent it, in one line."""
    if event.sender is None:
        return None
    parts = (event.sender.name, event.sender.email or event.sender.phone)
    return " · ".join(part for part in parts if part) or None


def insert_classification(db: Connection, answer: Classification, body: Mapping[str, Any]) -> bool:
    """Keep the whole answer for the event; a later round replaces it. False: it was here.

    ``body`` is the answer as it came, plain and checked.
    """
    row = {
        "event_id": answer.event.id,
        "outcome": str(answer.outcome),
        "source": answer.event.source,
        "received_at": rfc3339(answer.event.received_at),
        "record": str(answer.record) if answer.record else None,
        "subject": answer.event.subject,
        "sender": sender_of(answer.event),
        "flags": to_json(list(answer.flags)),
        # The steps (prompts among them) are for the log alone.
        "body": to_json({**body, "steps": []}),
    }
    if insert_new(db, classifications, [row]):
        return True
    upsert(db, classifications, row, key=["event_id"])
    return False


def classification_of(db: Connection, event_id: str) -> Classification | None:
    """What was answered for an event."""
    query = select(classifications.c.body).where(classifications.c.event_id == event_id)
    body = db.scalar(query)
    if body is None:
        return None
    answer: Classification = load(ClassificationSchema, json.loads(body))
    return answer


def add_work(
    db: Connection, event_id: str, *, reason: str, route: str, urgency: str, at: datetime
) -> None:
    """Put an event on the list of what a person must look at; a repeat changes nothing."""
    row = {
        "event_id": event_id,
        "state": "open",
        "reason": reason,
        "route": route,
        "urgency": urgency,
        "created_at": rfc3339(at),
    }
    insert_new(db, worklist, [row])


def note_view(
    db: Connection, proposal_id: str, person: str, card_digest: str, at: datetime
) -> bool:
    """The first time this person saw this very card. False: they saw it before."""
    row = {
        "proposal_id": proposal_id,
        "person": person,
        "card_digest": card_digest,
        "opened_at": rfc3339(at),
    }
    return insert_new(db, card_views, [row]) == 1


def viewed_at(db: Connection, proposal_id: str, person: str, card_digest: str) -> str | None:
    query = select(card_views.c.opened_at).where(
        card_views.c.proposal_id == proposal_id,
        card_views.c.person == person,
        card_views.c.card_digest == card_digest,
    )
    return db.scalar(query)


def rounds_of(db: Connection, event_id: str) -> int:
    """How often an event was sent back."""
    query = select(func.count()).where(assists.c.event_id == event_id, assists.c.kind == "again")
    return db.scalar(query) or 0


def note_assist(db: Connection, body: Mapping[str, Any], person: str, at: datetime) -> None:
    row = {name: body[name] for name in ("id", "kind", "proposal_id", "event_id", "round", "note")}
    record = str(body["record"]) if body["record"] else None
    moment = rfc3339(at)
    insert_new(db, assists, [{**row, "record": record, "person": person, "asked_at": moment}])


def note_correction(
    db: Connection,
    *,
    change_id: str,
    field: str,
    event_id: str,
    value: Scalar,
    changed_by: str | None,
    at: datetime,
) -> None:
    """A person changed in the CRM what we had written."""
    row = {
        "change_id": change_id,
        "field": field,
        "event_id": event_id,
        "value": to_json(value),
        "changed_by": changed_by,
        "noticed_at": rfc3339(at),
    }
    insert_new(db, corrections, [row])


def pending_rows(db: Connection) -> Sequence[Row[Any]]:
    """All that waits for a decision."""
    return db.execute(select(proposals).where(proposals.c.state == "pending")).all()
