"""Notes and tasks are the sender's own words, letter by letter, and only where the policy asks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from services.classifier.answer import READING, Answer, Draft, Suggestion, parse_answer
from services.classifier.asking import Asked
from services.classifier.classifying import answered, subject_of
from services.classifier.context import Context
from services.classifier.guard import Subject, admissible, appending
from services.classifier.passages import passage_of, plainest
from services.classifier.prompt import prompt_for
from services.classifier.rules import MAKER, answer_by_rules
from shared.crm.demo import DemoReader
from shared.crm.metadata import Capabilities
from shared.domain.classification import Classification, Outcome, Urgency
from shared.domain.proposal import ProposalKind
from shared.policy import Policy, load_policy
from tests.classifier import examples

FAULTY = "The new gate is broken and does not close."
COME = "We are very unhappy: please send somebody on 2026-12-01."
LETTER = f"Hello,\n\n{FAULTY} {COME} My hat is red.\n\nKind regards\nDana"
RULE = 'stage = "live"\nreason = "For the tests."\n'
OPEN = (
    f'[fields.demo.notes.text]\nmode = "review"\ntype = "text"\nmultiline = true\n'
    f"max_length = 2000\n{RULE}"
    f'[fields.demo.tasks.subject]\nmode = "review"\ntype = "text"\nmax_length = 200\n{RULE}'
    f'[fields.demo.tasks.due]\nmode = "review"\ntype = "date"\n{RULE}'
)


def opened() -> Policy:
    """The shipped policy with notes and tasks opened instead of closed."""
    head, _, _ = examples.policy().text.partition("[fields.demo.notes.text]")
    return load_policy(head + OPEN)


def about(body: str = LETTER, *, policy: Policy | None = None, **more: Any) -> Subject:
    subject = examples.about_dana(examples.event(body, **more))
    return replace(subject, policy=policy or opened())


def by_rules(subject: Subject) -> Classification:
    return classified(answer_by_rules(subject), subject)


def classified(answer: Answer, subject: Subject) -> Classification:
    found = subject.reading
    reads = (found,) if found else ()
    context = Context(record=found.ref if found else None, reading=found, reads=reads)
    nobody = Asked[Answer](answer=None)
    return answered(answer, subject, context, examples.NOW, maker=MAKER, asked=nobody)


def values(answer: Classification) -> dict[str, dict[str, Any]]:
    return {
        str(one.kind): {field.field: field.after for field in one.fields}
        for one in answer.proposals
    }


def test_a_complaint_becomes_a_note_and_a_task_in_its_own_words() -> None:
    answer = by_rules(about())
    assert values(answer) == {
        "note": {"text": f"{FAULTY} {COME}"},
        "task": {"subject": FAULTY},
    }
    assert answer.outcome is Outcome.A_PERSON_MUST_LOOK, "a note settles no complaint"
    for proposal in answer.proposals:
        assert proposal.record == examples.DANA
        for field in proposal.fields:
            assert field.before is None
            assert field.evidence is not None
            held = answer.event.parts[field.evidence.part]
            assert held[field.evidence.start : field.evidence.end] == field.after
    assert len({proposal.id for proposal in answer.proposals}) == 2


def test_nothing_is_appended_unless_the_policy_opens_it() -> None:
    answer = by_rules(about(policy=examples.policy()))
    assert answer.proposals == ()
    assert [step for step in answer.steps if step.topic == "proposal.dropped"] == []


def test_nothing_is_proposed_that_the_record_cannot_take() -> None:
    subject = replace(about(), appends=(ProposalKind.NOTE,))
    assert set(values(by_rules(subject))) == {"note"}
    made = answer_by_rules(about())
    assert {one.handle for one in made.proposals} == {"note", "task"}
    judged = classified(made, subject)
    assert set(values(judged)) == {"note"}
    dropped = [step.data for step in judged.steps if step.topic == "proposal.dropped"]
    assert [one["field"] for one in dropped] == ["subject"], dropped


def test_what_a_record_takes_is_asked_of_its_crm() -> None:
    found = about()
    reader = DemoReader("http://127.0.0.1:9", "token")
    reader.capabilities = Capabilities(notes=(examples.DANA.type,), tasks=("jobs",))  # type: ignore[misc] - another CRM, in one word.
    context = Context(record=examples.DANA, reading=found.reading)
    asked = subject_of(found.event, found.policy, context, reader)
    assert asked.appends == (ProposalKind.NOTE,)


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("Please cancel our order of last week.", {"note"}),
        ("Could we move our appointment? Wednesday would suit us.", {"note", "task"}),
        ("Thank you very much, all is well.", set()),
        ("We have a question about your opening hours.", set()),
        ("Where is the invoice for the roof? We have not received the invoice.", set()),
    ],
)
def test_only_complaints_appointments_and_cancellations_are_noted(
    body: str, kinds: set[str]
) -> None:
    assert set(values(by_rules(about(body)))) == kinds


@pytest.mark.parametrize(
    ("body", "due"),
    [
        ("We would like an appointment on 2026-12-01.", "2026-12-01"),
        ("We would like an appointment on 13.12.2026.", "2026-12-13"),
        ("We would like an appointment on 3.12.2026.", None),  # Or the twelfth of March.
        ("We would like an appointment on 2026-12-01 or 2026-12-02.", None),
        ("We would like an appointment, as on 2026-10-01.", None),  # That day is over.
        ("We would like an appointment on Tuesday.", None),
    ],
)
def test_a_task_has_a_day_only_where_its_sentence_names_one_plainly(
    body: str, due: str | None
) -> None:
    task = values(by_rules(about(body)))["task"]
    assert task == {"subject": body} | ({"due": due} if due else {})


def test_a_stranger_has_no_record_that_a_note_could_belong_to() -> None:
    subject = replace(about(), target=examples.DRAFT, kind=ProposalKind.DRAFT, reading=None)
    assert not {"note", "task"} & set(values(by_rules(subject)))
    note = suggested("text", FAULTY, FAULTY)
    answer = classified(given(Draft(handle="note", fields=(note,))), subject)
    assert answer.proposals == ()
    assert dropped(answer) == [("text", "wrong-record")]


def test_a_note_is_never_longer_than_the_policy_allows() -> None:
    short = opened().text.replace("max_length = 2000\nstage", "max_length = 60\nstage")
    answer = by_rules(about(policy=load_policy(short)))
    assert values(answer)["note"] == {"text": FAULTY}


# What a model says.


def suggested(field: str, value: Any, quote: str, part: str = "body") -> Suggestion:
    return Suggestion(field=field, value=value, part=part, quote=quote)


def given(*drafts: Draft) -> Answer:
    return Answer(
        outcome=Outcome.PROPOSED,
        route="support",
        urgency=Urgency.NORMAL,
        summary="s",
        reason="r",
        proposals=drafts,
    )


def dropped(answer: Classification) -> list[tuple[str, str]]:
    steps = [step.data for step in answer.steps if step.topic == "proposal.dropped"]
    return [(step["field"], step["rule"]) for step in steps]


def note(value: str, quote: str, part: str = "body") -> Draft:
    return Draft(handle="note", fields=(suggested("text", value, quote, part),))


def test_a_passage_that_a_model_copied_letter_by_letter_is_a_note() -> None:
    both = f"{FAULTY} {COME}"
    answer = classified(given(note(both, both)), about())
    assert values(answer) == {"note": {"text": both}}
    assert answer.outcome is Outcome.PROPOSED


@pytest.mark.parametrize(
    ("value", "quote"),
    [
        ("The gate is broken.", FAULTY),  # A summary.
        (FAULTY.upper(), FAULTY),  # Spelt otherwise.
        (FAULTY.replace(" ", "  "), FAULTY),
        ("The customer is angry.", "The customer is angry."),  # Stands nowhere.
        (FAULTY, "gate"),
    ],
)
def test_what_is_not_letter_by_letter_in_the_message_is_dropped_and_told(
    value: str, quote: str
) -> None:
    answer = classified(given(note(value, quote)), about())
    assert answer.proposals == ()
    assert dropped(answer) == [("text", "ungrounded")]
    assert "dropped_values" in answer.flags


def test_what_stands_in_the_record_alone_is_no_note_and_no_day() -> None:
    task = Draft(
        handle="task",
        fields=(
            suggested("subject", COME, COME),
            suggested("due", "2026-11-12", "", READING),
        ),
    )
    answer = classified(given(note("Miller Bakery", "", READING), task), about())
    assert values(answer) == {"task": {"subject": COME}}
    assert dropped(answer) == [("text", "ungrounded"), ("due", "ungrounded")]


@pytest.mark.parametrize(
    "words",
    [
        "See https://evil.example.org/x now.",
        "See www.evil.example.org/x now.",
        "Look <b>here</b> now.",
    ],
)
def test_no_link_and_no_markup_is_passed_on_in_a_note(words: str) -> None:
    answer = classified(given(note(words, words)), about(f"{LETTER} {words}"))
    assert answer.proposals == ()
    assert dropped(answer) == [("text", "not-allowed")]


def test_a_long_note_has_its_lines_and_its_whole_evidence() -> None:
    lines = "\n".join(f"Line {number} of the broken gate." for number in range(60))
    assert len(lines) > 1000
    answer = classified(given(note(lines, lines)), about(f"Hello,\n{lines}"))
    assert values(answer) == {"note": {"text": lines}}


def test_a_task_without_its_sentence_is_none() -> None:
    due = Draft(handle="task", fields=(suggested("due", "2026-12-01", COME),))
    assert classified(given(due), about()).proposals == ()


def test_a_closed_note_of_a_model_is_dropped_with_the_reason() -> None:
    answer = classified(given(note(FAULTY, FAULTY)), about(policy=examples.policy()))
    assert answer.proposals == ()
    assert dropped(answer) == [("text", "not-listed")]


def test_a_note_carries_no_field_of_the_record_and_a_record_no_text() -> None:
    subject = about()
    phone = suggested("phone", "+12025550147", FAULTY)
    text = suggested("text", FAULTY, FAULTY)
    of_note = admissible(given(Draft(handle="note", fields=(phone,))), appending(subject)[0])
    of_record = admissible(given(Draft(handle="record", fields=(text,))), subject)
    assert [one.rule for one in of_note.dropped] == ["not-listed"]
    assert [one.rule for one in of_record.dropped] == ["not-listed"]


def test_a_model_is_asked_for_notes_and_tasks_only_where_they_are_open() -> None:
    asked, closed = (prompt_for(about(policy=one), "c") for one in (opened(), examples.policy()))
    assert 'for the record "note"' in asked.system
    assert 'for the record "task"' in asked.system
    assert '"note"' not in closed.system
    handles = [
        json.dumps(prompt.schema["properties"]["proposals"]["items"]["properties"]["record"])
        for prompt in (asked, closed)
    ]
    assert ["note" in text and "task" in text for text in handles] == [True, False]
    assert "$" not in asked.system + closed.system


def test_the_version_of_a_question_covers_the_words_about_notes_and_tasks() -> None:
    asked, closed = (prompt_for(about(policy=one), "c") for one in (opened(), examples.policy()))
    assert asked.version != closed.version
    assert all(one.version.startswith("classify.v1+") for one in (asked, closed))


def test_an_answer_with_a_note_in_it_has_the_expected_shape() -> None:
    draft = {"record": "note", "fields": [
        {"field": "text", "value": FAULTY, "part": "body", "quote": FAULTY}]}  # fmt: skip
    body = {"outcome": "proposed", "route": "support", "urgency": "normal", "summary": "s",
            "reason": "r", "reply_draft": None, "next_steps": [], "proposals": [draft]}  # fmt: skip
    assert values(classified(parse_answer(json.dumps(body)), about())) == {"note": {"text": FAULTY}}


# Where a passage begins and ends.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello,\nThe door is broken.", "The door is broken."),
        ("Nice. The door is broken!\n\nBye", "The door is broken!"),
        ("At 3.30 the door\nwas broken. Bye.", "At 3.30 the door\nwas broken."),
        ("Das Tor ist kaputt. Das ist eine Reklamation. Gruß", "Das Tor ist kaputt. Das ist eine Reklamation."),
        ("All is well.", None),
    ],
)  # fmt: skip
def test_a_passage_is_whole_sentences(text: str, found: str | None) -> None:
    passage = passage_of({"body": text}, "complaint", 2000)
    assert (passage.text if passage else None) == found
    if passage:
        assert text[passage.start :].startswith(passage.text)


def test_a_passage_is_taken_from_the_letter_and_not_from_what_is_quoted_below_it() -> None:
    parts = {"subject": FAULTY, "quoted": FAULTY, "signature": FAULTY, "body": "See below."}
    assert passage_of(parts, "complaint", 2000) is None
    assert plainest(parts, "complaint", 2000) is None
