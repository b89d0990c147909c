from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier.answer import READING, SENDER, Answer, Draft, Suggestion
from services.classifier.guard import Admitted, Subject, admissible, holds_words, stands_in
from shared.domain.classification import Outcome, Urgency
from shared.policy import FieldRule, Mode
from tests.classifier import examples

BODY = (
    "Hello, my new number is (202) 555-0147. Write to dana@bakery.example.org. I am now the Head of"
    " Purchasing. Best call me. We met on 3.11.2026."
)


def answer(*suggestions: Suggestion, handle: str = "record") -> Answer:
    return Answer(
        outcome=Outcome.PROPOSED,
        route="records",
        urgency=Urgency.NORMAL,
        summary="",
        reason="",
        proposals=(Draft(handle=handle, fields=suggestions),),
    )


def suggest(field: str, value: Any, quote: str, part: str = "body", **more: Any) -> Suggestion:
    return Suggestion(field=field, value=value, part=part, quote=quote, **more)


def guarded(*suggestions: Suggestion, subject: Subject | None = None, **more: Any) -> Admitted:
    return admissible(answer(*suggestions, **more), subject or about())


def about(**fields: Any) -> Subject:
    return examples.about_dana(examples.event(BODY), **fields)


def rule(name: str) -> FieldRule:
    found = examples.policy().rule("demo", "contacts", name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("field", "value", "quote"),
    [
        ("phone", "+12025550147", "my new number is (202) 555-0147"),
        ("phone", "(202) 555-0147", "(202) 555-0147"),
        ("email", "dana@bakery.example.org", "dana@bakery.example.org"),
        ("job_title", "Head of Purchasing", "the Head of Purchasing"),
        ("last_contacted", "2026-11-03", "We met on 3.11.2026"),
        ("last_contacted", "2026-03-11", "We met on 3.11.2026"),
    ],
)
def test_a_grounded_value_of_an_open_field_passes(field: str, value: str, quote: str) -> None:
    found = guarded(suggest(field, value, quote))
    (change,) = found.fields
    assert found.dropped == ()
    assert change.evidence is not None
    start, end = change.evidence.start, change.evidence.end
    assert BODY[start:end] == change.evidence.quote == quote
    assert change.before == about().reading.fields.get(field)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("suggestion", "rule_name"),
    [
        (suggest("owner", "Tom", "Hello"), "not-listed"),
        (suggest("phone", "+12025550148", "(202) 555-0147"), "ungrounded"),
        (suggest("phone", "+12025550147", "(202) 555-0148"), "ungrounded"),
        (suggest("phone", "+12025550147", ""), "ungrounded"),
        (suggest("phone", "+12025550147", "(202) 555-0147", part="absent"), "ungrounded"),
        (suggest("phone", "+12025550147", "(202) 555-0147", start=3), "ungrounded"),
        (suggest("phone", "+12025550147", BODY * 10), "ungrounded"),
        (suggest("phone", None, "Hello"), "not-allowed"),
        (suggest("phone", 12025550147, "(202) 555-0147"), "not-allowed"),
        (suggest("email", "a@bakery.example.org", "dana@bakery.example.org"), "ungrounded"),
        (suggest("job_title", "Head", "the Head of Purchasing"), None),
        (suggest("job_title", "Purchas", "the Head of Purchasing"), "ungrounded"),
        (suggest("job_title", "H" * 200, "Head"), "too-long"),
        (suggest("preferred_channel", "fax", "call"), "not-allowed"),
        (suggest("preferred_channel", "post", "Best call me"), "ungrounded"),
        (suggest("preferred_channel", "phone", "Best call me"), "unchanged"),
        (suggest("last_contacted", "2026-11-04", "We met on 3.11.2026"), "ungrounded"),
    ],
)
def test_everything_else_is_dropped_with_its_rule(
    suggestion: Suggestion, rule_name: str | None
) -> None:
    found = guarded(suggestion)
    assert [one.rule for one in found.dropped] == ([rule_name] if rule_name else [])
    assert bool(found.fields) is (rule_name is None)


def test_only_the_one_record_can_be_meant() -> None:
    good = suggest("phone", "+12025550147", "(202) 555-0147")
    for handle in ("new", "1002", "demo/contacts/1001", ""):
        assert guarded(good, handle=handle).dropped[0].rule == "wrong-record"
    nobody = replace(about(), target=None, reading=None)
    assert guarded(good, subject=nobody).dropped[0].rule == "wrong-record"


def test_a_closed_mode_drops_the_field() -> None:
    subject = about()
    key = ("demo", "contacts", "phone")
    never = replace(subject.policy.fields[key], mode=Mode.NEVER)
    closed = replace(subject.policy, fields={**subject.policy.fields, key: never})
    good = suggest("phone", "+12025550147", "(202) 555-0147")
    found = guarded(good, subject=replace(subject, policy=closed))
    assert [one.rule for one in found.dropped] == ["not-listed"]


def test_a_value_that_the_record_holds_in_another_spelling_is_unchanged() -> None:
    good = suggest("phone", "+12025550147", "(202) 555-0147")
    found = guarded(good, subject=about(phone="+1 202-555-0147"))
    assert [one.rule for one in found.dropped] == ["unchanged"]


def test_of_two_values_for_one_field_the_first_stays_and_the_other_is_told() -> None:
    first = suggest("job_title", "Head of Purchasing", "Head of Purchasing")
    found = guarded(first, suggest("job_title", "Head", "the Head of Purchasing"))
    assert [change.after for change in found.fields] == ["Head of Purchasing"]
    assert [one.rule for one in found.dropped] == ["too-many"]


def test_words_of_the_record_count_whole_and_only_for_their_own_kind() -> None:
    email = suggest("email", "+12025550101", "", part=READING)
    assert guarded(email).dropped[0].rule == "not-allowed"
    note = suggest("job_title", "transfer", "transfer", part=READING)
    subject = about(notes_summary="transfer everything")
    assert guarded(note, subject=subject).dropped[0].rule == "ungrounded"
    name = suggest("company", "Owner", "Owner", part=READING)
    (change,) = guarded(name).fields
    assert change.evidence is None
    assert change.confidence < 400


def test_a_header_grounds_only_what_it_says() -> None:
    stranger = examples.about_stranger(examples.event("A quote please"))
    found = admissible(
        answer(
            suggest("last_name", "Miller", "", part=SENDER),
            suggest("company", "Evil", "", part=SENDER),
            handle="new",
        ),
        stranger,
    )
    assert [change.field for change in found.fields] == ["last_name"]
    assert [one.rule for one in found.dropped] == ["ungrounded"]


def test_words_are_found_whole_and_spaces_and_case_do_not_matter() -> None:
    assert holds_words("I am the  HEAD of\npurchasing.", "Head of Purchasing")
    assert not holds_words("Milleresque", "Miller")
    assert holds_words("“Müller & Söhne”", "Müller & Söhne")
    assert not holds_words("anything", "")


def test_hidden_characters_ground_nothing() -> None:
    assert not stands_in(rule("job_title"), "Head", "He\u200bad Head\u202e", "US")


@settings(max_examples=300, deadline=None)
@given(
    field=st.sampled_from([r.name for r in examples.policy().open_fields("demo", "contacts")]),
    value=st.text(max_size=40) | st.integers() | st.booleans() | st.none(),
    cut=st.tuples(st.integers(0, len(BODY)), st.integers(0, len(BODY))),
)
def test_whatever_passes_stands_in_the_quote_and_fits_the_policy(
    field: str, value: Any, cut: tuple[int, int]
) -> None:
    quote = BODY[min(cut) : max(cut)]
    for change in guarded(suggest(field, value, quote)).fields:
        assert change.evidence is not None
        assert change.evidence.quote in BODY
        assert stands_in(rule(field), change.after, quote, "US")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.digits, min_size=4, max_size=4))
def test_no_other_number_is_grounded_by_this_one(last: str) -> None:
    value = f"+1202555{last}"
    found = guarded(suggest("phone", value, "my new number is (202) 555-0147"))
    assert bool(found.fields) is (last == "0147")
