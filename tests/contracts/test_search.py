"""Every search index finds exactly the planted rows: each filter, and each pair of filters."""

from __future__ import annotations

import json
import random
import string
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.audit.projection import Projection, forget_old, reindex
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import COUNTED, Document, Page, Position, SearchIndex
from services.audit.search.query import parse
from shared.errors import StoreUnavailable
from tests.audit.book import Book, Customer, whole_story
from tests.contracts import search_cases as cases
from tests.contracts.search_engines import ENGINES, Engine, engine, settled

AT = "2026-11-23T09:00:00.000Z"
NAUGHTY = [
    '" OR 1=1 --',
    "NEAR(a b)",
    "col:x",
    "\U0001f600 emoji",
    "مرحبا بالعالم",
    "Ω≈ç√",
    "a\x00b",
]


@pytest.fixture(scope="module", params=ENGINES)
def book(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Book]:
    folder = tmp_path_factory.mktemp(request.param)
    with engine(request.param, folder) as one:
        book = cases.plant(folder, one.open())
        settled(book.deps.index)
        yield book


@pytest.fixture(params=ENGINES)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with engine(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def empty(one: Engine) -> SearchIndex:
    return one.open()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """The planted ledger; a test brings its own index."""
    return cases.plant(tmp_path_factory.mktemp("ledger"))


def word(seq: int, text: str = "word", at: str = AT) -> Document:
    return Document(seq=seq, at=at, topic="t", chain="c", sentence=text, tokens=tuple(text.split()))


def found(index: SearchIndex, text: str) -> set[int]:
    hits = index.search(parse(text), Page(size=10_000))
    seqs = [document.seq for document in hits.documents]
    assert seqs == sorted(seqs, reverse=True)
    assert hits.total == len(seqs)
    return set(seqs)


def meant(book: Book, *filters: cases.Filter) -> set[int]:
    customers = cases.by_chain()
    return {
        document.seq
        for document in cases.all_documents(book.deps.index)
        if all(one.means(document, customers[document.chain]) for one in filters)
    }


@pytest.mark.parametrize("one", cases.FILTERS, ids=lambda one: one.name)
def test_a_filter_finds_exactly_the_planted_rows(book: Book, one: cases.Filter) -> None:
    expected = meant(book, one)
    assert expected
    assert found(book.deps.index, one.typed) == expected


def test_each_pair_of_filters_finds_exactly_the_planted_rows(book: Book) -> None:
    for one, other in cases.pairs():
        got = found(book.deps.index, f"{one.typed} {other.typed}")
        assert got == meant(book, one, other), (one.name, other.name)


@pytest.mark.parametrize("typed", ["(212) 555-0100", "+1 212 555 0100", "phone:12125550100"])
def test_a_phone_number_is_found_in_any_spelling(book: Book, typed: str) -> None:
    customers = cases.by_chain()
    chains = {
        document.chain
        for document in book.deps.index.search(parse(typed), Page(size=10_000)).documents
    }
    assert chains == {chain for chain, who in customers.items() if who.name == "Jane Doe"}


def test_pages_follow_each_other_without_a_gap_or_a_repeat(book: Book) -> None:
    query, seqs, before = parse("topic:event.received"), list[int](), None
    while True:
        hits = book.deps.index.search(query, Page(before=before, size=5))
        seqs += [document.seq for document in hits.documents]
        before = hits.next_before
        if before is None:
            break
    assert len(seqs) == len(set(seqs)) == 16


def test_nothing_is_found_by_an_empty_search(book: Book) -> None:
    assert book.deps.index.search(parse(""), Page()).total == 0


def test_dates_take_whole_days_and_full_times(book: Book) -> None:
    first = book.deps.index.search(parse("after:2026-11-24"), Page(size=10_000)).documents[-1]
    at = first.at
    assert found(book.deps.index, f"after:{at}") == found(book.deps.index, "after:2026-11-24")
    later = found(book.deps.index, f"before:{at}")
    assert first.seq not in later
    assert len(later) == first.seq


def test_a_rebuild_has_the_same_documents(book: Book) -> None:
    before = book.deps.index.sum()
    assert before.documents > 100
    assert reindex(book.deps) == before


def test_every_engine_has_the_same_sum(book: Book, tmp_path: Path) -> None:
    other = replace(book.deps, index=open_fts5(f"sqlite:///{tmp_path}/other.db"))
    Projection().catch_up(other)
    assert other.index.sum() == book.deps.index.sum()


def test_documents_added_one_by_one_are_those_added_at_once(
    ledger: Book, empty: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.audit.projection.BATCH", 3)
    Projection().catch_up(replace(ledger.deps, index=empty))
    assert empty.sum() == ledger.deps.index.sum()


def test_what_is_asked_of_a_rebuild_meanwhile_is_answered_by_the_old_index(
    ledger: Book, one: Engine
) -> None:
    deps = replace(ledger.deps, index=one.open())
    Projection().catch_up(deps)
    settled(deps.index)
    query, other, stop = parse("topic:event.received"), one.open(), threading.Event()
    totals, errors = list[int](), list[Exception]()

    def ask() -> None:
        while not stop.is_set():
            try:
                totals.append(other.search(query, Page()).total)
            except Exception as error:  # noqa: BLE001 - any is a failure of the test.
                errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    sums = {reindex(deps) for _ in range(3)}
    stop.set()
    thread.join()
    assert errors == []
    assert set(totals) == {16}
    assert len(totals) > 10
    assert sums == {other.sum()}


def test_a_rebuild_that_fails_leaves_the_old_index_as_it_is(empty: SearchIndex) -> None:
    empty.add([word(0)], Position(seq=1, at=AT))
    with pytest.raises(ZeroDivisionError), empty.rebuilding() as fresh:
        fresh.add([word(0, "other")], Position(seq=1, at=AT))
        raise ZeroDivisionError
    settled(empty)
    assert found(empty, "word") == {0}
    assert found(empty, "other") == set()
    with empty.rebuilding() as fresh:
        assert fresh.stored_up_to() == Position(seq=0, at=None)


def test_what_is_added_while_a_rebuild_runs_is_there_after_it(one: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    book, worker = cases.plant(folder), Projection()
    deps = replace(book.deps, index=one.open())
    worker.catch_up(deps)
    with one.open().rebuilding() as fresh:
        Projection().catch_up(replace(deps, index=fresh))
        whole_story(book, Customer(number=77, email="late@example.com"))
        assert worker.catch_up(deps) > 0
    assert worker.catch_up(deps) > 0
    assert found(settled(deps.index), "late@example.com")
    book.index()
    assert deps.index.sum() == book.deps.index.sum()


def test_of_two_rebuilds_at_once_the_later_one_wins(one: Engine) -> None:
    index = one.open()
    with pytest.raises(StoreUnavailable), index.rebuilding() as first:
        with one.open().rebuilding() as second:
            second.add([word(0)], Position(seq=1, at=AT))
            with pytest.raises(StoreUnavailable):
                first.add([word(0, "other")], Position(seq=1, at=AT))
        first.add([word(0, "other")], Position(seq=1, at=AT))
    assert found(settled(index), "word") == {0}


def test_many_processes_may_make_the_index_at_once(one: Engine) -> None:
    errors = list[Exception]()

    def make() -> None:
        try:
            one.open().create()
        except Exception as error:  # noqa: BLE001 - any is a failure of the test.
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    one.open().add([word(0)], Position(seq=1, at=AT))
    one.open().create()
    assert found(settled(one.open()), "word") == {0}


def test_added_again_after_a_crash_a_document_is_there_once(one: Engine) -> None:
    document = word(1)
    one.open().add([document], Position(seq=2, at=AT))
    again = one.open()
    assert again.stored_up_to() == Position(seq=2, at=AT)
    again.add([document, word(2)], Position(seq=3, at=AT))
    assert found(settled(again), "word") == {1, 2}
    assert again.complete_up_to() == Position(seq=3, at=AT)


def test_a_position_moves_without_documents(one: Engine) -> None:
    index = one.open()
    index.add([], Position(seq=4, at=AT))
    assert index.stored_up_to() == index.complete_up_to() == Position(seq=4, at=AT)
    index.add([word(5)], Position(seq=6, at=AT))
    index.add([], Position(seq=9, at=AT))
    assert found(settled(one.open()), "word") == {5}
    assert one.open().complete_up_to() == Position(seq=9, at=AT)


def test_what_is_said_to_be_complete_is_found(empty: SearchIndex) -> None:
    months = ("2026-10", "2026-11", "2026-10", "2026-12")
    for seq in range(40):
        empty.add([word(seq, at=f"{months[seq % 4]}{AT[7:]}")], Position(seq=seq + 1, at=AT))
        complete = empty.complete_up_to()
        seen = {document.seq for document in empty.search(parse("word"), Page()).documents}
        assert seen >= set(range(complete.seq)), (seq, complete)


def test_more_hits_than_are_counted_are_said_to_be_more_and_can_all_be_read(
    empty: SearchIndex,
) -> None:
    documents = [word(seq) for seq in range(10_500)]
    empty.add(documents, Position(seq=10_500, at=AT))
    hits = settled(empty).search(parse("word"), Page(size=20_000))
    assert [document.seq for document in hits.documents] == list(range(10_500))[::-1]
    assert (hits.total, hits.capped, hits.next_before) == (COUNTED, True, None)
    page = empty.search(parse("word"), Page(before=500, size=50))
    assert (page.total, page.capped, page.next_before) == (COUNTED, True, 450)


def test_months_that_need_not_be_kept_are_forgotten_whole(ledger: Book, one: Engine) -> None:
    index = one.open()
    months = ("2026-08", "2026-09", "2026-10", "2026-11")
    documents = [word(n, at=f"{months[n // 10]}-{n % 10 + 1:02}{AT[10:]}") for n in range(40)]
    index.add(documents, Position(seq=40, at=documents[-1].at))
    settled(index)
    deps = replace(ledger.deps, index=index)
    assert forget_old(deps) == 0
    assert index.sum().documents == 40
    assert forget_old(replace(deps, search_months=1)) > 0
    assert found(index, "word") == set(range(20, 40))
    assert index.complete_up_to() == index.stored_up_to() == Position(seq=40, at=documents[-1].at)
    assert index.drop_before("2027-06-01T00:00:00.000Z") > 0
    assert max(found(index, "word")) == 39


def test_an_erased_document_is_found_no_more_and_leaves_no_byte(one: Engine) -> None:
    index, chance = one.open(), random.Random(5)
    names = ["".join(chance.choices(string.ascii_lowercase, k=20)) for _ in range(60)]
    index.add([word(n, name) for n, name in enumerate(names)], Position(seq=60, at=AT))
    assert names[7].encode() in one.stored()
    with index.rebuilding() as fresh:
        fresh.add([word(n, name) for n, name in enumerate(names)], Position(seq=60, at=AT))
        one.open().erase([7])
        assert fresh.sum().documents == 59
    assert found(settled(index), names[7]) == set()
    assert found(index, names[8]) == {8}
    stored = one.stored()
    assert names[7].encode() not in stored
    assert names[8].encode() in stored


def test_odd_texts_are_found_as_they_were_stored(empty: SearchIndex) -> None:
    from services.audit.search.words import stream

    documents = [
        Document(seq=n, at=AT, topic="t", chain="c", sentence=text, tokens=tuple(stream(text)))
        for n, text in enumerate(NAUGHTY, 1)
    ]
    empty.add(documents, Position(seq=100, at=AT))
    settled(empty)
    for n, text in enumerate(NAUGHTY, 1):
        query = parse(text)
        if query.terms:
            hits = empty.search(query, Page()).documents
            assert n in {hit.seq for hit in hits}, text
            assert json.loads(json.dumps([hit.sentence for hit in hits if hit.seq == n])) == [text]
