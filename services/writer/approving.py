"""Deciding: a person's verdict on a card becomes a signed decision over exactly what was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from services.writer import change_store, pending, policy_store, rules, store, switch
from services.writer.case import Case, Facts
from services.writer.deps import WebDeps
from services.writer.facts import standings
from services.writer.gate import change_of
from services.writer.policy_store import InForce
from services.writer.reproposing import by_person
from services.writer.schemas import Approve, Reject
from services.writer.stages import account_of, why_not_there
from services.writer.verdicts import before_of, moved_fields, verdicts_of
from shared.access import Person
from shared.db import reading
from shared.domain import ids
from shared.domain.change import Change
from shared.domain.decision import (
    Decision,
    FieldDecision,
    FieldVerdict,
    Reason,
    Verdict,
    card_digest,
)
from shared.domain.proposal import Proposal, ProposalKind
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar, parse_instant
from shared.domain.topics import Topic
from shared.errors import BadPayload, Conflict, CRMUnavailable, NotApproved
from shared.office import add_working
from shared.outbox import Unit
from shared.policy import Policy

PACE = 20
# An approval must be carried out within two working days; a held write may need most of that.
EXECUTION_MINUTES = 16 * 60
SOLO_NOTE = "One-person firm: approved by its only approver."


@dataclass(frozen=True, kw_only=True)
class Decided:
    """``state`` is approved, waiting_for_second, edited (now proposed by you) or rejected."""

    state: str
    message: str
    decision_id: str | None = None
    change_id: str | None = None
    proposal_id: str | None = None


def approve(deps: WebDeps, person: Person, proposal_id: str, form: Approve) -> Decided:
    """Sign exactly what was shown.

    Raises `Conflict` (decided elsewhere, moved, expired, too fast), `NotApproved` (naming the
    rule), `BadPayload`.
    """
    with reading(deps.engine) as db:
        row = store.row_of(db, proposal_id)
        in_force = policy_store.in_force(db)
    proposal = store.proposal_of(row)
    require_pending(row)
    _require_current(deps, proposal)
    verdicts = verdicts_of(proposal, form.fields, in_force.policy)
    shown = card_digest(proposal.digest(), before_of(proposal), in_force.policy.version)
    if form.card_digest != shown:
        raise Conflict("What you saw is not what is here now: look at the card again.")
    with deps.unit_of_work.begin() as unit:
        return _approve(unit, deps, person, proposal, verdicts, form, in_force)


def _approve(
    unit: Unit,
    deps: WebDeps,
    person: Person,
    proposal: Proposal,
    verdicts: tuple[FieldDecision, ...],
    form: Approve,
    in_force: InForce,
) -> Decided:
    row = store.row_of(unit.db, proposal.id)
    if not store.keep_pending(unit.db, proposal.id):
        raise Conflict(who_decided(row))
    if policy_store.in_force(unit.db).policy.version != in_force.policy.version:
        raise Conflict("The policy changed this moment: look at the card again.")
    facts = _facts(unit.db, deps, in_force, unit.now)
    account = account_of(proposal, in_force.policy, deps.sandboxes)
    change = change_of(
        proposal, verdicts, form.card_digest, in_force.policy.version, account=account
    )
    _require_allowed(unit, person, proposal, change, facts, form, row)
    sensitive = rules.needs_two(in_force.policy, proposal, [f.name for f in change.fields])
    edits = {v.field: v.value for v in verdicts if v.verdict is not FieldVerdict.DROPPED}
    if sensitive and any(v.verdict is FieldVerdict.EDITED for v in verdicts):
        return _propose_edited(unit, person, proposal, edits, in_force.policy, row)
    decision = _signed(unit, deps, person, proposal, form, verdicts, change.digest(), facts)
    known = store.decisions_for(unit.db, proposal.id, form.card_digest)
    _require_same_verdicts([one for one, _ in known], decision)
    look = 1 + sum(1 for one, _ in known if one.approver == person.id)
    if look > 1:
        _require_second_look(known[0][0], facts, unit.now)
    store.insert_decision(unit.db, decision, in_force.policy.version, look)
    unit.publish(
        Topic.DECISION_MADE,
        decision,
        subject=f"proposal/{proposal.id}",
        chain=proposal.event_id,
        actor=f"person:{person.id}",
        key=decision.id,
    )
    if sensitive and not known:
        return Decided(
            state="waiting_for_second",
            message=_second_message(facts),
            decision_id=decision.id,
        )
    store.close(unit.db, proposal.id, "approved", at=unit.now, by=person.id)
    store.note_verdicts(unit.db, proposal.id, {v.field: v.verdict for v in verdicts})
    return Decided(
        state="approved",
        message=_approved_message(change),
        decision_id=decision.id,
        change_id=change.id,
    )


def _approved_message(change: Change) -> str:
    if change.is_trial:
        return f"Approved. It is tried in {change.account} as soon as the log has it."
    word = "Promoted" if change.promotes else "Approved"
    return f"{word}. It is written as soon as the log has it."


def _facts(db: Connection, deps: WebDeps, in_force: InForce, now: datetime) -> Facts:
    return Facts(
        now=now,
        policy=in_force.policy,
        shown_policy=in_force.policy.version,
        keys={},
        people=standings(deps.people()),
        stops=switch.stops(db),
        stopped=switch.is_stopped(db),
        sandboxes=deps.sandboxes,
    )


def _require_allowed(
    unit: Unit,
    person: Person,
    proposal: Proposal,
    change: Change,
    facts: Facts,
    form: Approve,
    row: Row[Any],
) -> None:
    """Everything the gate will ask of the text and of the person, asked before the signing."""
    if reason := rules.why_not_entitled(proposal, person.id, facts, change):
        raise NotApproved(reason, rule="decider-may-approve")
    if facts.policy is not None and not facts.stopped:
        end = store.deadline(row, facts.policy.office, facts.stops, unit.now)
        if unit.now > end:
            raise Conflict("This card has expired: nothing was written. Read it again.")
    if proposal.undoes:
        facts = replace(facts, restores=change_store.replaced_by(unit.db, proposal.undoes))
    facts = replace(facts, trial=change_store.trial_of(unit.db, proposal.promotes))
    case = Case(proposal=proposal, decisions=(), change=change, facts=facts)
    if reason := why_not_there(case):
        raise NotApproved(reason, rule="stage")
    rules.field_is_listed(case)
    rules.value_fits(case)
    minute_ago = unit.now - timedelta(minutes=1)
    if not form.confirmed and store.approvals_since(unit.db, person.id, minute_ago) >= PACE:
        raise Conflict(
            f"More than {PACE} approvals in a minute: look again, then approve with confirmation."
        )


def _require_same_verdicts(known: list[Decision], mine: Decision) -> None:
    """The second approver approves the very same change as the first."""
    if any(one.change_digest != mine.change_digest for one in known):
        raise Conflict("The first approver decided otherwise on these fields: reject, or agree.")


def _require_second_look(first: Decision, facts: Facts, now: datetime) -> None:
    if not rules.is_solo(facts):
        raise NotApproved("one person twice is not two", rule="enough-approvers")
    earliest = first.decided_at + rules.cooling_off(facts.policy)
    if now < earliest:
        minutes = int((earliest - now).total_seconds() // 60) + 1
        raise NotApproved(f"the second look is possible in {minutes} min", rule="enough-approvers")


def _second_message(facts: Facts) -> str:
    if rules.is_solo(facts) and facts.policy is not None:
        minutes = facts.policy.cooling_off_minutes
        return f"Noted. You are the only approver: take a second look in {minutes} minutes."
    return "Noted. A second person must approve it before anything is written."


def _propose_edited(
    unit: Unit,
    person: Person,
    proposal: Proposal,
    values: Mapping[str, Scalar],
    policy: Policy,
    row: Row[Any],
) -> Decided:
    """Who edits a field that needs two approvers becomes its proposer."""
    edited = by_person(proposal, values, person.id, unit.now, policy)
    pending.lay(unit, edited, store.origin_of(row), policy)
    return Decided(
        state="edited",
        message="Your value is now the proposal, and you are its proposer: others approve it.",
        proposal_id=edited.id,
    )


def require_pending(row: Row[Any]) -> None:
    if row.state != "pending":
        raise Conflict(who_decided(row))


def who_decided(row: Row[Any]) -> str:
    """Who was first, in a sentence."""
    if row.state == "superseded":
        return "A newer proposal has replaced this card: nothing left to do here."
    if row.state == "expired":
        return "This card has expired: nothing was written."
    who = row.decided_by or "somebody else"
    return f"Already decided: {row.state} by {who}. Nothing left to do here."


def _require_current(deps: WebDeps, proposal: Proposal) -> None:
    """The CRM still holds what was shown. One that is down stops nobody: the write looks again."""
    live = read_live(deps, proposal)
    if live is None:
        return
    moved = moved_fields(proposal, live)
    if moved:
        raise Conflict(f"{', '.join(moved)} changed in the CRM meanwhile: read the card again.")


def read_live(deps: WebDeps, proposal: Proposal) -> Reading | None:
    """The record now; ``None`` for a draft, and while the CRM is not reachable."""
    reader = deps.readers.get(proposal.record.crm)
    if proposal.kind is ProposalKind.DRAFT or reader is None:
        return None
    try:
        return reader.read(proposal.record)
    except CRMUnavailable:
        return None


def _signed(
    unit: Unit,
    deps: WebDeps,
    person: Person,
    proposal: Proposal,
    form: Approve | Reject,
    verdicts: tuple[FieldDecision, ...],
    change_digest: str | None,
    facts: Facts,
) -> Decision:
    office = facts.policy.office if facts.policy else None
    assert office is not None, "a card is shown by a policy"
    shown = form.card_digest or card_digest(
        proposal.digest(), before_of(proposal), facts.shown_policy
    )
    seen = store.viewed_at(unit.db, proposal.id, person.id, shown)
    rejection = form if isinstance(form, Reject) else None
    comment = form.comment
    if rejection is None and rules.is_solo(facts):
        comment = f"{comment} {SOLO_NOTE}" if comment else SOLO_NOTE
    decision = Decision(
        id=ids.fresh(),
        proposal_id=proposal.id,
        event_id=proposal.event_id,
        verdict=Verdict.REJECTED if rejection else Verdict.APPROVED,
        fields=verdicts,
        card_digest=shown,
        change_digest=change_digest,
        approver=person.id,
        auth_level=person.auth_level,
        auth_time=person.auth_time,
        nonce=ids.fresh(),
        decided_at=unit.now,
        valid_until=add_working(office, unit.now, EXECUTION_MINUTES),
        reason=rejection.reason if rejection else None,
        comment=comment,
        right_record=rejection.right_record
        if rejection and isinstance(rejection.right_record, RecordRef)
        else None,
        promotes=None if rejection else proposal.promotes,
        appends=str(proposal.kind) if proposal.kind.appends else None,
        seconds=int((unit.now - parse_instant(seen)).total_seconds()) if seen else 0,
    )
    return deps.signer.sign(decision)


def reject(deps: WebDeps, person: Person, proposal_id: str, form: Reject) -> Decided:
    """Refuse a card with a reason; "wrong customer" may name the right one.

    Raises `Conflict` when somebody was first, `BadPayload` for a record that is not found.
    """
    if isinstance(form.right_record, str):
        form = replace(form, right_record=_the_one(deps, proposal_id, form.right_record))
    with deps.unit_of_work.begin() as unit:
        row = store.row_of(unit.db, proposal_id)
        proposal = store.proposal_of(row)
        in_force = policy_store.in_force(unit.db)
        facts = _facts(unit.db, deps, in_force, unit.now)
        standing = facts.people.get(person.id)
        if standing is None or standing.disabled:
            raise NotApproved("this person has no access any more", rule="decider-may-approve")
        verdicts = tuple(
            FieldDecision(field=f.field, verdict=FieldVerdict.DROPPED, now=f.before, value=f.before)
            for f in proposal.fields
        )
        decision = _signed(unit, deps, person, proposal, form, verdicts, None, facts)
        if not store.close(unit.db, proposal_id, "rejected", at=unit.now, by=person.id):
            raise Conflict(who_decided(row))
        store.insert_decision(unit.db, decision, in_force.policy.version, 0)
        store.note_verdicts(unit.db, proposal_id, {v.field: v.verdict for v in verdicts})
        unit.publish(
            Topic.DECISION_MADE,
            decision,
            subject=f"proposal/{proposal_id}",
            chain=proposal.event_id,
            actor=f"person:{person.id}",
            key=decision.id,
        )
    elsewhere = form.reason is Reason.WRONG_CUSTOMER and form.right_record is not None
    more = " It is proposed again for the right customer." if elsewhere else ""
    return Decided(
        state="rejected", message=f"Rejected. Nothing is written.{more}", decision_id=decision.id
    )


def _the_one(deps: WebDeps, proposal_id: str, text: str) -> RecordRef:
    """The one record that these words name. Raises `BadPayload` for none or several."""
    with reading(deps.engine) as db:
        record = store.proposal_of(store.row_of(db, proposal_id)).record
    reader = deps.readers.get(record.crm)
    found = {one.record for one in reader.candidates(text)} if reader else set()
    of_type = {ref for ref in found if ref.type == record.type} or found
    if len(of_type) != 1:
        count = "No record" if not of_type else "More than one record"
        raise BadPayload(f"{count} is found by “{text}”: give an e-mail address or phone number.")
    return of_type.pop()


def entitlement(
    db: Connection,
    deps: WebDeps,
    person: Person,
    proposal: Proposal,
    given: list[Decision],
    in_force: InForce,
    now: datetime,
) -> tuple[str | None, datetime | None]:
    """Why this person cannot approve the card now, and when a second look is possible."""
    facts = _facts(db, deps, in_force, now)
    blocked = rules.why_not_entitled(proposal, person.id, facts)
    mine = [one for one in given if one.approver == person.id]
    if blocked or not mine:
        return blocked, None
    if not rules.is_solo(facts):
        return "You have approved this; a second person must too.", None
    earliest = mine[0].decided_at + rules.cooling_off(facts.policy)
    if now < earliest:
        return "You are the only approver: take a second look later.", earliest
    return None, earliest
