"""From an event to its one answer: match, ask rules or a model, guard, and tell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from services.classifier import store
from services.classifier.answer import Answer
from services.classifier.asking import Asked, about_event, ask_model
from services.classifier.classifying import (
    answered,
    echoed,
    parked,
    short,
    subject_of,
    why_parked,
)
from services.classifier.context import Context, gather
from services.classifier.deps import WorkerDeps
from services.classifier.guard import Subject
from services.classifier.rules import MAKER, answer_by_rules
from services.classifier.shortcuts import shortcut
from shared.bus.envelope import Envelope
from shared.db import cut_log, writing
from shared.domain.classification import Candidate, Classification, Outcome
from shared.domain.event import Event, EventKind
from shared.domain.proposal import ProposalKind
from shared.domain.topics import Topic
from shared.errors import Rejected
from shared.faultpoints import reached
from shared.outbox import Unit
from shared.service import Effect, do_nothing


def classify(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``event.received`` → one ``event.classified``.

    Raises `CRMUnavailable`, `ModelUnavailable` or `StoreUnavailable`: the message comes again.
    """
    event: Event = envelope.noun()
    return partial(tell, answer=look_at(event, deps, chain=envelope.chain))


def forget(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``person.erased``: what is kept for another try goes, also from the disk."""
    with writing(deps.engine) as connection:
        store.forget(connection, envelope.noun()["chains"])
    cut_log(deps.engine)
    return do_nothing


def look_at(
    event: Event,
    deps: WorkerDeps,
    *,
    chain: str,
    round_: int = 1,
    follows: str | None = None,
    note: str | None = None,
) -> tuple[Classification, str | None]:
    """The answer for an event, and the kept question that may be forgotten after its effect."""
    policy = deps.policy()
    now = deps.clock()
    if known := echoed(event, policy):
        return known, None
    reader = deps.reader_of(event.record)
    context = gather(event, reader, policy.company)
    reached("classify.read")
    if reason := why_parked(event):
        return parked(event, policy, context, now, reason), None
    if found := shortcut(event, is_known=context.reading is not None):
        return short(event, policy, context, now, found), None
    subject = subject_of(event, policy, context, reader)
    asked = _ask(subject, deps, chain=chain, round_=round_, note=note)
    reached("classify.asked")
    answer = asked.answer or answer_by_rules(subject)
    if asked.flag == "unusable_answer":
        answer = replace(
            answer,
            outcome=Outcome.A_PERSON_MUST_LOOK,
            reason="the model gave no usable answer",
            proposals=(),
        )
    maker = (asked.maker if asked.answer else None) or MAKER
    classification = answered(
        answer, subject, context, now, maker=maker, asked=asked, round_=round_, follows=follows
    )
    return _with_duplicates(classification, deps, context), asked.kept_as


def _ask(
    subject: Subject, deps: WorkerDeps, *, chain: str, round_: int, note: str | None
) -> Asked[Answer]:
    """The model's word where there is a model; what a person changed in a CRM needs none."""
    if deps.model is None or subject.event.kind is EventKind.RECORD_CHANGE:
        return Asked(answer=None)
    if subject.reading is not None:
        ref = subject.reading.ref
        history = deps.reader_of(ref).history(ref)
        subject = replace(subject, reading=replace(subject.reading, history=history))
    question = about_event(subject, deps, chain=chain, round_=round_, note=note)
    return ask_model(question, deps, deps.model)


def _with_duplicates(answer: Classification, deps: WorkerDeps, context: Context) -> Classification:
    """For a draft: whom the CRM already holds that might be the same person."""
    drafts = [p for p in answer.proposals if p.kind is ProposalKind.DRAFT]
    if not drafts:
        return answer
    values = {field.field: field.after for field in drafts[0].fields}
    try:
        found = tuple(deps.reader_of(drafts[0].record).duplicates(values))
    except Rejected:
        found = ()
    known: dict[object, Candidate] = {c.record: c for c in (*context.candidates, *found)}
    return replace(answer, candidates=tuple(known.values())[:10])


def tell(unit: Unit, *, answer: tuple[Classification, str | None], key: str = "") -> None:
    """Publish the answer, keep the event for another try, forget the model's stored words."""
    classification, kept_as = answer
    event = classification.event
    if kept_as is not None:
        store.spending.forget(unit.db, kept_as)
    told = unit.publish(
        Topic.EVENT_CLASSIFIED,
        classification,
        subject=f"event/{event.id}",
        key=key,
    )
    if classification.proposals:
        store.remember(unit, told.body["event"])
