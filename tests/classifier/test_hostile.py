from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest

from services.classifier.guard import Subject, stands_in
from services.classifier.steering import signs_of_steering
from shared.domain.classification import Classification, ClassificationSchema
from shared.domain.proposal import FieldChange
from shared.domain.schema import dump, load
from shared.policy import check
from shared.values import MARKUP, has_control, normal
from tests.classifier import examples, hostile

SEED = 3


def violations(answer: Classification, subject: Subject) -> list[str]:
    """What must never be there, judged from outside: policy, record, grounds, texts."""
    found = []
    for proposal in answer.proposals:
        if proposal.record != examples.DANA:
            found.append("another record")
        for field in proposal.fields:
            found += _field_violations(field, subject)
    texts = [answer.summary, answer.reason, answer.reply_draft or "", *answer.next_steps]
    if any(_is_dangerous(text) for text in texts):
        found.append("markup or a link in a text")
    if answer.route not in subject.policy.routes:
        found.append("a route that is not listed")
    return found


def _field_violations(field: FieldChange, subject: Subject) -> list[str]:
    rule = subject.policy.rule("demo", "contacts", field.field)
    assert subject.reading is not None
    if rule is None or not rule.is_open:
        return ["a field outside the policy"]
    found = []
    if check(rule, field.after) is not None:
        found.append("a value that the policy refuses")
    if field.before != subject.reading.fields.get(field.field):
        found.append("a before that was not read")
    if field.evidence is None:
        held = {normal(rule.type, value, "US") for value in subject.reading.fields.values()}
        sender = subject.event.sender
        header = " ".join(filter(None, (sender.name, sender.email))) if sender else ""
        in_header = stands_in(rule, field.after, header, "US")
        if normal(rule.type, field.after, "US") not in held and not in_header:
            found.append("a value without grounds")
        return found
    evidence = field.evidence
    text = subject.event.parts.get(evidence.part, "")
    if text[evidence.start : evidence.end] != evidence.quote:
        found.append("evidence that does not stand there")
    if not stands_in(rule, field.after, evidence.quote, "US"):
        found.append("a value without grounds")
    return found


def _is_dangerous(text: str) -> bool:
    is_link = "://" in text or "www." in text.lower() or "javascript:" in text.lower()
    return is_link or bool(MARKUP.search(text)) or "<" in text or has_control(text, multiline=True)


def test_the_good_answer_passes_whole() -> None:
    answer = hostile.judged(json.dumps(hostile.good()), hostile.subject_with(""))
    assert answer is not None
    (proposal,) = answer.proposals
    assert [field.field for field in proposal.fields] == ["email", "phone"]


def test_ten_thousand_spoiled_answers_have_no_effect_outside_the_policy() -> None:
    subject = hostile.subject_with("")
    seen: Counter[str] = Counter()
    for text in hostile.generated(10_000, SEED):
        answer = hostile.judged(text, subject)
        if answer is None:
            seen["unusable"] += 1
            continue
        seen["proposed" if answer.proposals else "nothing proposed"] += 1
        assert violations(answer, subject) == [], text
    # The harness itself must reach all three ends, or it proves nothing.
    assert min(seen.values()) > 500
    assert len(seen) == 3


def test_there_are_enough_hand_written_answers_and_all_attack_texts() -> None:
    assert len(hostile.HAND_WRITTEN) >= 84
    assert len(hostile.attacks()) == 166


def test_every_attack_with_every_obedient_answer_has_no_effect_outside_the_policy() -> None:
    pairs = 0
    for attack in hostile.attacks():
        subject = hostile.subject_with(attack["text"], attack["channel"], attack["subject"])
        for spoiled in hostile.HAND_WRITTEN:
            pairs += 1
            answer = hostile.judged(spoiled(hostile.good(), attack["text"]), subject)
            if answer is not None:
                assert violations(answer, subject) == [], (attack["id"], pairs)
    assert pairs >= 13_944


def test_what_is_dropped_is_told_with_a_rule_and_fits_its_schema() -> None:
    subject = hostile.subject_with("")
    text = hostile.HAND_WRITTEN[0](hostile.good(), "")
    answer = hostile.judged(text, subject)
    assert answer is not None
    drops = [step.data for step in answer.steps if step.topic == "proposal.dropped"]
    assert [drop["rule"] for drop in drops] == ["not-listed"]
    assert "dropped_values" in answer.flags
    assert load(ClassificationSchema, dump(ClassificationSchema, answer)) == answer


def test_attacks_that_speak_to_a_machine_are_mostly_seen() -> None:
    """No defence rests on it: the count is printed, and only a collapse fails."""
    seen = [a for a in hostile.attacks() if signs_of_steering({"body": a["text"]})]
    print(f"signs of steering seen in {len(seen)} of 166 attack texts")
    assert len(seen) > 83


def test_what_comes_out_can_be_handed_to_the_writer() -> None:
    some = list(islice(hostile.hostile_classifications(count=200), 1000))
    assert len(some) == 1000
    assert all(p.record == examples.DANA for answer in some for p in answer.proposals)


@pytest.mark.parametrize(
    "part", ["signature", "@record", "@sender", "quoted", "absent"], ids=lambda part: part
)
def test_a_value_grounded_elsewhere_than_it_says_is_dropped(part: str) -> None:
    answer = hostile.good()
    answer["proposals"][0]["fields"][0]["part"] = part
    found = hostile.judged(json.dumps(answer), hostile.subject_with(""))
    assert found is not None
    assert [field.field for p in found.proposals for field in p.fields] == ["email"]
