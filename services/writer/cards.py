"""One card, one worklist item: everything that a person sees, built from stored bytes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from services.writer import change_store, policy_store, queries, store
from services.writer.approving import entitlement
from services.writer.case import held
from services.writer.change_views import change_view, trial_view
from services.writer.deps import WebDeps
from services.writer.policy_store import InForce
from services.writer.rows import card_rows, label_of
from services.writer.stages import account_of, rule_of
from services.writer.tables import changes, proposal_fields, proposals, worklist
from services.writer.verdicts import before_of, moved_fields
from services.writer.views import (
    CandidateView,
    Card,
    DecisionLine,
    EventView,
    FieldLine,
    NowField,
    NowView,
    PastProposal,
    Quote,
    ReadView,
    Track,
    VerdictLine,
    WorkItem,
)
from shared.access import Person
from shared.db import reading
from shared.domain.classification import Candidate, Classification
from shared.domain.decision import Decision, card_digest
from shared.domain.event import Event
from shared.domain.proposal import Evidence, FieldChange, Proposal, ProposalKind
from shared.domain.record import Reading
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotFound, Rejected
from shared.policy import check
from shared.values import oddities

AROUND = 160
TRACK_RECORD = timedelta(days=90)
ROUNDS = 2


def card(deps: WebDeps, person: Person, proposal_id: str) -> Card:
    """Everything about one card but the live values. Raises `NotFound`."""
    now = deps.clock()
    with reading(deps.engine) as db:
        row = store.row_of(db, proposal_id)
        proposal = store.proposal_of(row)
        in_force = policy_store.in_force(db)
        answer = store.classification_of(db, proposal.event_id)
        given = [one for one, _ in store.decisions_for(db, proposal_id)]
        blocked, solo_wait = entitlement(db, deps, person, proposal, given, in_force, now)
        event = answer.event if answer else None
        return Card(
            row=card_rows(db, [row], now)[0],
            why=_why(proposal, answer, in_force, _tries_in(deps, row, proposal, in_force)),
            route=answer.route if answer else "",
            urgency=str(answer.urgency) if answer else "normal",
            summary=answer.summary if answer else "",
            reply_draft=answer.reply_draft if answer else None,
            next_steps=answer.next_steps if answer else (),
            lines=tuple(_line(db, proposal, f, event, in_force, now) for f in proposal.fields),
            event=event_view(event) if event else None,
            reading=read_view(answer.reading) if answer and answer.reading else None,
            candidates=tuple(_candidate(c) for c in answer.candidates) if answer else (),
            history=_history(db, row),
            decisions=tuple(_decision_line(one) for one in given),
            change=change_view(db, row),
            tries_in=_tries_in(deps, row, proposal, in_force),
            tried=trial_view(db, proposal.promotes) if proposal.promotes else None,
            card_digest=_digest(proposal, in_force),
            policy=in_force.policy.version,
            guarantee=_guarantee(
                deps, proposal, account_of(proposal, in_force.policy, deps.sandboxes)
            ),
            blocked=blocked,
            solo_wait=solo_wait,
            rounds_left=max(ROUNDS - store.rounds_of(db, proposal.event_id), 0),
            follows=row.follows,
            superseded_by=row.superseded_by,
            undoes=row.undoes,
        )


def _digest(proposal: Proposal, in_force: InForce) -> str:
    return card_digest(proposal.digest(), before_of(proposal), in_force.policy.version)


def _tries_in(deps: WebDeps, row: Row[Any], proposal: Proposal, in_force: InForce) -> str | None:
    """The sandbox that an approval of this card would write to."""
    account = account_of(proposal, in_force.policy, deps.sandboxes)
    return account if row.state == "pending" and account != proposal.record.crm else None


def _guarantee(deps: WebDeps, proposal: Proposal, account: str) -> str:
    """What stands between the last look at the record and the write, in this CRM."""
    if account != proposal.record.crm:
        return f"{proposal.record.crm} is read and compared; only {account} is written."
    reader = deps.readers.get(proposal.record.crm)
    if proposal.kind is ProposalKind.DRAFT or reader is None:
        return ""
    if proposal.kind.appends:
        return f"Nothing is overwritten: the {proposal.kind} is added once and read back."
    if reader.capabilities.apply_by_hand:
        return "This CRM has no API: a person makes the change by hand and says so."
    if reader.capabilities.conditional_write:
        return "The CRM itself refuses the write if somebody was faster."
    return (
        "This CRM cannot refuse a stale write: each field is compared right before it is written "
        "and read back right after."
    )


def _why(
    proposal: Proposal, answer: Classification | None, in_force: InForce, tries_in: str | None
) -> str:
    """Who asks, and why it needs a person: our words over stored data."""
    sender = store.sender_of(answer.event) if answer else None
    if proposal.maker.kind == "person":
        who = f"{proposal.maker.name} proposes this"
    else:
        who = f"{sender or (answer.event.source if answer else 'An event')} brought this in"
    modes = {_mode(proposal, field.field, in_force) for field in proposal.fields}
    needs = "two people approve it" if "two_person" in modes else "a person approves it"
    before = "anything is written"
    if tries_in:
        before = f"it is tried in {tries_in}, and again before {proposal.record.crm} is written"
    elif proposal.promotes:
        before = f"what was tried is written to {proposal.record.crm}"
    return f"{who}; by policy {needs} before {before}."


def _mode(proposal: Proposal, field: str, in_force: InForce) -> str:
    rule = rule_of(in_force.policy, proposal, field)
    return str(rule.mode) if rule else "never"


def _line(
    db: Connection,
    proposal: Proposal,
    field: FieldChange,
    event: Event | None,
    in_force: InForce,
    now: datetime,
) -> FieldLine:
    rule = rule_of(in_force.policy, proposal, field.field)
    if rule is None:
        problem: str | None = "the policy in force does not list this field"
    else:
        problem = None if proposal.undoes else check(rule, field.after)
    return FieldLine(
        field=field.field,
        label=label_of(field.field),
        before=field.before,
        proposed=field.after,
        evidence=quote_of(field.evidence, event),
        confidence=field.confidence,
        type=str(rule.type) if rule else "text",
        max_length=rule.max_length if rule else None,
        allowed=rule.allowed if rule else (),
        mode=str(rule.mode) if rule else "never",
        stage=str(rule.stage) if rule else "",
        rule=rule.reason if rule else "",
        problem=problem,
        oddities=oddities(field.after) if isinstance(field.after, str) else (),
        track=_track(db, field.field, now),
    )


def quote_of(evidence: Evidence | None, event: Event | None) -> Quote | None:
    """The quoted characters in their place; ``None`` where the stored text does not hold them."""
    if evidence is None or event is None:
        return None
    text = event.parts.get(evidence.part, "")
    if text[evidence.start : evidence.end] != evidence.quote:
        return None
    return Quote(
        part=evidence.part,
        before=text[max(evidence.start - AROUND, 0) : evidence.start],
        quote=evidence.quote,
        after=text[evidence.end : evidence.end + AROUND],
    )


def _track(db: Connection, field: str, now: datetime) -> Track:
    query = (
        select(proposal_fields.c.verdict, func.count())
        .where(
            proposal_fields.c.field == field,
            proposal_fields.c.verdict.isnot(None),
            proposal_fields.c.created_at >= rfc3339(now - TRACK_RECORD),
        )
        .group_by(proposal_fields.c.verdict)
    )
    found: dict[str, int] = dict(db.execute(query).all())
    return Track(
        approved=found.get("accepted", 0),
        edited=found.get("edited", 0),
        dropped=found.get("dropped", 0),
    )


def _history(db: Connection, row: Row[Any]) -> tuple[PastProposal, ...]:
    """Earlier proposals for the same fields of the same record, newest first."""
    fields = select(proposal_fields.c.field).where(proposal_fields.c.proposal_id == row.id)
    join = proposal_fields.join(proposals, proposals.c.id == proposal_fields.c.proposal_id)
    join = join.outerjoin(changes, changes.c.proposal_id == proposals.c.id)
    query = (
        select(
            proposal_fields.c.field.label("one_field"),
            changes.c.id.label("change_id"),
            changes.c.state.label("change_state"),
            proposals,
        )
        .select_from(join)
        .where(
            proposal_fields.c.record == row.record,
            proposals.c.slot == row.slot,
            proposal_fields.c.field.in_(fields),
            proposals.c.id != row.id,
        )
        .order_by(proposals.c.created_at.desc())
        .limit(50)
    )
    return tuple(_past(past) for past in db.execute(query))


def _past(row: Row[Any]) -> PastProposal:
    proposal = store.proposal_of(row)
    field = next(f for f in proposal.fields if f.field == row.one_field)
    return PastProposal(
        proposal_id=row.id,
        field=field.field,
        before=field.before,
        after=field.after,
        state=row.state,
        created_at=proposal.created_at,
        decided_by=row.decided_by,
        decided_at=parse_instant(row.decided_at) if row.decided_at else None,
        change_id=row.change_id,
        change_state=row.change_state,
    )


def _decision_line(decision: Decision) -> DecisionLine:
    return DecisionLine(
        id=decision.id,
        approver=decision.approver,
        verdict=str(decision.verdict),
        fields=tuple(
            VerdictLine(field=f.field, verdict=str(f.verdict), value=f.value)
            for f in decision.fields
        ),
        reason=str(decision.reason) if decision.reason else None,
        comment=decision.comment,
        decided_at=decision.decided_at,
        seconds=decision.seconds,
    )


def event_view(event: Event) -> EventView:
    return EventView(
        id=event.id,
        source=event.source,
        type=event.type,
        received_at=event.received_at,
        sender=store.sender_of(event),
        sender_verified=event.sender.verified if event.sender else "unverified",
        subject=event.subject,
        parts=tuple(event.parts.items()),
        raw_sha256=event.raw_sha256,
    )


def read_view(found: Reading) -> ReadView:
    return ReadView(
        ref=str(found.ref),
        title=found.title,
        url=found.url,
        read_at=found.read_at,
        fields=tuple(sorted(found.fields.items())),
        history=tuple((item.at, item.kind, item.text) for item in found.history),
    )


def _candidate(candidate: Candidate) -> CandidateView:
    record = candidate.record
    return CandidateView(
        crm=record.crm,
        type=record.type,
        id=record.id,
        title=candidate.title,
        why=candidate.why,
    )


def now(deps: WebDeps, proposal_id: str) -> NowView:
    """The live values beside the stored ones. Never raises for a CRM that is down."""
    with reading(deps.engine) as db:
        proposal = store.proposal_of(store.row_of(db, proposal_id))
        in_force = policy_store.in_force(db)
    reader = deps.readers.get(proposal.record.crm)
    if proposal.kind is ProposalKind.DRAFT:
        return _stored_now(deps, proposal, in_force, reachable=True)
    try:
        live = reader.read(proposal.record) if reader else None
    except (CRMUnavailable, Rejected):
        live = None
    if live is None:
        return _stored_now(deps, proposal, in_force, reachable=False)
    moved = moved_fields(proposal, live)
    values = {f.field: held(proposal.kind, live, f.field) for f in proposal.fields}
    return NowView(
        reachable=True,
        read_at=live.read_at,
        fields=tuple(
            NowField(field=name, value=value, moved=name in moved) for name, value in values.items()
        ),
        moved=moved,
        card_digest=card_digest(proposal.digest(), values, in_force.policy.version),
        record_url=live.url,
    )


def _stored_now(
    deps: WebDeps, proposal: Proposal, in_force: InForce, *, reachable: bool
) -> NowView:
    return NowView(
        reachable=reachable,
        read_at=deps.clock(),
        fields=tuple(
            NowField(field=field.field, value=field.before, moved=False)
            for field in proposal.fields
        ),
        moved=(),
        card_digest=_digest(proposal, in_force),
        record_url=None,
    )


def work_item(deps: WebDeps, event_id: str) -> WorkItem:
    """One event of the worklist in full. Raises `NotFound`."""
    with reading(deps.engine) as db:
        row = db.execute(queries.work_query().where(worklist.c.event_id == event_id)).first()
        answer = store.classification_of(db, event_id)
    if row is None or answer is None:
        raise NotFound("There is no such event on the worklist.")
    return WorkItem(
        row=queries.work_row(row),
        summary=answer.summary,
        reply_draft=answer.reply_draft,
        next_steps=answer.next_steps,
        event=event_view(answer.event),
        reading=read_view(answer.reading) if answer.reading else None,
        candidates=tuple(_candidate(candidate) for candidate in answer.candidates),
    )


def duplicates(deps: WebDeps, change_id: str) -> tuple[CandidateView, ...]:
    """Records that a draft might repeat, asked of the CRM now. Raises `CRMUnavailable`."""
    with reading(deps.engine) as db:
        row = change_store.row_of(db, change_id)
        record = store.proposal_of(store.row_of(db, row.proposal_id)).record
        own = json.loads(row.result)["record"]["id"] if row.result else None
    values = {field["name"]: field["after"] for field in change_store.body_of(row)["fields"]}
    found = deps.readers[record.crm].duplicates(values)
    others = [one for one in found if (one.record.type, one.record.id) != (record.type, own)]
    return tuple(_candidate(candidate) for candidate in others)


def search_records(deps: WebDeps, text: str) -> tuple[CandidateView, ...]:
    """Records by e-mail, phone or number, for choosing the right customer."""
    stand_ins = set(deps.sandboxes.values())
    live = [reader for crm, reader in deps.readers.items() if crm not in stand_ins]
    found = [one for reader in live for one in reader.candidates(text)]
    return tuple(_candidate(candidate) for candidate in found)
