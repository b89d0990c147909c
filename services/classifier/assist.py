"""What a person asks for on their own: a summary, a reply draft, next steps, or another try."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from services.classifier import drafts, store
from services.classifier.deps import WorkerDeps
from services.classifier.handlers import look_at, tell
from services.classifier.names import first_name
from services.classifier.rules import MAKER
from shared.bus.envelope import Envelope
from shared.canonical import sha256_hex
from shared.domain.classification import Classification, Outcome, Step, Urgency
from shared.domain.event import Event, EventKind
from shared.domain.record import Reading, RecordRef, RecordRefSchema
from shared.domain.schema import dump
from shared.domain.topics import Topic
from shared.errors import BadPayload
from shared.policy import FALLBACK_ROUTE
from shared.service import Effect

MAX_ROUNDS = 2


def assist(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``assist.requested`` → one ``event.classified``.

    Raises `BadPayload` for a third try or an event that is not kept any more, `NotFound` for a
    record that is gone, and `CRMUnavailable` or `ModelUnavailable` while that may pass.
    """
    asked: dict[str, Any] = envelope.noun()
    if asked["kind"] == "again":
        answer = _again(asked, deps, envelope.chain)
    else:
        answer = _about_record(asked, deps, envelope), None
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


def _about_record(asked: dict[str, Any], deps: WorkerDeps, envelope: Envelope) -> Classification:
    """A text about one record, out of its fields and history; nothing is proposed."""
    ref: RecordRef | None = asked["record"]
    if ref is None:
        raise BadPayload("which record is meant?")
    policy = deps.policy()
    full = replace(deps.reader.read(ref), history=deps.reader.history(ref))
    name = first_name(full.fields.get("first_name"), None)
    wants_reply = asked["kind"] == "reply"
    company = policy.company.name
    return Classification(
        event=_event_of(asked, envelope, ref),
        outcome=Outcome.NOTHING_TO_DO,
        route=FALLBACK_ROUTE,
        urgency=Urgency.LOW,
        summary=drafts.history_of(full),
        reason="a person asked for this",
        maker=MAKER,
        policy=policy.version,
        reply_draft=drafts.reply_to("other", "en", name, [], company) if wants_reply else None,
        next_steps=drafts.next_steps("other", full),
        record=ref,
        matched_by="event",
        reading=full,
        steps=(_read_step(full, deps),),
    )


def _event_of(asked: dict[str, Any], envelope: Envelope, ref: RecordRef) -> Event:
    """The request as the beginning of its own chain."""
    note = asked["note"] or ""
    return Event(
        id=asked["id"],
        source="countersign",
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
