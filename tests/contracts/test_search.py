"""Every search index finds exactly the planted rows: each filter, and each pair of filters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.audit.projection import Projection, reindex
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import Document, Page, Position, SearchIndex
from services.audit.search.query import parse
from tests.audit.book import Book
from tests.contracts import search_cases as cases

IMPLEMENTATIONS: dict[str, Callable[[Path], SearchIndex]] = {
    "fts5": lambda folder: open_fts5(f"sqlite:///{folder}/index.db"),
}
NAUGHTY = [
    '" OR 1=1 --',
    "NEAR(a b)",
    "col:x",
    "\U0001f600 emoji",
    "مرحبا بالعالم",
    "Ω≈ç√",
    "a\x00b",
]


@pytest.fixture(scope="module", params=list(IMPLEMENTATIONS))
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Book:
    folder = tmp_path_factory.mktemp(request.param)
    return cases.plant(folder, IMPLEMENTATIONS[request.param](folder))


@pytest.fixture(params=list(IMPLEMENTATIONS))
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> SearchIndex:
    return IMPLEMENTATIONS[request.param](tmp_path)


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


def test_a_rebuild_has_the_same_documents(book: Book) -> None:
    before = book.deps.index.sum()
    assert before.documents > 100
    assert reindex(book.deps) == before


def test_documents_added_one_by_one_are_those_added_at_once(book: Book, tmp_path: Path) -> None:
    other = open_fts5(f"sqlite:///{tmp_path}/other.db")
    deps = replace(book.deps, index=other)
    import services.audit.projection as module

    whole, module.BATCH = module.BATCH, 3
    try:
        Projection().catch_up(deps)
    finally:
        module.BATCH = whole
    assert other.sum() == book.deps.index.sum()


def test_added_again_after_a_crash_a_document_is_there_once(empty: SearchIndex) -> None:
    document = Document(
        seq=1, at="2026-11-23T09:00:00.000Z", topic="t", chain="c", sentence="s", tokens=("word",)
    )
    empty.add([document], Position(seq=2, at=document.at))
    empty.add([document], Position(seq=2, at=document.at))
    assert found(empty, "word") == {1}
    assert empty.complete_up_to() == Position(seq=2, at=document.at)


def test_an_erased_document_is_found_no_more_and_leaves_no_byte(
    empty: SearchIndex, tmp_path: Path
) -> None:
    at = "2026-11-23T09:00:00.000Z"
    documents = [
        Document(seq=n, at=at, topic="t", chain="c", sentence=f"secret{n}", tokens=(f"secret{n}",))
        for n in range(1, 200)
    ]
    empty.add(documents, Position(seq=200, at=at))
    empty.erase([7])
    assert found(empty, "secret7") == set()
    assert found(empty, "secret8") == {8}
    empty.sum()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"secret7\x00" not in stored
    assert b"secret8" in stored
    assert not any(b"secret7" + bytes([c]) in stored for c in b' "\x00')


def test_odd_texts_are_found_as_they_were_stored(empty: SearchIndex) -> None:
    from services.audit.search.words import stream

    at = "2026-11-23T09:00:00.000Z"
    documents = [
        Document(seq=n, at=at, topic="t", chain="c", sentence=text, tokens=tuple(stream(text)))
        for n, text in enumerate(NAUGHTY, 1)
    ]
    empty.add(documents, Position(seq=100, at=at))
    for n, text in enumerate(NAUGHTY, 1):
        query = parse(text)
        if query.terms:
            hits = empty.search(query, Page()).documents
            assert n in {hit.seq for hit in hits}, text
            assert json.loads(json.dumps([hit.sentence for hit in hits if hit.seq == n])) == [text]
