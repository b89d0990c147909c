"""The default answer, without any model: deterministic, pure, and useful in its own right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from services.classifier import drafts
from services.classifier.answer import (
    MATCHED,
    NEW,
    NOTE,
    SENDER,
    TASK,
    Answer,
    Draft,
    Suggestion,
)
from services.classifier.cues import Role
from services.classifier.extract import Found, addresses, channel, emails, employment, phones
from services.classifier.forms import form_values
from services.classifier.guard import Subject, appending, dates_in
from services.classifier.intents import intent_of, is_urgent, language_of, own_words
from services.classifier.names import first_name, introduced, signed, split_name
from services.classifier.passages import Passage, passage_of, plainest
from shared.domain.classification import Outcome, Urgency
from shared.domain.event import EventKind
from shared.domain.proposal import Maker, ProposalKind
from shared.values import normal, phone_key

VERSION = "1"
MAKER = Maker(kind="rules", name="rules", version=VERSION)
_BASIS = {
    Role.REPLACED: "replaced",
    Role.STATED: "stated",
    Role.REACH: "reach",
    Role.MENTIONED: "mentioned",
}
# How strong a role must be before it may replace a value that is there; anything fills a gap.
_REPLACES = frozenset({"replaced", "stated", "form"})
_STRENGTH = ("replaced", "form", "stated", "header", "reach", "signature", "mentioned")
_NOTHING = frozenset({"auto_reply", "spam", "thanks", "record_change"})
_NEED_MORE = frozenset({"complaint", "cancellation", "unsubscribe", "invoice", "appointment"})
# What a note is made of, and a task, where the policy opens them.
_NOTED = frozenset({"complaint", "appointment", "cancellation"})
_TASKS = frozenset({"complaint", "appointment"})
_LONGEST_NOTE = 2000


def answer_by_rules(subject: Subject) -> Answer:
    """Route, urgency, texts and proposals for an event that is no shortcut."""
    event, policy, reading = subject.event, subject.policy, subject.reading
    suggestions = _chosen(subject)
    intent = _intent(subject, suggestions)
    if intent == "new_lead" or subject.kind is ProposalKind.UPDATE:
        fields = tuple(suggestions)
    else:
        fields = ()
    is_update = subject.kind is ProposalKind.UPDATE
    changed = sorted({subject.word(s.field) for s in fields}) if is_update else []
    routing = policy.routing(intent)
    urgency = routing.urgency
    if urgency is not Urgency.HIGH and is_urgent(event.parts, policy.urgent_words):
        urgency = Urgency.HIGH
    handle = NEW if subject.kind is ProposalKind.DRAFT else MATCHED
    name = first_name(
        subject.held("first_name"),
        event.sender.name if event.sender else None,
    )
    language = language_of(event.parts)
    return Answer(
        outcome=_outcome(intent, has_fields=bool(fields)),
        route=routing.route,
        urgency=urgency,
        summary=drafts.summary_of(event, intent, reading, changed),
        reason=_reason(intent, has_fields=bool(fields), kind=subject.kind),
        reply_draft=drafts.reply_to(intent, language, name, changed, policy.company.name),
        next_steps=drafts.next_steps(intent, reading),
        proposals=(
            *((Draft(handle=handle, fields=fields),) if fields else ()),
            *_appended(subject, intent),
        ),
    )


def _appended(subject: Subject, intent: str) -> Iterator[Draft]:
    """What the record should remember of a letter, and who should act: the sender's own words."""
    if subject.reading is None or subject.event.kind is EventKind.RECORD_CHANGE:
        return
    for one in appending(subject):
        yield from (_note if one.kind is ProposalKind.NOTE else _task)(one, intent)


def _note(note: Subject, intent: str) -> Iterator[Draft]:
    rule = note.rule("text")
    if intent in _NOTED and rule is not None and rule.is_open:
        longest = rule.max_length or _LONGEST_NOTE
        find = passage_of if rule.multiline else plainest
        if passage := find(note.event.parts, intent, longest):
            yield Draft(handle=NOTE, fields=(_verbatim("text", passage.text, passage),))


def _task(task: Subject, intent: str) -> Iterator[Draft]:
    rule = task.rule("subject")
    if intent in _TASKS and rule is not None and rule.is_open:
        longest = rule.max_length or _LONGEST_NOTE
        if passage := plainest(task.event.parts, intent, longest):
            fields = [_verbatim("subject", passage.text, passage), *_due(task, passage)]
            yield Draft(handle=TASK, fields=tuple(fields))


def _due(task: Subject, passage: Passage) -> Iterator[Suggestion]:
    """The one day that the sentence names, where it lies ahead and can be read in one way alone."""
    rule, days = task.rule("due"), set(dates_in(passage.text))
    if rule is not None and rule.is_open and len(days) == 1:
        [day] = days
        if day >= task.event.received_at.date().isoformat():
            yield _verbatim("due", day, passage)


def _verbatim(field: str, value: str, passage: Passage) -> Suggestion:
    return Suggestion(
        field=field,
        value=value,
        part=passage.part,
        quote=passage.text,
        basis="mentioned",
        start=passage.start,
    )


def _intent(subject: Subject, suggestions: list[Suggestion]) -> str:
    """By the words; new contact details alone make a change, a stranger's form a lead."""
    event = subject.event
    if event.kind is EventKind.RECORD_CHANGE:
        return "new_lead" if event.is_new_record else "record_change"
    intent = intent_of(event.parts)
    if subject.kind is ProposalKind.DRAFT:
        is_plain_form = event.is_form and intent in {"other", "contact_change"}
        return "new_lead" if is_plain_form else intent
    stated = {s.field for s in suggestions if s.basis in {"replaced", "stated"}}
    return "contact_change" if intent in {"other", "thanks"} and stated else intent


def _outcome(intent: str, *, has_fields: bool) -> Outcome:
    if has_fields:
        # A complaint with a new number in it needs more than a look at the number.
        return Outcome.A_PERSON_MUST_LOOK if intent in _NEED_MORE else Outcome.PROPOSED
    return Outcome.NOTHING_TO_DO if intent in _NOTHING else Outcome.A_PERSON_MUST_LOOK


def _reason(intent: str, *, has_fields: bool, kind: ProposalKind) -> str:
    if has_fields and kind is ProposalKind.DRAFT:
        return "somebody who is not in the CRM writes: a draft is proposed, nothing is created"
    if has_fields:
        return "new values were found in the message"
    if intent in _NOTHING:
        return "nothing in it asks for an answer or a change"
    return "it asks for something that only a person can do"


def _chosen(subject: Subject) -> list[Suggestion]:
    """The best suggestion for each field; none where two equally good ones disagree."""
    target = subject.target
    if target is None or subject.event.kind is EventKind.RECORD_CHANGE:
        return []
    by_field: dict[str, list[Suggestion]] = {}
    for found in _suggestions(subject):
        suggestion = replace(found, field=subject.own(found.field))
        rule = subject.policy.rule(target.crm, target.type, suggestion.field)
        if rule is not None and rule.is_open and _is_worth_it(suggestion, subject):
            by_field.setdefault(suggestion.field, []).append(suggestion)
    best = [_best(alike) for _, alike in sorted(by_field.items())]
    return [suggestion for suggestion in best if suggestion is not None]


def _best(found: list[Suggestion]) -> Suggestion | None:
    strongest = min(_STRENGTH.index(s.basis) for s in found)
    first = [s for s in found if _STRENGTH.index(s.basis) == strongest]
    return first[0] if len({s.value for s in first}) == 1 else None


def _is_worth_it(suggestion: Suggestion, subject: Subject) -> bool:
    """Whether it says something new, plainly enough to stand against what the CRM holds."""
    reading, target = subject.reading, subject.target
    if reading is None or target is None:
        return True
    rule = subject.policy.rule(target.crm, target.type, suggestion.field)
    held = reading.fields.get(suggestion.field)
    region = subject.policy.company.region
    if rule is not None and normal(rule.type, held, region) == normal(
        rule.type, suggestion.value, region
    ):
        return False
    if held in {None, ""}:
        # A sender's own header address fills no gap: it may be an alias for this one mail.
        return suggestion.basis != "header"
    return suggestion.basis in _REPLACES or suggestion.basis == "reach"


def _suggestions(subject: Subject) -> Iterator[Suggestion]:
    event = subject.event
    if event.is_form:
        yield from _from_form(subject)
    for part, text in own_words(event.parts).items():
        if part == "signature":
            yield from _from_signature(subject, text)
        elif not (event.is_form and part in _labelled(subject)):
            yield from _from_text(subject, part, text)
    if subject.kind is ProposalKind.DRAFT:
        yield from _from_header(subject)


def _labelled(subject: Subject) -> set[str]:
    return {part for part, _ in form_values(subject.event.parts).values()}


def _from_form(subject: Subject) -> Iterator[Suggestion]:
    """Each labelled field is evidence for itself; a name only helps a new record."""
    for field, (part, value) in form_values(subject.event.parts).items():
        if field == "name":
            yield from _name_suggestions(value, part, subject.event.parts[part], "form")
            continue
        proposed = _channel_value(subject, value) if field == "preferred_channel" else value
        region = subject.policy.company.region
        start = subject.event.parts[part].find(value)
        yield Suggestion(
            field=field,
            value=_normalised(field, proposed, region),
            part=part,
            quote=value,
            basis="form",
            start=start,
        )


def _normalised(field: str, value: str, region: str) -> str:
    return (phone_key(value, region) or value) if field == "phone" else value


def _channel_value(subject: Subject, value: str) -> str:
    """The listed value that a form's words mean, or the words as they are."""
    target = subject.target
    rule = (
        subject.policy.rule(target.crm, target.type, subject.own("preferred_channel"))
        if target
        else None
    )
    for listed, words in rule.words.items() if rule else ():
        if value.casefold() in {listed, *(word.casefold() for word in words)}:
            return listed
    return value


def _from_text(subject: Subject, part: str, text: str) -> Iterator[Suggestion]:
    company, target = subject.policy.company, subject.target
    rule = (
        subject.policy.rule(target.crm, target.type, subject.own("preferred_channel"))
        if target
        else None
    )
    found = [*phones(text, company), *emails(text, company)]
    found += [*addresses(text), *employment(text), *channel(text, rule)]
    for one in found:
        if one.role in _BASIS:
            yield _suggestion(one, part, _BASIS[one.role])
    if subject.kind is ProposalKind.DRAFT and (match := introduced(text)):
        yield from _name_suggestions(match["name"], part, text, "stated")


def _from_signature(subject: Subject, text: str) -> Iterator[Suggestion]:
    for one in phones(text, subject.policy.company):
        yield _suggestion(one, "signature", "signature")
    if subject.kind is ProposalKind.DRAFT and (match := signed(text)):
        yield from _name_suggestions(match["name"], "signature", text, "signature")


def _suggestion(one: Found, part: str, basis: str) -> Suggestion:
    return Suggestion(
        field=one.field, value=one.value, part=part, quote=one.quote, basis=basis, start=one.start
    )


def _name_suggestions(full: str, part: str, text: str, basis: str) -> Iterator[Suggestion]:
    names = split_name(full)
    if names is None:
        return
    for field, value in zip(("first_name", "last_name"), names, strict=True):
        if value:
            yield Suggestion(
                field=field, value=value, part=part, quote=full, basis=basis, start=text.find(full)
            )


def _from_header(subject: Subject) -> Iterator[Suggestion]:
    """Who a new sender is, out of the header of the mail."""
    sender = subject.event.sender
    if sender is None:
        return
    names = split_name(sender.name) if sender.name else None
    values = {
        "first_name": names[0] if names else "",
        "last_name": names[1] if names else "",
        "email": sender.email or "",
        "phone": sender.phone or "",
    }
    for field, value in values.items():
        if value:
            yield Suggestion(field=field, value=value, part=SENDER, quote=value, basis="header")
