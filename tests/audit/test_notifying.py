"""A dead letter is told once, by whoever reads the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.audit.measures import balance_measures, behind, measures, search_measures
from services.audit.notifying import collect
from services.audit.reader import size
from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.tables import NOTICE
from shared.alarm_rules import BY_NAME
from shared.domain.topics import Topic
from shared.metrics import PREFIX
from shared.notifications.channels import Channels
from shared.notifications.notifier import Notifier
from shared.notifications.telling import Telling
from shared.office import Office
from tests.audit.book import Book, Customer, received, whole_story
from tests.fakes.receiver import Receiver, receiving
from tests.product import free_port

SECRET = "could not read jane.doe@example.com"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def tell(book: Book, receiver: Receiver) -> list[str]:
    """One round of the loop, as a process that has just started."""
    before = len(receiver.messages)
    notifier = Notifier(
        engine=book.deps.engine,
        tables=NOTICE,
        clock=lambda: book.at,
        channels=Channels(urls=receiver.url),
        office=lambda _: Office(),
        public_url="https://cs.example.com",
        reach=size,
    )
    Telling(notifier=notifier, parts=(), collect=collect).run()
    return [one["title"] for one in receiver.messages[before:]]


def park(book: Book, number: int) -> None:
    body = {"message_id": f"m{number}", "queue": "writer", "topic": "", "reason": SECRET}
    subject = f"message/m{number}"
    book.log(book.message(Topic.MESSAGE_PARKED, body, chain=f"c{number}", subject=subject))


def test_a_dead_letter_is_told_once(book: Book, receiver: Receiver) -> None:
    park(book, 1)
    assert tell(book, receiver) == []  # Before the channel was there.
    book.log(received(book, Customer()))
    assert tell(book, receiver) == []
    park(book, 2)
    assert tell(book, receiver) == ["A message could not be handled"]
    assert tell(book, receiver) == []
    park(book, 3)
    park(book, 4)
    assert tell(book, receiver) == ["A message could not be handled (2)"]
    said = "\n".join(receiver.texts())
    assert "message/m2" in said
    assert "jane" not in said


def test_the_index_is_behind_until_it_has_caught_up(book: Book) -> None:
    whole_story(book, Customer())
    entries, seconds = behind(book.deps)
    assert entries > 5
    assert seconds >= 5
    book.index()
    assert behind(book.deps) == (0, 0.0)


def test_while_search_is_away_the_figures_of_the_log_go_on_and_an_alarm_tells(book: Book) -> None:
    whole_story(book, Customer())
    away = open_elasticsearch(f"http://127.0.0.1:{free_port()}")
    deps = replace(book.deps, index=away)
    found = {one.name.removeprefix(PREFIX): one.value for one in measures(deps)}
    assert found["ledger_entries"] > 5
    assert "unsealed_seconds" in found
    [is_up] = search_measures(deps)
    assert BY_NAME["SearchDown"].metric == is_up.name.removeprefix(PREFIX)
    assert BY_NAME["SearchDown"].is_met(is_up.value)
    found = {one.name.removeprefix(PREFIX): one.value for one in search_measures(book.deps)}
    assert not BY_NAME["SearchDown"].is_met(found["search_up"])
    assert found["index_behind_entries"] > 5
    assert found["index_behind_seconds"] >= 5


def test_the_figures_tell_of_size_seal_and_balance(book: Book) -> None:
    others = book.open_others()
    from services.audit.checkpoints import seal_waiting
    from services.audit.projection import ledger_size

    book.log(received(book, Customer()))
    found = {one.name.removeprefix(PREFIX): one.value for one in measures(book.deps)}
    assert found["ledger_entries"] == ledger_size(book.deps)
    assert found["unsealed_seconds"] == 0
    book.at = book.at.replace(minute=30)
    found = {one.name.removeprefix(PREFIX): one.value for one in measures(book.deps)}
    assert found["unsealed_seconds"] > 1700
    assert found["ledger_append_age_seconds"] > 1700
    seal_waiting(book.deps)
    book.echo()
    book.at = book.at.replace(minute=40)
    found = {one.name.removeprefix(PREFIX): one.value for one in measures(book.deps)}
    assert found["unsealed_seconds"] == 0
    assert found["checkpoint_age_seconds"] == 600
    assert {one.name.removeprefix(PREFIX) for one in balance_measures(book.deps)} == {
        "events",
        "balance_difference",
    }
    for engine in (*others.values(), book.deps.books):
        engine.dispose()
