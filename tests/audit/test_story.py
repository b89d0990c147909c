from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.audit.finding import find, parse, record_search
from services.audit.story import Story, chains_of, tell
from services.audit.telling import TELLERS
from services.audit.unmasking import may_see, unmask
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload, NotFound
from tests.audit.book import Book, Customer, chain_of, classified, received, whole_story

SECRETS = ("jane.doe@example.com", "+12125550199", "+1 212 555 0100", "Jane Doe")


def open_story(book: Book, customer: Customer) -> Story:
    unmask(book.deps, chain_of(customer), person="sue", reason="complaint 12")
    return tell(book.deps, chain_of(customer), viewer="sue")


def test_every_topic_has_a_sentence() -> None:
    assert set(TELLERS) == set(map(str, Topic))


def test_the_eight_questions_are_answered_from_the_entries(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    book.index()
    story = open_story(book, customer)
    answers = [" ".join(answer.sentences) for answer in story.answers]
    expected = [
        "My number changed to +12125550199",
        "prompt 3",
        "phone: “+1 212 555 0100” → “+12125550199”",
        "phone stood at “+1 212 555 0100”",
        "ann approved the proposal after 14 seconds",
        "the read-back matches",
        "No correction is known",
        "No errors",
    ]
    assert len(answers) == 8
    for text, part in zip(answers, expected, strict=True):
        assert part in text, (part, text)
    assert all(answer.seqs for answer in story.answers[:6])
    assert "of demo/contacts/1" in answers[1]
    assert "Fields read: " in answers[1]
    assert "discount was dropped: not-listed" in answers[2]


def test_all_items_of_the_guide_are_there(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    story = tell(book.deps, chain_of(customer), viewer="sue")
    states = {item.name: item.state for item in story.items}
    assert states.pop("Errors and exceptions") == "none"
    assert set(states.values()) == {"present"}
    assert story.complete
    assert story.status == "written and read back"


def test_what_is_still_to_come_is_open_and_not_missing(book: Book) -> None:
    customer = Customer()
    book.log(received(book, customer))
    assert tell(book.deps, chain_of(customer), viewer="sue").complete
    book.log(classified(book, customer))
    story = tell(book.deps, chain_of(customer), viewer="sue")
    assert {item.state for item in story.items if "person" in item.name} == {"open"}
    assert story.why_nothing == "The proposal waits for a person's decision."


def test_a_later_change_of_the_same_field_is_shown(book: Book) -> None:
    first = Customer()
    whole_story(book, first)
    # Another chain about the same record.
    second = Customer(new_phone="+1 646 555 7777", source="zapier")
    whole_story(book, second)
    book.index()
    story = open_story(book, first)
    assert "+1 646 555 7777" in " ".join(story.answers[6].sentences)
    assert story.later
    assert not open_story(book, second).later


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("mismatch", "its signature does not match"),
        ("replayed", "a duplicate"),
        ("unknown-kind", "this kind of event is not handled"),
        ("no-secret", "no secret yet"),
    ],
)
def test_why_nothing_happened_after_a_refusal(book: Book, reason: str, part: str) -> None:
    body = {
        "source": "zapier",
        "endpoint": "demo",
        "reason": reason,
        "detail": "no more is known",
        "received_at": rfc3339(book.at),
        "event_id": None,
        "raw_sha256": None,
        "accepted": False,
        "count": 3,
    }
    book.log(book.message(Topic.EVENT_REJECTED, body, chain="refusal-1", subject="request/1"))
    book.index()
    story = tell(book.deps, "refusal-1", viewer="sue")
    assert part in story.why_nothing
    assert "3 times" in story.why_nothing
    assert find(book.deps, parse(f"outcome:{reason} source:zapier"), viewer="sue").total == 1


def test_why_nothing_happened_when_there_was_nothing_to_do(book: Book) -> None:
    customer = Customer()
    book.log(received(book, customer), classified(book, customer, outcome="nothing_to_do"))
    story = tell(book.deps, chain_of(customer), viewer="sue")
    assert "found nothing to do" in story.why_nothing


def test_a_rejection_says_who_and_why(book: Book) -> None:
    customer = Customer(verdict="rejected")
    whole_story(book, customer)
    story = tell(book.deps, chain_of(customer), viewer="sue")
    assert story.why_nothing == "ann rejected the proposal: wrong customer."


def test_no_value_of_the_customer_is_seen_without_a_reason(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    book.index()
    story = repr(tell(book.deps, chain_of(customer), viewer="sue"))
    rows = repr(find(book.deps, parse("jane.doe@example.com"), viewer="sue"))
    for shown in (story, rows):
        for secret in SECRETS:
            assert secret not in shown
            assert json.dumps(secret)[1:-1] not in shown
    assert "j•••@e•••.com" in story
    assert "+1 ••• ••99" in rows


def test_the_name_of_a_field_is_nobodys_and_stays_readable(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    book.index()
    story = tell(book.deps, chain_of(customer), viewer="sue")
    [proposed] = [a for a in story.answers if a.question == "What did it propose and why?"]
    assert any(sentence.startswith("phone: “+1 •••") for sentence in proposed.sentences)
    assert "2026-" in str(story.answers[4].sentences)
    assert "T" not in story.items[0].text.replace("UTC", "")


def test_unmasking_says_why_and_ends(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    book.index()
    chain = chain_of(customer)
    with pytest.raises(BadPayload):
        unmask(book.deps, chain, person="sue", reason=" x ")
    story = open_story(book, customer)
    assert story.masked is False
    assert "jane.doe@example.com" in repr(story)
    assert not may_see(book.deps, chain, "tom")
    (message,) = book.sent(Topic.RECORD_UNMASKED)
    assert message.actor == "person:sue"
    assert message.body == {"what": f"chain/{chain}", "reason": "complaint 12"}
    book.at = book.at.replace(hour=book.at.hour + 1)
    assert not may_see(book.deps, chain, "sue")


def test_each_search_is_an_entry_without_its_words(book: Book) -> None:
    whole_story(book, Customer())
    book.index()
    query = parse("jane.doe@example.com approver:ann")
    for _ in range(2):
        record_search(book.deps, query, find(book.deps, query, viewer="sue"), person="sue")
    one, other = book.sent(Topic.SEARCH_MADE)
    assert one.id != other.id
    assert one.body["query"] == other.body["query"]
    assert one.body["filters"] == ["approver"]
    assert "jane" not in json.dumps(one.body)


def test_matching_words_are_marked_and_the_index_says_how_far_it_is(book: Book) -> None:
    customer = Customer()
    book.log(received(book, customer))
    book.index()
    book.log(classified(book, customer))
    found = find(book.deps, parse("num* invoice"), viewer="sue")
    assert found.rows == ()
    found = find(book.deps, parse("chang*"), viewer="sue")
    assert ("changed", True) in found.rows[0].excerpt
    assert found.complete.seq == 1
    assert found.complete.behind == 4


def test_the_chains_of_a_contact_are_found_in_any_spelling(book: Book) -> None:
    whole_story(book, Customer())
    whole_story(
        book,
        Customer(
            number=2,
            name="Ben",
            email="ben@example.org",
            new_phone="+1 303 555 0111",
            old_phone="+1 303 555 0112",
        ),
    )
    assert chains_of(book.deps, "(212) 555-0199") == (chain_of(Customer()),)
    assert chains_of(book.deps, "JANE.DOE@example.com") == (chain_of(Customer()),)
    with pytest.raises(NotFound):
        tell(book.deps, "no-such-chain", viewer="sue")


def test_a_body_of_an_unknown_shape_is_told_and_breaks_nothing(book: Book) -> None:
    customer = Customer()
    odd = replace(classified(book, customer), body={"outcome": "proposed", "steps": 5, "event": 7})
    book.log(received(book, customer), odd)
    assert book.index() == 2
    story = tell(book.deps, chain_of(customer), viewer="sue")
    assert story.timeline[-1].accepted_body is False
    assert "expected shape" in story.timeline[-1].sentence
