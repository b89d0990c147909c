"""What of an answer may become a proposal: only policy fields of the one record, only grounded.

Pure: the same answer, event, reading and policy always give the same result. Rules and model pass
the same guard, and whatever it drops is handed back with the rule that dropped it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from services.classifier.answer import (
    MATCHED,
    MAX_FIELDS,
    NEW,
    NOTE,
    READING,
    SENDER,
    TASK,
    Answer,
    Suggestion,
)
from services.classifier.confidence import confidence
from services.classifier.plain import plain
from shared.domain.event import Event
from shared.domain.proposal import Evidence, FieldChange, ProposalKind, object_of
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar
from shared.policy import FieldRule, Policy, check
from shared.values import ValueType, email_key, folded, has_control, normal, phone_key

MAX_QUOTE = 600
# How an answer points at what it is about.
_HANDLES: Mapping[ProposalKind, str] = {
    ProposalKind.UPDATE: MATCHED,
    ProposalKind.DRAFT: NEW,
    ProposalKind.NOTE: NOTE,
    ProposalKind.TASK: TASK,
}
_DIGITS = re.compile(r"\+?\(?\d[\d\s()./\u00a0-]{4,}\d")
_ADDRESS = re.compile(r"[^\s<>()\[\]\",;:]+@[^\s<>()\[\]\",;:]+\w")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_DOT_DATE = re.compile(r"\b(\d{1,2})[./](\d{1,2})[./](\d{4})\b")
_WHOLE = re.compile(r"(?<![\w.,])-?\d{1,15}(?![\w]|[.,]\d)")
_EDGE = re.compile(r"\w")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an answer is about. ``target`` is the one record it may touch, and in which way.

    ``target`` is ``None`` when no record, or more than one, fits: then nothing can be proposed.
    ``names`` are the CRM's own names for our words; a draft is kept in our words. ``appends`` are
    the kinds that its record can take.
    """

    event: Event
    policy: Policy
    target: RecordRef | None
    kind: ProposalKind = ProposalKind.UPDATE
    reading: Reading | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    appends: tuple[ProposalKind, ...] = (ProposalKind.NOTE, ProposalKind.TASK)

    @property
    def object(self) -> str:
        """Whose fields the policy is asked for; empty without a record."""
        return object_of(self.kind, self.target) if self.target else ""

    def own(self, word: str) -> str:
        """What the record calls the field that we call ``word``."""
        return self.names.get(word, word) if self.kind is ProposalKind.UPDATE else word

    def word(self, name: str) -> str:
        """Our word for a field of the record, or its own name."""
        return next((word for word in self.names if self.own(word) == name), name)

    def rule(self, word: str) -> FieldRule | None:
        """What the policy says of the field that we call ``word``."""
        target = self.target
        return self.policy.rule(target.crm, self.object, self.own(word)) if target else None

    def held(self, word: str) -> Scalar:
        """What the record that was read holds in the field that we call ``word``."""
        return self.reading.fields.get(self.own(word)) if self.reading else None


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A value that was not let through; ``rule`` is a name of `notices.ProposalDropped`."""

    field: str
    value: Scalar
    rule: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """The fields that may be proposed, sorted by name, and everything that was dropped."""

    fields: tuple[FieldChange, ...]
    dropped: tuple[Dropped, ...]


class _Refused(Exception):
    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


def appending(subject: Subject) -> tuple[Subject, ...]:
    """The same, as what a note or a task would be about, where its record takes one."""
    return tuple(replace(subject, kind=kind) for kind in subject.appends)


def admissible(answer: Answer, subject: Subject) -> Admitted:
    """The part of ``answer`` that may be shown to a person as a proposal about ``subject``.

    Notes and tasks are subjects of their own (`appending`).
    """
    admitted: dict[str, FieldChange] = {}
    dropped: list[Dropped] = []
    others = {_HANDLES[kind] for kind in subject.appends}
    for draft in answer.proposals:
        if (draft.handle in others or subject.kind.appends) and (
            draft.handle != _HANDLES[subject.kind]
        ):
            continue
        for suggestion in draft.fields:
            try:
                _right_record(draft.handle, subject)
                change = _change(suggestion, subject)
                _has_room(change, admitted)
            except _Refused as refusal:
                dropped.append(_dropped(suggestion, refusal))
            else:
                admitted.setdefault(change.field, change)
    changes = tuple(admitted[name] for name in sorted(admitted))
    return Admitted(fields=changes, dropped=tuple(dropped))


def _dropped(suggestion: Suggestion, refusal: _Refused) -> Dropped:
    value = suggestion.value[:MAX_QUOTE] if isinstance(suggestion.value, str) else suggestion.value
    return Dropped(field=suggestion.field, value=value, rule=refusal.rule, detail=refusal.detail)


def _right_record(handle: str, subject: Subject) -> None:
    if subject.target is None:
        raise _Refused("wrong-record", "no single record is meant by this event")
    if subject.kind.appends and subject.reading is None:
        raise _Refused("wrong-record", f"there is no record yet that a {handle} could belong to")
    if handle != _HANDLES[subject.kind]:
        raise _Refused("wrong-record", "the answer points at another record")


def _has_room(change: FieldChange, admitted: dict[str, FieldChange]) -> None:
    """Two different values for one field: the first stays, the contradiction is recorded."""
    first = admitted.get(change.field)
    if first is None and len(admitted) >= MAX_FIELDS:
        raise _Refused("too-many", f"more than {MAX_FIELDS} fields")
    if first is not None:
        same = first.after == change.after
        raise _Refused("too-many", "named twice" if same else "another value was named first")


def _change(suggestion: Suggestion, subject: Subject) -> FieldChange:
    target = subject.target
    assert target is not None, "_right_record comes first"
    rule = subject.policy.rule(target.crm, subject.object, suggestion.field)
    if rule is None or not rule.is_open:
        raise _Refused("not-listed", "the policy does not open this field")
    value = _well_formed(rule, suggestion.value, subject.policy.company.region)
    evidence, basis = _grounds(rule, value, suggestion, subject)
    if subject.kind.appends:
        _require_verbatim(rule, value, evidence, subject.policy)
    before = None
    if subject.reading is not None and not subject.kind.appends:
        before = subject.reading.fields.get(rule.name)
    region = subject.policy.company.region
    if normal(rule.type, before, region) == normal(rule.type, value, region):
        raise _Refused("unchanged", "the CRM holds this value already")
    points = confidence(basis, subject.event.sender, was_empty=before in {None, ""})
    return FieldChange(
        field=rule.name, before=before, after=value, evidence=evidence, confidence=points
    )


def _require_verbatim(
    rule: FieldRule, value: Scalar, evidence: Evidence | None, policy: Policy
) -> None:
    """What is appended stays: the sender's own words, and no link out of them."""
    text = str(value)
    if evidence is None or (rule.type is ValueType.TEXT and text != evidence.quote):
        raise _Refused("ungrounded", "it is not, letter by letter, a passage of the message")
    if plain(text, len(text) + 1, own_domains=policy.company.domains)[1]:
        raise _Refused("not-allowed", "it holds a link or markup, which is never passed on")


def _well_formed(rule: FieldRule, value: Scalar, region: str) -> Scalar:
    """The value in the form the CRM gets; spelling alone is normalised, never content."""
    if value is None or value == "":
        raise _Refused("not-allowed", "emptying a field is not proposed")
    if rule.type is ValueType.PHONE and isinstance(value, str):
        value = phone_key(value, region) or value
    if rule.type in {ValueType.TEXT, ValueType.EMAIL} and isinstance(value, str):
        value = value.strip()
    if isinstance(value, str) and len(value) > (rule.max_length or 10_000):
        raise _Refused("too-long", f"longer than {rule.max_length} characters")
    if problem := check(rule, value):
        raise _Refused("not-allowed", problem)
    return value


def _grounds(
    rule: FieldRule, value: Scalar, suggestion: Suggestion, subject: Subject
) -> tuple[Evidence | None, str]:
    """Where the value stands. Raises `_Refused` when it stands nowhere it is said to stand."""
    region = subject.policy.company.region
    if suggestion.part == SENDER:
        if not _stands_in_header(rule, value, subject):
            raise _Refused("ungrounded", "the sender's header does not say this")
        return None, "header"
    if suggestion.part == READING:
        if not _stands_in_reading(rule, value, subject):
            raise _Refused("ungrounded", "the record that was read does not say this")
        return None, "record"
    longest = (rule.max_length or 0) if subject.kind.appends else 0
    evidence = _located(suggestion, subject.event, max(longest, MAX_QUOTE))
    if not stands_in(rule, value, evidence.quote, region):
        raise _Refused("ungrounded", "the quoted words do not hold this value")
    return evidence, suggestion.basis


def _located(suggestion: Suggestion, event: Event, longest: int) -> Evidence:
    """The exact slice of the event that was quoted."""
    text = event.parts.get(suggestion.part)
    quote = suggestion.quote
    if text is None:
        raise _Refused("ungrounded", "the event has no such part")
    if not quote.strip() or len(quote) > longest:
        raise _Refused("ungrounded", "the quote is empty or too long")
    start = suggestion.start if suggestion.start is not None else text.find(quote)
    if start < 0 or text[start : start + len(quote)] != quote:
        raise _Refused("ungrounded", "the quoted words do not stand there")
    return Evidence(part=suggestion.part, start=start, end=start + len(quote), quote=quote)


def stands_in(rule: FieldRule, value: Scalar, quote: str, region: str) -> bool:
    """Whether the words ``quote`` hold ``value``, in any spelling that means the same."""
    if has_control(quote, multiline=True):
        return False
    if rule.type is ValueType.PHONE:
        found = (phone_key(match[0], region) for match in _DIGITS.finditer(quote))
        return any(number == value for number in found)
    if rule.type is ValueType.EMAIL:
        key = email_key(str(value))
        return any(email_key(match[0].strip(".'")) == key for match in _ADDRESS.finditer(quote))
    if rule.type is ValueType.DATE:
        return str(value) in set(dates_in(quote))
    if rule.type in {ValueType.ENUM, ValueType.BOOLEAN}:
        name = str(value).lower() if isinstance(value, bool) else str(value)
        return any(holds_words(quote, words) for words in (name, *rule.words.get(name, ())))
    if rule.type is ValueType.INTEGER:
        return str(value) in {str(int(match[0])) for match in _WHOLE.finditer(quote)}
    return holds_words(quote, str(value))


def holds_words(text: str, words: str) -> bool:
    """Whether ``words`` stand in ``text`` as whole words, spaces and case aside."""
    hay, needle = folded(text), folded(words)
    at = hay.find(needle) if needle else -1
    while at >= 0:
        before, after = hay[at - 1 : at], hay[at + len(needle) : at + len(needle) + 1]
        starts = not (_EDGE.match(needle[0]) and _EDGE.match(before))
        if starts and not (_EDGE.match(needle[-1]) and _EDGE.match(after)):
            return True
        at = hay.find(needle, at + 1)
    return False


def dates_in(text: str) -> list[str]:
    """All readings of the dates in a text: 3/4/2026 is both the third of April and 4 March."""
    triples = [(m[1], m[2], m[3]) for m in _ISO_DATE.finditer(text)]
    for match in _DOT_DATE.finditer(text):
        triples += [(match[3], match[2], match[1]), (match[3], match[1], match[2])]
    found = []
    for year, month, day in triples:
        try:
            found.append(date(int(year), int(month), int(day)).isoformat())
        except ValueError:
            continue
    return found


def _stands_in_header(rule: FieldRule, value: Scalar, subject: Subject) -> bool:
    sender = subject.event.sender
    if sender is None:
        return False
    region = subject.policy.company.region
    texts = [text for text in (sender.name, sender.email, sender.phone) if text]
    return any(stands_in(rule, value, text, region) for text in texts)


def _stands_in_reading(rule: FieldRule, value: Scalar, subject: Subject) -> bool:
    """Only whole values count, and only of the same kind: words of a note prove nothing."""
    if subject.reading is None:
        return False
    region = subject.policy.company.region
    target = subject.reading.ref
    for name, known in subject.reading.fields.items():
        other = subject.policy.rule(target.crm, target.type, name)
        is_same_kind = other is not None and other.type is rule.type and known not in {None, ""}
        if is_same_kind and normal(rule.type, known, region) == normal(rule.type, value, region):
            return True
    return False
