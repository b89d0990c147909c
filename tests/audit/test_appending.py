"""The log tells a note or task as what it is: appended, replacing nothing."""

from __future__ import annotations

from typing import Any

from services.audit.finding import find, parse
from services.audit.story import tell
from services.audit.telling import told
from tests.audit.book import (
    Book,
    Customer,
    applied,
    chain_of,
    classified,
    decided,
    intended,
    received,
)
from tests.audit.test_trials import with_

TEXT = "The walnut gate does not close."


def noted(book: Book, customer: Customer, kind: str = "note") -> None:
    name = "text" if kind == "note" else "subject"
    line = {"name": name, "before": None, "after": TEXT}
    verdict = {"field": name, "verdict": "accepted", "now": None, "value": TEXT}
    book.log(received(book, customer))
    said = classified(book, customer)
    [proposal] = said.body["proposals"]
    evidence = {"part": "body", "start": 0, "end": len(TEXT), "quote": TEXT}
    field = {"field": name, "before": None, "after": TEXT, "confidence": 600, "evidence": evidence}
    book.log(with_(said, proposals=[{**proposal, "kind": kind, "fields": [field]}]))
    book.log(with_(decided(book, customer), appends=kind, fields=[verdict]))
    book.log(with_(intended(book, customer), kind=kind, fields=[line]))
    book.log(with_(applied(book, customer), kind=kind, fields=[{**line, "read_back": TEXT}]))


def test_the_story_of_a_note_says_what_was_appended_and_by_whose_word(book: Book) -> None:
    customer = Customer(approver="bea")
    noted(book, customer)
    book.index()
    story = tell(book.deps, chain_of(customer), viewer="sue")
    sentences = [text for text in story.sentences if "opened" not in text]
    assert "proposed a note for demo/contacts/" in " ".join(sentences)
    assert any(text.startswith("bea approved the note after 14 seconds") for text in sentences)
    assert any(text.startswith("A permitted note for demo/contacts/") for text in sentences)
    [line] = [line for line in story.timeline if line.topic == "change.applied"]
    assert line.sentence.startswith("The note was appended to demo/contacts/")
    assert "the read-back matches" in line.sentence
    assert [(change.name, change.before, change.after) for change in line.changes] == [
        ("text", None, "T•••")
    ], "masked, as every value of a customer is"
    written = " ".join(text for answer in story.answers for text in answer.sentences)
    assert "A note replaces nothing; whether it was taken away since is not watched." in written
    assert story.later == ()


def test_a_later_note_on_the_same_record_changes_none_before_it(book: Book) -> None:
    first, second = Customer(source="postmark"), Customer(source="zapier")
    noted(book, first)
    noted(book, second)
    book.index()
    assert tell(book.deps, chain_of(first), viewer="sue").later == ()


def test_a_note_is_found_by_its_own_words(book: Book) -> None:
    noted(book, Customer())
    book.index()
    found = find(book.deps, parse("walnut"), viewer="sue")
    topics = {row.topic for row in found.rows}
    assert {"event.classified", "decision.made", "change.intended", "change.applied"} <= topics


def said(topic: str, **body: Any) -> str:
    record = {"crm": "demo", "type": "contacts", "id": "1"}
    return told(topic, "service:writer", {"record": record, **body}).sentence


def test_what_went_wrong_with_a_note_or_task_is_told_of_it() -> None:
    more = {"detail": "d", "advice": "a", "rule": "record-gone"}
    assert (
        said("change.failed", kind="note", **more)
        == "The note for demo/contacts/1 was not appended: record-gone."
    )
    assert (
        said("change.unknown", kind="task", detail="d")
        == "It is not known yet whether the task was appended to demo/contacts/1."
    )
    # As they were told before there was any other kind.
    assert said("change.failed", **more) == (
        "The change to demo/contacts/1 was not written: record-gone."
    )


def test_a_rejected_note_and_a_letter_with_both_are_told_in_one_sentence(book: Book) -> None:
    customer = Customer(verdict="rejected", approver="bea")
    body = with_(decided(book, customer), appends="note").body
    assert told("decision.made", "person:bea", body).sentence == (
        "bea rejected the note: wrong customer."
    )
    whole = classified(book, customer)
    [proposal] = whole.body["proposals"]
    both = [proposal, {**proposal, "kind": "note"}, {**proposal, "kind": "task"}]
    sentence = told("event.classified", "", with_(whole, proposals=both).body).sentence
    assert "proposed 1 change to, and a note and a task for demo/contacts/" in sentence
