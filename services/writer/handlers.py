"""What the writer does when it hears of something: remember, intend, apply, repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from services.writer import (
    change_store,
    echo,
    facts,
    outcomes,
    pending,
    policy_store,
    rules,
    settling,
    store,
)
from services.writer.apply import apply
from services.writer.case import is_same
from services.writer.deps import WorkerDeps
from services.writer.erase import forget
from services.writer.gate import permit
from services.writer.reproposing import again_from, correction_of, undo_of
from services.writer.stages import rule_of
from services.writer.store import Origin
from shared.bus.envelope import Envelope
from shared.db import reading
from shared.dead_letters import HANDLERS as LETTERS
from shared.dead_letters import with_letters
from shared.domain import ids
from shared.domain.classification import Classification, Outcome
from shared.domain.decision import Decision, Reason, Verdict
from shared.domain.proposal import SUBSTANCE, FieldChange, Proposal
from shared.domain.record import Reading
from shared.domain.schema import Scalar
from shared.domain.topics import Topic
from shared.errors import BadPayload, NotApproved, Rejected
from shared.faultpoints import reached
from shared.outbox import Unit
from shared.policy import Policy, check
from shared.service import Effect, Handler, do_nothing

log = structlog.get_logger()


def remember(envelope: Envelope, deps: WorkerDeps) -> Effect:  # noqa: ARG001 - every handler is called alike.
    """``event.classified``: proposals wait, a person must look, or nothing is to be done."""
    return partial(_remember, answer=envelope.noun(), body=envelope.body)


def _remember(unit: Unit, *, answer: Classification, body: Mapping[str, Any]) -> None:
    policy = unit.once(policy_store.in_force).policy
    store.insert_classification(unit.db, answer, body)
    own = echo.note(unit, answer)
    settling.hear(unit, answer)
    reached("remember.classified")
    laid = [_lay(unit, proposal, answer, own, policy) for proposal in answer.proposals]
    reached("remember.laid")
    if answer.outcome is Outcome.A_PERSON_MUST_LOOK:
        _look(unit, answer, answer.reason)
    elif answer.proposals and not any(laid) and not own:
        _look(unit, answer, "None of the proposed values fits the policy that is in force.")


def _lay(
    unit: Unit, proposal: Proposal, answer: Classification, own: frozenset[str], policy: Policy
) -> bool:
    """Make what the policy still allows pending; tell of what it does not."""
    kept: list[FieldChange] = []
    for field in proposal.fields:
        rule = _why_dropped(proposal, field, own, policy)
        if rule is None:
            kept.append(field)
        else:
            _tell_dropped(unit, proposal, field, *rule)
    if not kept or SUBSTANCE.get(proposal.kind, kept[0].field) not in {f.field for f in kept}:
        return False
    if len(kept) < len(proposal.fields):
        proposal = replace(proposal, fields=tuple(kept))
    event = answer.event
    origin = Origin(source=event.source, event_at=event.occurred_at or event.received_at)
    pending.lay(unit, proposal, origin, policy)
    return True


def _why_dropped(
    proposal: Proposal, field: FieldChange, own: frozenset[str], policy: Policy
) -> tuple[str, str] | None:
    """Rule and detail where the field may not be proposed; the guard's answer is not trusted."""
    if field.field in own and not proposal.kind.appends:
        return "echo", "this is our own write that came back"
    rule = rule_of(policy, proposal, field.field)
    if rule is None or not rule.is_open:
        return "not-listed", "the policy in force does not list this field"
    if is_same(field.before, field.after):
        return "unchanged", "the record has this value already"
    problem = check(rule, field.after)
    return ("not-allowed", problem) if problem else None


def _tell_dropped(
    unit: Unit, proposal: Proposal, field: FieldChange, rule: str, detail: str
) -> None:
    body = {
        "record": proposal.record,
        "field": field.field,
        "value": field.after,
        "rule": rule,
        "detail": detail,
    }
    unit.publish(
        Topic.PROPOSAL_DROPPED,
        body,
        subject=f"proposal/{proposal.id}",
        chain=proposal.event_id,
        key=field.field,
    )


def _look(unit: Unit, answer: Classification, reason: str) -> None:
    store.add_work(
        unit.db,
        answer.event.id,
        reason=reason,
        route=answer.route,
        urgency=str(answer.urgency),
        at=unit.now,
    )


def intend(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``decision.made``: an approval becomes an intent, or a refusal with the rule's name."""
    decision: Decision = envelope.noun()
    if decision.verdict is Verdict.REJECTED:
        return _propose_elsewhere(decision, deps)
    return partial(_intend, decision=decision, deps=deps)


def _intend(unit: Unit, *, decision: Decision, deps: WorkerDeps) -> None:
    row = store.row_of(unit.db, decision.proposal_id)
    change_id = ids.change_id(decision.proposal_id, decision.card_digest)
    known = [one for one, _ in store.decisions_for(unit.db, row.id, decision.card_digest)]
    try:
        _require_stored(decision, known)
        docket = facts.collect(
            unit.db,
            deps.sources,
            proposal_id=row.id,
            card_digest=decision.card_digest,
            now=unit.now,
        )
        reached("intend.collected")
        change = permit(rules.INTEND, docket.proposal, docket.decisions, docket.facts)
    except NotApproved as refusal:
        if refusal.rule == "enough-approvers" and row.state == "pending":
            return
        if refusal.rule == "single-use" and _is_repeat(unit, change_id):
            return
        proposal = store.proposal_of(row)
        outcomes.tell_failed(
            unit,
            change_id,
            proposal.id,
            proposal.record,
            refusal.rule,
            str(refusal),
            kind=str(proposal.kind),
        )
        if refusal.rule != "stored":
            store.note_refused(unit.db, row.id, refusal.rule, str(refusal))
        return
    if change_store.insert_change(unit.db, change, decision.card_digest, unit.now):
        unit.publish(
            Topic.CHANGE_INTENDED,
            change,
            subject=f"change/{change.id}",
            chain=change.event_id,
        )
    reached("intend.intended")


def _require_stored(decision: Decision, known: list[Decision]) -> None:
    """The message is only a hint: what counts is what the web side stored and signed."""
    if decision not in known:
        raise NotApproved("this approval was never stored", rule="stored")


def _is_repeat(unit: Unit, change_id: str) -> bool:
    """Whether the change of this very approval has ended already."""
    try:
        return change_store.row_of(unit.db, change_id).state in rules.FINAL
    except Rejected:
        return False


def _propose_elsewhere(decision: Decision, deps: WorkerDeps) -> Effect:
    """Rejected as "wrong customer" with the right one named: propose it there.

    Raises `CRMUnavailable` while the right record cannot be read.
    """
    if decision.reason is not Reason.WRONG_CUSTOMER or decision.right_record is None:
        return do_nothing
    reader = deps.readers.get(decision.right_record.crm)
    if reader is None:
        raise BadPayload("there is no connector for the record that was named")
    live = reader.read(decision.right_record)
    return partial(_lay_elsewhere, decision=decision, live=live)


def _lay_elsewhere(unit: Unit, *, decision: Decision, live: Reading) -> None:
    row = store.row_of(unit.db, decision.proposal_id)
    policy = policy_store.in_force(unit.db).policy
    found = again_from(store.proposal_of(row), live, unit.now, policy)
    if found is not None:
        pending.lay(unit, found, store.origin_of(row), policy)


def repair(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``repair.requested``: support asks; it becomes a proposal for an approver, or a task."""
    body = envelope.noun()
    person = envelope.actor.removeprefix("person:")
    if body["kind"] == "undo" and body["change_id"]:
        with reading(deps.engine) as db:
            row = change_store.row_of(db, body["change_id"])
            record = store.proposal_of(store.row_of(db, row.proposal_id)).record
        live = deps.readers[record.crm].read(record)
        return partial(_lay_undo, request=body, live=live, person=person)
    if body["kind"] == "correction" and body["record"] and body["fields"]:
        live = deps.readers[body["record"].crm].read(body["record"])
        return partial(
            _lay_correction, request=body, live=live, person=person, chain=envelope.chain
        )
    return partial(_note_request, request=body, chain=envelope.chain)


def _lay_undo(unit: Unit, *, request: dict[str, Any], live: Reading, person: str) -> None:
    row = change_store.row_of(unit.db, request["change_id"])
    policy = policy_store.in_force(unit.db).policy
    new_id = ids.derive("proposal", "repair", request["id"])
    proposal = undo_of(unit.db, row, live, new_id, person, unit.now, policy)
    pending.lay(unit, proposal, Origin(source="support", event_at=unit.now), policy)


def _lay_correction(
    unit: Unit, *, request: dict[str, Any], live: Reading, person: str, chain: str
) -> None:
    policy = policy_store.in_force(unit.db).policy
    fields: dict[str, Scalar] = request["fields"]
    proposal = correction_of(request["id"], chain, fields, live, person, unit.now, policy)
    if proposal is not None:
        pending.lay(unit, proposal, Origin(source="support", event_at=unit.now), policy)


def _note_request(unit: Unit, *, request: dict[str, Any], chain: str) -> None:
    """A stricter rule is a decision about the policy file: a person must look."""
    store.add_work(
        unit.db,
        chain,
        reason=f"Support asks for a {request['kind']}: {request['reason']}",
        route="policy",
        urgency="normal",
        at=unit.now,
    )


HANDLERS: dict[Topic, Handler] = {
    Topic.EVENT_CLASSIFIED: remember,
    Topic.DECISION_MADE: intend,
    Topic.RECEIPT_ISSUED: apply,
    Topic.REPAIR_REQUESTED: repair,
    Topic.PERSON_ERASED: with_letters(forget),
    **LETTERS,
}
