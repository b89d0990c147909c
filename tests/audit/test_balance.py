from __future__ import annotations

from services.audit.balance import Balance, balance
from shared.domain.event import OWN_SOURCE
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from tests.audit.book import Book, Customer, chain_of, classified, received


def test_the_answer_to_a_question_is_no_event(book: Book) -> None:
    asked, customer = Customer(number=7), Customer(number=8)
    answer = classified(book, asked, outcome="nothing_to_do")
    answer.body["event"]["source"] = OWN_SOURCE
    book.log(received(book, customer))
    book.log(classified(book, customer))
    book.log(answer)
    book.accept(1)
    found = balance(book.deps)
    assert found.proposed == found.accepted == 1
    assert found.nothing_to_do == 0
    assert found.difference == 0


def test_what_was_accepted_is_somewhere(book: Book) -> None:
    outcomes = ["proposed", "proposed", "nothing_to_do", "a_person_must_look", None]
    customers = [Customer(number=number) for number in range(len(outcomes))]
    for customer, outcome in zip(customers, outcomes, strict=True):
        book.log(received(book, customer))
        if outcome:
            book.log(classified(book, customer, outcome=outcome))
    body = {
        "source": "zapier",
        "endpoint": "demo",
        "reason": "bad-payload",
        "detail": "",
        "received_at": rfc3339(book.at),
        "event_id": "unreadable",
        "raw_sha256": None,
        "accepted": True,
        "count": 1,
    }
    book.log(book.message(Topic.EVENT_REJECTED, body, chain="unreadable", subject="event/x"))
    book.accept(8)
    found = balance(book.deps)
    assert found == Balance(
        accepted=8,
        proposed=2,
        nothing_to_do=1,
        a_person_must_look=1,
        rejected=1,
        failed=0,
        waiting=3,  # One in the classifier, two that the log has not heard of yet.
    )
    assert found.difference == 0


def test_a_parked_event_has_failed_until_it_is_replayed(book: Book) -> None:
    customer = Customer()
    chain = chain_of(customer)
    parked = {
        "message_id": "m",
        "queue": "classifier",
        "topic": "event.received",
        "reason": "bug",
    }
    replayed = {"event_id": chain, "queue": "classifier", "message_id": "m", "reason": "fixed"}
    book.accept(1)
    book.log(received(book, customer))
    book.log(book.message(Topic.MESSAGE_PARKED, parked, chain=chain, subject="message/m"))
    assert (balance(book.deps).failed, balance(book.deps).waiting) == (1, 0)
    book.log(book.message(Topic.EVENT_REPLAYED, replayed, chain=chain, subject="message/m"))
    assert (balance(book.deps).failed, balance(book.deps).waiting) == (0, 1)
    book.log(classified(book, customer))
    assert balance(book.deps).proposed == 1


def test_an_event_that_ingest_never_accepted_shows_as_a_difference(book: Book) -> None:
    book.log(received(book, Customer()), received(book, Customer(number=2)))
    book.accept(1)
    assert balance(book.deps).difference == -1
