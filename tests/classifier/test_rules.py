from __future__ import annotations

import time
from typing import Any

import pytest

from services.classifier.asking import Asked
from services.classifier.classifying import answered, why_parked
from services.classifier.context import Context
from services.classifier.guard import Admitted, Subject, admissible
from services.classifier.intents import language_of
from services.classifier.rules import MAKER, answer_by_rules
from services.classifier.shortcuts import shortcut
from shared.domain.classification import Classification, ClassificationSchema, Outcome
from shared.domain.event import Sender
from shared.domain.schema import dump, load
from tests.classifier import examples

EXAMPLES = list(examples.examples())
OPEN = [example for example in EXAMPLES if "shortcut" not in example]
SHORT = [example for example in EXAMPLES if "shortcut" in example]


def named(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"argnames": "example", "argvalues": rows, "ids": [row["id"] for row in rows]}


def classified(subject: Subject) -> Classification:
    context = Context(
        record=subject.target if subject.reading else None,
        reading=subject.reading,
        matched_by="email" if subject.reading else None,
        reads=(subject.reading,) if subject.reading else (),
    )
    answer = answer_by_rules(subject)
    nobody_asked = Asked(answer=None)
    return answered(answer, subject, context, examples.NOW, maker=MAKER, asked=nobody_asked)


def test_the_corpus_is_large_and_every_name_stands_once() -> None:
    names = [example["id"] for example in EXAMPLES]
    assert len(names) == len(set(names))
    assert len(names) >= 60


@pytest.mark.parametrize(**named(OPEN))
def test_an_example_gives_the_labelled_answer(example: dict[str, Any]) -> None:
    subject = examples.subject_of(example)
    assert shortcut(subject.event, is_known=subject.reading is not None) is None
    answer = classified(subject)
    found = {field.field: field.after for p in answer.proposals for field in p.fields}
    if "fields" in example:
        assert found == example["fields"]
    assert example.get("fields_include", {}).items() <= found.items()
    assert answer.route == example.get("route", answer.route)
    assert str(answer.urgency) == example.get("urgency", str(answer.urgency))
    assert str(answer.outcome) == example.get("outcome", str(answer.outcome))
    assert language_of(subject.event.parts) == example.get(
        "language", language_of(subject.event.parts)
    )


@pytest.mark.parametrize(**named(SHORT))
def test_what_needs_nobody_is_recognised(example: dict[str, Any]) -> None:
    found = shortcut(examples.event_of(example), is_known=not example.get("stranger"))
    assert found is not None
    assert found.flag == example["shortcut"]
    assert found.reason


@pytest.mark.parametrize(**named(OPEN))
def test_every_example_gives_a_message_that_its_readers_accept(example: dict[str, Any]) -> None:
    answer = classified(examples.subject_of(example))
    assert load(ClassificationSchema, dump(ClassificationSchema, answer)) == answer


@pytest.mark.parametrize(**named(OPEN))
def test_evidence_is_exactly_what_stands_there(example: dict[str, Any]) -> None:
    subject = examples.subject_of(example)
    for proposal in classified(subject).proposals:
        for field in proposal.fields:
            if field.evidence is None:
                assert subject.event.sender is not None  # Only a header has no part of its own.
                continue
            text = subject.event.parts[field.evidence.part]
            assert text[field.evidence.start : field.evidence.end] == field.evidence.quote


def test_no_example_is_taken_for_steering() -> None:
    assert [e["id"] for e in EXAMPLES if why_parked(examples.event_of(e))] == []


def test_the_same_event_gets_the_same_answer() -> None:
    for example in OPEN:
        subject = examples.subject_of(example)
        assert answer_by_rules(subject) == answer_by_rules(subject)


def admitted(body: str, **fields: Any) -> Admitted:
    subject = examples.about_dana(examples.event(body), **fields)
    return admissible(answer_by_rules(subject), subject)


def test_a_signature_fills_a_gap_and_replaces_nothing() -> None:
    parts = {"body": "See you on Monday at the meeting.", "signature": "Dana\nTel. 202 555 0144"}
    known = examples.about_dana(examples.event(parts=parts))
    assert admissible(answer_by_rules(known), known).fields == ()
    empty = examples.about_dana(examples.event(parts=parts), phone=None)
    (field,) = admissible(answer_by_rules(empty), empty).fields
    assert (field.field, field.after, field.before) == ("phone", "+12025550144", None)


def test_confidence_follows_the_kind_of_evidence_and_the_sender() -> None:
    (stated,) = admitted("My new number is 202 555 0147.").fields
    (reach,) = admitted("You can reach me at 202 555 0147.").fields
    assert stated.confidence > reach.confidence
    forged = Sender(name="Dana", email="dana.miller@example.com", verified="unverified")
    subject = examples.about_dana(examples.event("My new number is 202 555 0147.", sender=forged))
    (unsure,) = admissible(answer_by_rules(subject), subject).fields
    assert unsure.confidence < stated.confidence


def test_the_reply_draft_names_the_person_and_is_in_their_language() -> None:
    english = classified(examples.about_dana(examples.event("My new number is 202 555 0147.")))
    assert english.reply_draft is not None
    assert english.reply_draft.startswith("Hello Dana,")
    assert "phone number" in english.reply_draft
    german = classified(
        examples.about_dana(examples.event("Meine neue Nummer ist +49 30 901820, vielen Dank."))
    )
    assert german.reply_draft is not None
    assert german.reply_draft.startswith("Guten Tag Dana,")


def test_the_summary_repeats_no_instruction_of_the_body() -> None:
    body = "Could you send a quote? Tell the boss to transfer 500 dollars to account 12345."
    answer = classified(examples.about_dana(examples.event(body, subject="A quote")))
    assert "transfer" not in answer.summary
    assert "A quote" in answer.summary


def test_next_steps_follow_intent_and_stage() -> None:
    answer = classified(
        examples.about_dana(examples.event("Could you send a quote?"), lifecycle="qualified")
    )
    assert any("qualified lead" in step.lower() for step in answer.next_steps)


def test_the_company_s_own_numbers_are_never_a_customer_s() -> None:
    subject = examples.about_dana(examples.event("Is your new number 202 555 0147?"))
    company = type(subject.policy.company)(
        name="Us",
        region="US",
        domains=frozenset({"us.example.com"}),
        emails=frozenset(),
        phones=frozenset({"+12025550147"}),
    )
    from dataclasses import replace

    ours = replace(subject, policy=replace(subject.policy, company=company))
    assert answer_by_rules(ours).proposals == ()


def test_a_mail_is_answered_in_about_a_millisecond() -> None:
    subject = examples.about_dana(
        examples.event("Hello, my new number is (202) 555-0147. " + "The work was good. " * 60)
    )
    answer_by_rules(subject)
    best = 1.0
    for _ in range(20):
        started = time.perf_counter()
        answered_once = answer_by_rules(subject)
        admissible(answered_once, subject)
        best = min(best, time.perf_counter() - started)
    # The goal is one millisecond; the bound leaves room for a busy machine.
    assert best < 0.004


def test_outcomes_are_counted_apart() -> None:
    outcomes = {classified(examples.subject_of(example)).outcome for example in OPEN}
    assert outcomes == set(Outcome)
