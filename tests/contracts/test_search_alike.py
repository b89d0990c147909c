"""Whatever is stored and whatever is asked, both search indices find the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from services.audit.search.index import Document, Page, Position, SearchIndex
from services.audit.search.query import parse, value_key
from services.audit.search.words import contact_keys, order_keys, orders_of, stream
from shared.errors import BadPayload
from tests.contracts.search_engines import ENGINES, engine, everything, settled

PIECES = (
    "Jane", "jane", "JOSÉ", "José", "Müller", "muller", "straße", "strasse", "ﬁne", "İstanbul",
    "proposal", "proposed", "propose", "pro", "read back", "back read", "read", "back", "|", "=",
    "jane.doe@example.com", "j+d@mueller.example.org", "e=jane.doe@example.com", "@example.com",
    "+1 212 555 0100", "(212) 555-0100", "0049 30 1234567", "030/1234567", "2125550100", "555",
    "INV-2026/0017", "inv 2026 17", "order 90210", "#A-2231", "2026-11-23", "23.11.2026", "3/4/2026",
    "a\x00b", "a\tb", "a\u00a0b", "a\u2003b", "a\u200bb", "a\x1cb", "a\x85b", "\U0001f600", "𞤀𞤣",
    "مرحبا", "日本語", "Ω≈ç√", "col:x", "NEAR(a b)", "AND", "OR", "NOT", '"', "'", "*", "\\", "^", "-",
    "{", "}", "x" * 70, "é" * 300, "l'été", "foo_bar", "İ", "ǅ", "½", "٣",
)  # fmt: skip
FILTERS = ("person", "email", "phone", "order", "value", "topic", "source", "after", "before")
MONTHS = ("2026-09", "2026-10", "2026-11")

texts = st.lists(
    st.sampled_from(PIECES)
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
).map(" ".join)
dates = st.builds("{}-{:02}".format, st.sampled_from(MONTHS), st.integers(1, 28))
pieces = (
    texts
    | texts.map('"{}"'.format)
    | st.sampled_from(PIECES).map(lambda piece: piece[:4] + "*")
    | st.builds("{}:{}".format, st.sampled_from(FILTERS[:7]), st.sampled_from(PIECES))
    | st.builds('{}:"{}"'.format, st.sampled_from(FILTERS[:7]), st.sampled_from(PIECES))
    | st.builds("{}:{}".format, st.sampled_from(FILTERS[7:]), dates)
)
queries = st.lists(pieces, min_size=1, max_size=3).map(" ".join)
stories = st.lists(st.tuples(texts, dates), min_size=1, max_size=8)


@dataclass
class Pair:
    """Both, with the same documents; they are added to for each example."""

    indices: list[SearchIndex]
    seq: int = 0
    asked: int = 0
    hits: int = 0

    def add(self, told: list[tuple[str, str]]) -> None:
        documents = []
        for text, day in told:
            documents.append(_document(self.seq, text, f"{day}T09:00:00.000Z"))
            self.seq += 1
        for index in self.indices:
            index.add(documents, Position(seq=self.seq, at=documents[-1].at))
            settled(index)

    def ask(self, text: str) -> None:
        try:
            query = parse(text)
        except BadPayload:
            return
        one, other = (everything(index, query, 7) for index in self.indices)
        assert one == other, text
        totals = [index.search(query, Page(size=3)) for index in self.indices]
        assert totals[0] == totals[1]
        self.asked += 1
        self.hits += bool(one)


def _document(seq: int, text: str, at: str) -> Document:
    keys = [*contact_keys(text), *(k for o in orders_of(text) for k in order_keys(o))]
    keys += [value_key(text), f"n={text}", f"k={text[:3]}", f"s={text.lower()}"]
    return Document(
        seq=seq, at=at, topic="t", chain="c", sentence=text, tokens=(*stream(text), *keys)
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("alike")
    with engine(ENGINES[0], folder) as one, engine(ENGINES[1], folder) as other:
        yield Pair(indices=[one.open(), other.open()])


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # The indices grow: a smaller case is another one.
)
@example(told=[(piece, "2026-11-23") for piece in PIECES], asked=[*PIECES, '"read back"', "pro*"])
@given(told=stories, asked=st.lists(queries, min_size=20, max_size=30))
def test_both_find_the_same_in_the_same_order(
    pair: Pair, told: list[tuple[str, str]], asked: list[str]
) -> None:
    pair.add(told)
    for text in [*asked, *(text[:400] for text, _ in told)]:
        pair.ask(text)


def test_the_questions_were_not_in_vain(pair: Pair) -> None:
    assert pair.asked > 250
    assert pair.hits > pair.asked / 10
    one, other = (index.sum() for index in pair.indices)
    assert one == other
