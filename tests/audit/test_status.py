"""The status page: people open it just when something is away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.audit.search.elasticsearch import open_elasticsearch
from services.place import Place
from services.status import StatusDeps, status
from shared import sessions
from shared.db import open_database
from shared.domain.schema import rfc3339
from shared.people import People
from shared.service import Web
from shared.web import build_app
from tests.audit.book import Book, Customer, whole_story
from tests.audit.test_routes import Client
from tests.product import free_port


@pytest.fixture
def filled(book: Book) -> Iterator[Book]:
    others = book.open_others()
    book.accept(1, sent_at=rfc3339(book.at))
    whole_story(book, Customer())
    yield book
    for engine in (*others.values(), book.deps.books):
        engine.dispose()


def page(book: Book, *, broker_url: str = "", search_url: str = "") -> str:
    """What a supporter sees, with servers at these addresses."""
    index = open_elasticsearch(search_url) if search_url else book.deps.index
    place = Place(wake_dir=book.folder, broker_url=broker_url)
    deps = StatusDeps(
        audit=replace(book.deps, index=index), place=place, public_url="http://localhost"
    )
    people = People(book.folder / "people.toml", clock=lambda: book.at)
    store = sessions.Sessions(
        engine=open_database(f"sqlite:///{book.folder}/sessions.db"), clock=lambda: book.at
    )
    web = Web(settings=object, wire=lambda _: deps, blueprints=(status,))
    app = build_app([("status", web, deps)], people, public_url="http://localhost", sessions=store)
    account = people.add("sue", roles=("support",))
    answer = Client(app, people.make_token(account.id, "test")).get("/status")
    assert answer.status_code == 200
    return str(answer.text)


def test_a_broker_that_is_away_is_named_and_the_rest_is_shown(filled: Book) -> None:
    shown = page(filled, broker_url=f"pika://guest:guest@127.0.0.1:{free_port()}/away")
    assert "The broker does not answer right now" in shown
    whole = page(filled)
    assert "The broker does not answer right now" not in whole
    for page_ in (shown, whole):
        assert "Every accepted event is accounted for." in page_
        assert "unaccounted" not in page_


def test_a_search_that_is_away_is_named_and_the_rest_is_shown(filled: Book) -> None:
    shown = page(filled, search_url=f"http://127.0.0.1:{free_port()}")
    assert "it does not answer" in shown
    assert "Sealed entries" in shown
    assert "it does not answer" not in page(filled)
