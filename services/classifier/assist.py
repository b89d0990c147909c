"""What a person asks for on their own: a summary, a reply draft, next steps, or another try."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from services.classifier import drafts, store
from services.classifier.answer import Answer, Texts, parse_texts
from services.classifier.asking import Asked, Question, ask_model
from services.classifier.classifying import answered
from services.classifier.context import Context
from services.classifier.deps import WorkerDeps
from services.classifier.guard import Subject
from services.classifier.handlers import look_at, tell
from services.classifier.names import first_name
from services.classifier.prompt import prompt_about
from services.classifier.rules import MAKER
from shared.bus.envelope import Envelope
from shared.canonical import sha256_hex
from shared.domain.classification import Classification, Outcome, Step, Urgency
from shared.domain.event import OWN_SOURCE, Event, EventKind
from shared.domain.record import Reading, RecordRef, RecordRefSchema
from shared.domain.schema import dump
from shared.domain.topics import Topic
from shared.errors import BadPayload, Rejected
from shared.policy import FALLBACK_ROUTE
from shared.service import Effect

MAX_ROUNDS = 2
WISHES = {
    "summary": "a summary of the history of this customer",
    "reply": "a draft of an e-mail to this customer",
    "next_steps": "what to do next for this customer",
}


def assist(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``assist.requested`` → one ``event.classified``.

    Raises `BadPayload` for a third try or an event that is not kept any more, and
    `CRMUnavailable` or `ModelUnavailable` while that may pass.
    """
    asked: dict[str, Any] = envelope.noun()
    if asked["kind"] == "again":
        answer = _again(asked, deps, envelope.chain)
    else:
        answer = _about_record(asked, deps, envelope)
    return partial(tell, answer=answer, key=asked["id"])


def _again(
    asked: dict[str, Any], deps: WorkerDeps, chain: str
) -> tuple[Classification, str | None]:
    """The same event once more, with a person's note, as another round of its proposal."""
    # Round 1 is the first answer; the request names the round it asks for.
    if not 1 < asked["round"] <= MAX_ROUNDS + 1:
        raise BadPayload(f"a proposal is tried again {MAX_ROUNDS} times at most")
    event = store.recalled(deps.engine, asked["event_id"] or "")
    if event is None:
        raise BadPayload("this event is not kept any more")
    return look_at(
        event,
        deps,
        chain=chain,
        round_=asked["round"],
        follows=asked["proposal_id"],
        note=asked["note"],
    )


def _about_record(
    asked: dict[str, Any], deps: WorkerDeps, envelope: Envelope
) -> tuple[Classification, str | None]:
    """Texts about one record, out of its fields and history; nothing is proposed.

    That the CRM has no such record is an answer too: somebody waits for it.
    """
    ref: RecordRef | None = asked["record"]
    if ref is None:
        raise BadPayload("which record is meant?")
    full = _read(ref, deps)
    subject = Subject(
        event=_event_of(asked, envelope, ref),
        policy=deps.policy(),
        target=ref,
        reading=full,
        names=deps.reader_of(ref).names,
    )
    said = _ask(subject, asked, deps, envelope.chain) if full else Asked[Texts](answer=None)
    texts = said.answer or (_by_rules(subject, full, asked["kind"]) if full else _nobody(ref))
    answer = Answer(
        outcome=Outcome.NOTHING_TO_DO,
        route=FALLBACK_ROUTE,
        urgency=Urgency.LOW,
        reason="a person asked for this",
        **vars(texts),
    )
    context = Context(record=ref, matched_by="event", reading=full)
    maker = (said.maker if said.answer else None) or MAKER
    told = answered(answer, subject, context, deps.clock(), maker=maker, asked=said)
    read = (_read_step(full, deps),) if full else ()
    return replace(told, steps=(*read, *told.steps)), said.kept_as


def _read(ref: RecordRef, deps: WorkerDeps) -> Reading | None:
    """The record with its history; ``None`` where the CRM has none, or not any more."""
    reader = deps.reader_of(ref)
    try:
        return replace(reader.read(ref), history=reader.history(ref))
    except Rejected:
        return None


def _nobody(ref: RecordRef) -> Texts:
    return Texts(
        summary=f"The CRM has no record {ref}: it was deleted or merged, or it was never there.",
        reply_draft=None,
        next_steps=("Look the customer up by e-mail address or phone number",),
    )


def _ask(subject: Subject, asked: dict[str, Any], deps: WorkerDeps, chain: str) -> Asked[Texts]:
    """The model's words where there is a model. Raises `ModelUnavailable`."""
    if deps.model is None:
        return Asked(answer=None)
    question = Question(
        id=asked["id"],
        chain=chain,
        subject=subject,
        prompt=prompt_about(subject, WISHES[asked["kind"]], deps.canary, asked["note"]),
        parse=parse_texts,
    )
    return ask_model(question, deps, deps.model)


def _by_rules(subject: Subject, full: Reading, kind: str) -> Texts:
    name = first_name(subject.held("first_name"), None)
    company = subject.policy.company.name
    return Texts(
        summary=drafts.history_of(full),
        reply_draft=drafts.reply_to("other", "en", name, [], company) if kind == "reply" else None,
        next_steps=drafts.next_steps("other", full),
    )


def _event_of(asked: dict[str, Any], envelope: Envelope, ref: RecordRef) -> Event:
    """The request as the beginning of its own chain."""
    note = asked["note"] or ""
    return Event(
        id=asked["id"],
        source=OWN_SOURCE,
        endpoint="assist",
        type=f"assist.{asked['kind']}",
        kind=EventKind.MESSAGE,
        received_at=envelope.at,
        raw_sha256=sha256_hex(note.encode()),
        dedup_key=asked["id"],
        parts={"note": note} if note else {},
        record=ref,
    )


def _read_step(reading: Reading, deps: WorkerDeps) -> Step:
    data = {
        "record": dump(RecordRefSchema, reading.ref),
        "fields": sorted(reading.fields),
        "version": reading.version,
        "purpose": "a person asked",
    }
    return Step(topic=str(Topic.RECORD_READ), at=deps.clock(), data=data)
