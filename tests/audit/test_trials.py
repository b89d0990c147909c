"""The log tells a trial, and who promoted it, as what it is: nothing of the CRM changed before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.audit.finding import find, parse
from services.audit.story import tell
from shared.bus.envelope import Envelope
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

STAND_IN = {"crm": "trial-crm", "type": "contacts", "id": "77"}


def with_(envelope: Envelope, **more: Any) -> Envelope:
    """The same message as another one, with more in it."""
    name = "-".join(map(str, more))
    return replace(envelope, id=f"{envelope.id}-{name}", body={**envelope.body, **more})


def trial(book: Book, customer: Customer) -> None:
    book.log(received(book, customer))
    book.log(classified(book, customer))
    book.log(decided(book, customer))
    book.log(with_(intended(book, customer), account="trial-crm"))
    book.log(with_(applied(book, customer), account="trial-crm", stand_in=STAND_IN))


def promotion(book: Book, customer: Customer) -> None:
    ann = replace(customer, approver="bea")
    book.log(with_(decided(book, ann), promotes="c-tried"))
    book.log(with_(intended(book, customer), account="demo", promotes="c-tried", decisions=["e"]))
    book.log(with_(applied(book, customer), account="demo", attempts=2))


def test_a_trial_is_told_as_one_and_not_as_a_write(book: Book) -> None:
    customer = Customer()
    trial(book, customer)
    book.index()
    story = tell(book.deps, chain_of(customer), viewer="sue")
    told = " ".join(story.sentences)
    assert f"{story.record} is about to be tried in trial-crm." in told
    assert "Tried in trial-crm as trial-crm/contacts/77, and read back, for demo/contacts/1" in told
    assert "was written" not in told
    assert story.status == "tried in a sandbox and read back, not promoted yet"
    assert "It is not promoted yet." in str(story.why_nothing)
    assert "Nothing was written, so there is nothing to correct." in story.answers[6].sentences


def test_a_promotion_names_the_person_and_ends_as_a_write(book: Book) -> None:
    customer = Customer()
    trial(book, customer)
    promotion(book, customer)
    book.index()
    story = tell(book.deps, chain_of(customer), viewer="sue")
    sentences = list(story.sentences)
    tried = next(n for n, text in enumerate(sentences) if text.startswith("Tried in trial-crm"))
    assert sentences[tried + 1].startswith("bea promoted what was tried after 14 seconds")
    assert sentences[tried + 2].startswith("What was tried for demo/contacts/1 is about to be writ")
    assert "demo/contacts/1 was written and read back" in sentences[tried + 3]
    assert (story.status, story.why_nothing) == ("written and read back", None)


def test_search_finds_what_was_tried_and_what_was_promoted(book: Book) -> None:
    customer = Customer()
    trial(book, customer)
    promotion(book, customer)
    book.index()
    for outcome, topic in (("tried", "change.applied"), ("promoted", "decision.made")):
        found = find(book.deps, parse(f"outcome:{outcome}"), viewer="sue")
        assert [row.topic for row in found.rows] == [topic], outcome


def test_a_rejected_promotion_says_why_nothing_was_written(book: Book) -> None:
    customer = Customer()
    trial(book, customer)
    no = replace(customer, approver="bea", verdict="rejected")
    book.log(with_(decided(book, no), comment="not there"))
    story = tell(book.deps, chain_of(customer), viewer="sue")
    assert str(story.why_nothing).startswith("bea rejected the proposal")
