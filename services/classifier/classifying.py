"""The one message about an event, put together from what was read, asked, let through, dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.classifier import drafts
from services.classifier.answer import Answer
from services.classifier.asking import Asked
from services.classifier.context import Context
from services.classifier.guard import Admitted, Dropped, Subject, admissible, appending
from services.classifier.plain import one_line, only_known_addresses, plain
from services.classifier.rules import MAKER
from services.classifier.shortcuts import Shortcut
from services.classifier.steering import signs_of_steering
from shared.crm import Reader
from shared.crm.metadata import Capabilities
from shared.domain import ids
from shared.domain.classification import Classification, Outcome, Step, Urgency
from shared.domain.event import Event, EventKind
from shared.domain.proposal import SUBSTANCE, FieldChange, Maker, Proposal, ProposalKind
from shared.domain.record import DRAFTS, Reading, RecordRef, RecordRefSchema
from shared.domain.schema import dump
from shared.domain.topics import Topic
from shared.office import add_working
from shared.policy import FALLBACK_ROUTE, Policy

NEW_ID = "new"
# Without a last name a draft cannot be told apart from any other, and without its words a note is
# none.
_NEEDED: Mapping[ProposalKind, str] = {ProposalKind.DRAFT: "last_name", **SUBSTANCE}
_NAMES = ("first_name", "last_name", "company")


def _appends(can: Capabilities, type_: str) -> tuple[ProposalKind, ...]:
    taking = {ProposalKind.NOTE: can.notes, ProposalKind.TASK: can.tasks}
    return tuple(kind for kind, types in taking.items() if type_ in types)


def subject_of(event: Event, policy: Policy, context: Context, reader: Reader) -> Subject:
    """What an answer may touch: the one record, or a draft where the CRM knows nobody."""
    if context.reading is not None:
        return Subject(
            event=event,
            policy=policy,
            target=context.reading.ref,
            reading=context.reading,
            names=reader.names if context.reading.ref.type == reader.people else {},
            appends=_appends(reader.capabilities, context.reading.ref.type),
        )
    is_stranger = context.record is None and not context.candidates
    if is_stranger and event.kind is not EventKind.RECORD_CHANGE:
        target = RecordRef(crm=reader.crm, type=DRAFTS, id=NEW_ID)
        return Subject(event=event, policy=policy, target=target, kind=ProposalKind.DRAFT)
    return Subject(event=event, policy=policy, target=None)


def echoed(event: Event, policy: Policy) -> Classification | None:
    """The answer for what needs no reading: our own write, or a person's change in the CRM."""
    if event.kind is not EventKind.RECORD_CHANGE:
        return None
    if event.is_own_write:
        reason = "our own write came back"
    elif event.is_new_record:
        return None
    else:
        reason = "a person changed the record in the CRM: recorded, nothing to propose"
    changed = ", ".join(sorted(event.changes))[:200]
    routing = policy.routing("record_change")
    return Classification(
        event=event,
        outcome=Outcome.NOTHING_TO_DO,
        route=routing.route,
        urgency=Urgency.LOW,
        summary=one_line(f"{event.record} was changed: {changed or 'no fields named'}.", 400),
        reason=reason,
        maker=MAKER,
        policy=policy.version,
        record=event.record,
        matched_by="event" if event.record else None,
    )


def why_parked(event: Event) -> str | None:
    """Why nothing may be proposed from this event, in words; ``None``: it may."""
    signs = list(signs_of_steering(event.parts))
    if "hidden_text" in event.facts:
        signs.append("holds text that a reader cannot see")
    if signs:
        return f"the message {signs[0]}" + (f" (and {len(signs) - 1} more signs)" * bool(signs[1:]))
    if event.sender is not None and event.sender.verified == "fail":
        return "the mail does not come from where it says"
    return None


def parked(
    event: Event, policy: Policy, context: Context, now: datetime, reason: str
) -> Classification:
    """For a person, with nothing proposed and none of the message's words passed on."""
    is_forged = event.sender is not None and event.sender.verified == "fail"
    flags = ("unverified_sender",) if is_forged else ()
    if not is_forged or signs_of_steering(event.parts) or "hidden_text" in event.facts:
        flags = ("injection", *flags)
    return Classification(
        event=event,
        outcome=Outcome.A_PERSON_MUST_LOOK,
        route=FALLBACK_ROUTE,
        urgency=Urgency.NORMAL,
        summary="A message that was set aside: read it yourself before anything else.",
        reason=reason,
        maker=MAKER,
        policy=policy.version,
        next_steps=("Read the message; answer or delete it. Follow no link in it.",),
        record=context.record,
        matched_by=context.matched_by,
        reading=context.reading,
        candidates=context.candidates,
        flags=flags,
        steps=tuple(_reads(context, now)),
    )


def short(
    event: Event, policy: Policy, context: Context, now: datetime, found: Shortcut
) -> Classification:
    """An automatic reply, a bounce or advertising: nothing to do."""
    routing = policy.routing(found.intent)
    return Classification(
        event=event,
        outcome=Outcome.NOTHING_TO_DO,
        route=routing.route,
        urgency=routing.urgency,
        summary=drafts.summary_of(event, found.intent, context.reading, []),
        reason=found.reason,
        maker=MAKER,
        policy=policy.version,
        record=context.record,
        matched_by=context.matched_by,
        reading=context.reading,
        flags=(found.flag,),
        steps=tuple(_reads(context, now)),
    )


def answered(
    answer: Answer,
    subject: Subject,
    context: Context,
    now: datetime,
    *,
    maker: Maker,
    asked: Asked[Any],
    round_: int = 1,
    follows: str | None = None,
) -> Classification:
    """What of an answer passes the guard, with everything that was read, asked and dropped."""
    subjects = (subject, *appending(subject))
    admitted = [_whole(admissible(answer, one), one) for one in subjects]
    flags = [*answer.flags, *([asked.flag] if asked.flag else [])]
    if subject.event.sender is not None and subject.event.sender.verified == "unverified":
        flags.append("unverified_sender")
    if any(one.rule != "unchanged" for of in admitted for one in of.dropped):
        flags.append("dropped_values")
    texts, links_gone = _texts(answer, subject)
    if links_gone:
        flags.append("links_removed")
    proposals = tuple(
        _proposal(of.fields, one, now, maker, tuple(flags), round_=round_, follows=follows)
        for one, of in zip(subjects, admitted, strict=True)
        if of.fields
    )
    is_known_route = answer.route in subject.policy.routes
    return replace(
        texts,
        outcome=_outcome(answer, context, has_fields=bool(proposals)),
        route=answer.route if is_known_route else FALLBACK_ROUTE,
        maker=maker,
        proposals=proposals,
        record=context.record,
        matched_by=context.matched_by,
        reading=context.reading,
        candidates=context.candidates,
        flags=tuple(dict.fromkeys(flags)),
        steps=(*_reads(context, now), *asked.steps, *_drops(_all(admitted), subject, now)),
    )


def _whole(admitted: Admitted, subject: Subject) -> Admitted:
    """A draft needs a name, a note its text: without it there is nothing to propose."""
    names = {field.field for field in admitted.fields}
    needed = _NEEDED.get(subject.kind)
    return admitted if needed is None or needed in names else replace(admitted, fields=())


def _all(admitted: list[Admitted]) -> list[Dropped]:
    return [one for of in admitted for one in of.dropped]


def _outcome(answer: Answer, context: Context, *, has_fields: bool) -> Outcome:
    """The answer's own outcome where it holds: a proposal without fields needs a person."""
    if has_fields:
        is_more = answer.outcome is Outcome.A_PERSON_MUST_LOOK
        return Outcome.A_PERSON_MUST_LOOK if is_more else Outcome.PROPOSED
    if answer.outcome is Outcome.PROPOSED or context.candidates:
        return Outcome.A_PERSON_MUST_LOOK
    return answer.outcome


def _texts(answer: Answer, subject: Subject) -> tuple[Classification, bool]:
    """The answer's texts as plain text, in a classification without proposals."""
    policy, event = subject.policy, subject.event
    domains, known = policy.company.domains, _known_addresses(subject)
    gone = False

    def clean(text: str, limit: int) -> str:
        nonlocal gone
        shown, links = plain(text, limit, own_domains=domains)
        shown, addresses = only_known_addresses(shown, known)
        gone = gone or links or addresses
        return shown

    summary = one_line(clean(answer.summary, drafts.MAX_SUMMARY), drafts.MAX_SUMMARY)
    reply = clean(answer.reply_draft, drafts.MAX_REPLY) if answer.reply_draft else None
    steps = tuple(
        one_line(clean(step, drafts.MAX_STEP), drafts.MAX_STEP)
        for step in answer.next_steps[: drafts.MAX_STEPS]
    )
    shown = Classification(
        event=event,
        outcome=answer.outcome,
        route=FALLBACK_ROUTE,
        urgency=answer.urgency,
        summary=summary,
        reason=one_line(clean(answer.reason, 400), 400),
        maker=MAKER,
        policy=policy.version,
        reply_draft=reply or None,
        next_steps=tuple(step for step in steps if step),
    )
    return shown, gone


def _known_addresses(subject: Subject) -> set[str]:
    """The addresses a text may name: the sender's, the record's and our own."""
    known = {address.lower() for address in subject.policy.company.emails}
    if subject.event.sender and subject.event.sender.email:
        known.add(subject.event.sender.email.lower())
    if subject.reading is not None:
        known.add(str(subject.held("email") or "").lower())
    return known


def _proposal(
    fields: tuple[FieldChange, ...],
    subject: Subject,
    now: datetime,
    maker: Maker,
    flags: tuple[str, ...],
    *,
    round_: int,
    follows: str | None,
) -> Proposal:
    target, policy, event = subject.target, subject.policy, subject.event
    assert target is not None, "the guard lets nothing through without a record"
    rules = [policy.rule(target.crm, subject.object, field.field) for field in fields]
    about = f"{target}/{subject.object}" if subject.kind.appends else str(target)
    hours = min(rule.expiry_hours for rule in rules if rule is not None)
    return Proposal(
        id=ids.proposal_id(event.id, about, round_),
        event_id=event.id,
        kind=subject.kind,
        record=target,
        title=_title(fields, subject.reading),
        fields=fields,
        maker=maker,
        policy=policy.version,
        source_sha256=event.raw_sha256,
        created_at=now,
        expires_at=add_working(policy.office, now, hours * 60),
        record_version=subject.reading.version if subject.reading else None,
        round=round_,
        follows=follows,
        flags=tuple(dict.fromkeys(flags)),
    )


def _title(fields: tuple[FieldChange, ...], reading: Reading | None) -> str:
    if reading is not None:
        return reading.title[:200]
    values = {field.field: str(field.after) for field in fields}
    names = [values[name] for name in _NAMES if name in values]
    return f"New contact: {' '.join(names[:2])}"[:200]


def _reads(context: Context, now: datetime) -> Iterator[Step]:
    for reading in context.reads:
        data = {
            "record": dump(RecordRefSchema, reading.ref),
            "fields": sorted(reading.fields),
            "version": reading.version,
            "purpose": "match" if reading.ref.type == context.people else "find the contact",
        }
        yield Step(topic=str(Topic.RECORD_READ), at=now, data=data)


def _drops(dropped: list[Dropped], subject: Subject, now: datetime) -> Iterator[Step]:
    record = dump(RecordRefSchema, subject.target) if subject.target else None
    for one in dropped[:40]:
        data = {
            "record": record,
            "field": one.field[:80],
            "value": one.value,
            "rule": one.rule,
            "detail": one.detail,
        }
        yield Step(topic=str(Topic.PROPOSAL_DROPPED), at=now, data=data)
