from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from services.audit.lag import REMEMBERED, oldest_unhandled, oldest_unsent
from services.audit.tables import OUTBOX
from services.classifier.store import outbox as classifier
from services.writer.tables import outbox as writer
from shared.db import writing
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from tests.audit.book import Book, Customer, chain_of, classified, received


@pytest.fixture
def others(book: Book) -> Iterator[dict[str, Engine]]:
    engines = book.open_others()
    yield engines
    for engine in (*engines.values(), book.deps.books):
        engine.dispose()


def age(book: Book, service: str, waiting: int = 0) -> float:
    return oldest_unhandled(book.deps.books, service, waiting, book.at)


def handle(engine: Engine, outbox: Any, book: Book, *messages: Any) -> None:
    with writing(engine) as db:
        outbox.mark_handled(db, [message.id for message in messages], book.at)


def test_a_message_waits_until_its_service_has_handled_it(
    book: Book, others: dict[str, Engine]
) -> None:
    assert age(book, "classifier") == 0
    first, second = received(book, Customer()), received(book, Customer(number=2))
    book.log(first, second)
    book.at += timedelta(seconds=60)
    assert age(book, "classifier") == 61
    handle(others["classifier"], classifier, book, first)
    assert age(book, "classifier") == 60
    assert age(book, "writer") == 0
    handle(others["classifier"], classifier, book, second)
    assert age(book, "classifier") == 0


def test_each_service_waits_for_its_own_topics(book: Book, others: dict[str, Engine]) -> None:
    message = classified(book, Customer())
    book.log(message)
    book.at += timedelta(seconds=5)
    assert (age(book, "classifier"), age(book, "writer")) == (0, 5)
    handle(others["writer"], writer, book, message)
    assert age(book, "writer") == 0


def test_a_dead_letter_waits_for_a_person_and_is_no_lag(
    book: Book, others: dict[str, Engine]
) -> None:
    message = received(book, Customer())
    book.log(message)
    parked = {
        "message_id": message.id,
        "queue": "classifier",
        "topic": "event.received",
        "reason": "bug",
    }
    assert age(book, "classifier") == 0
    book.at += timedelta(seconds=5)
    assert age(book, "classifier") == 5
    subject = f"message/{message.id}"
    book.log(
        book.message(Topic.MESSAGE_PARKED, parked, chain=chain_of(Customer()), subject=subject)
    )
    assert age(book, "classifier") == 0


def test_what_was_handled_so_long_ago_that_its_id_is_forgotten_is_no_lag(
    book: Book, others: dict[str, Engine]
) -> None:
    book.log(received(book, Customer()))
    book.at += REMEMBERED + timedelta(days=3)
    assert age(book, "classifier") == 0


def test_the_log_itself_lags_behind_what_was_sent(book: Book, others: dict[str, Engine]) -> None:
    message = received(book, Customer())
    with writing(others["classifier"]) as db:
        classifier.add(db, [message])
    book.at += timedelta(seconds=7)
    assert age(book, "audit") == 0
    assert oldest_unsent(book.deps.books, "classifier", book.at) == 7
    with writing(others["classifier"]) as db:
        classifier.mark_sent(db, [message.id], book.at)
    assert oldest_unsent(book.deps.books, "classifier", book.at) == 0
    assert age(book, "audit") == 7
    book.log(message)
    assert age(book, "audit") == 0


def test_an_accepted_event_that_was_sent_and_not_logged_is_lag_of_the_log(
    book: Book, others: dict[str, Engine]
) -> None:
    book.accept(1, sent_at=rfc3339(book.at))
    sent = book.at
    book.at += timedelta(seconds=9)
    assert age(book, "audit") == (book.at - sent).total_seconds() == 9
    body = {"event_id": "event-0", "stage": "ingest", "reason": "x"}
    book.log(book.message(Topic.EVENT_FAILED, body, chain="event-0", subject="event/event-0"))
    assert age(book, "audit") == 10  # Another topic of the same chain is not this message.


def test_more_than_the_window_waits_and_the_broker_says_how_many(
    book: Book, others: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.audit.lag.MORE", 1)
    book.log(*(received(book, Customer(number=number)) for number in range(4)))
    assert age(book, "classifier", waiting=1) == 1
    assert age(book, "classifier", waiting=3) == 3


def test_audits_own_messages_are_among_those(book: Book, others: dict[str, Engine]) -> None:
    message = received(book, Customer())
    with writing(book.deps.engine) as db:
        OUTBOX.add(db, [message])
        OUTBOX.mark_sent(db, [message.id], book.at)
    book.at += timedelta(seconds=3)
    assert age(book, "audit") == 3
