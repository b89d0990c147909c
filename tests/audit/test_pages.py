from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.audit.deps import WebDeps
from services.audit.pages import pages
from services.audit.routes import api
from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.search.fts5 import Fts5Index
from services.audit.search.index import Position
from shared import sessions
from shared.db import open_database
from shared.domain.topics import Topic
from shared.people import People
from shared.service import Web
from shared.web import build_app
from tests.audit.book import Book, Customer, chain_of, whole_story
from tests.audit.test_routes import Client
from tests.product import free_port

LATER = Customer(number=2, email="ben@example.org", name="Ben Field")


def reader(book: Book, index: Any) -> Client:
    """A supporter who reads the pages of this log, searched by ``index``."""
    shared = ("engine", "outbox", "unit_of_work", "clock", "vault", "vkeys", "books")
    deps = WebDeps(**{name: getattr(book.deps, name) for name in shared}, index=index)
    people = People(book.folder / "people.toml", clock=lambda: book.at)
    store = sessions.Sessions(
        engine=open_database(f"sqlite:///{book.folder}/sessions.db"), clock=lambda: book.at
    )
    web = Web(settings=object, wire=lambda _: deps, blueprints=(pages, api))
    app = build_app([("audit", web, deps)], people, public_url="http://localhost", sessions=store)
    account = people.add("sue", roles=("support",))
    return Client(app, people.make_token(account.id, "test"))


@pytest.fixture
def behind(book: Book) -> Book:
    """A log whose search has seen the first story and not the second."""
    whole_story(book, Customer())
    book.index()
    whole_story(book, LATER)
    return book


def test_a_search_that_is_behind_says_up_to_when_it_is_complete(behind: Book) -> None:
    client = reader(behind, behind.deps.index)
    at = behind.deps.index.complete_up_to().at
    assert at is not None
    page = client.get("/search", q=LATER.email)
    assert page.status_code == 200
    assert "Complete up to" in page.text
    assert f"{at[11:16]}" in page.text
    assert ">Nothing found<" not in page.text
    assert "newer entries are being added" in page.text
    hits = client.get("/search", q="jane.doe@example.com")
    assert "Complete up to" in hits.text
    found = client.get("/api/search", q=LATER.email).json
    assert (found["total"], found["complete"]["at"]) == (0, at)
    assert found["complete"]["behind"] > 5
    assert client.get("/api/log/complete").json["behind"] >= found["complete"]["behind"]


def test_a_search_that_has_caught_up_just_says_nothing_found(behind: Book) -> None:
    client = reader(behind, behind.deps.index)
    behind.index()
    page = client.get("/search", q="nobody@example.org").text
    assert ">Nothing found<" in page
    assert "Complete up to" not in page


def test_a_search_that_is_empty_says_that_it_is_being_filled(book: Book) -> None:
    whole_story(book, Customer())
    client = reader(book, book.deps.index)
    assert book.deps.index.complete_up_to() == Position(seq=0, at=None)
    assert "Search is being filled" in client.get("/search", q="jane").text


@pytest.mark.parametrize("kind", ["gone", "not a database"])
def test_a_search_that_is_away_is_said_kindly_and_keeps_what_was_typed(
    behind: Book, kind: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, but a file of some length" * 100)
    index = (
        open_elasticsearch(f"http://127.0.0.1:{free_port()}")
        if kind == "gone"
        else Fts5Index(path=broken)
    )
    others = behind.open_others()
    client = reader(behind, index)
    page = client.get("/search", q="jane.doe@example.com", approver="ann")
    assert page.status_code == 200
    assert "Search does not answer right now" in page.text
    assert 'value="jane.doe@example.com"' in page.text
    assert "approver=ann" in page.text
    assert "Nothing found" not in page.text
    assert behind.sent(Topic.SEARCH_MADE) == []
    answer = client.get("/api/search", q="jane.doe@example.com")
    assert answer.status_code == 503
    assert answer.json["error"]["message"]
    assert client.get("/api/log/balance").status_code == 200
    story = client.get(f"/stories/{chain_of(Customer())}")
    assert story.status_code == 200
    assert "later changes are not known" in story.text
    assert "so it is still so" not in story.text
    for engine in (*others.values(), behind.deps.books):
        engine.dispose()


def test_the_log_is_written_while_its_search_is_away(behind: Book) -> None:
    away = replace(behind.deps, index=open_elasticsearch(f"http://127.0.0.1:{free_port()}"))
    whole, behind.deps = behind.deps, away
    whole_story(behind, Customer(number=3, email="third@example.org"))
    behind.deps = whole
    assert behind.index() > 10
    hits = reader(behind, whole.index).get("/api/search", q="third@example.org").json
    assert hits["total"] > 5
