"""What every search index is and holds: the interface that FTS5 and Elasticsearch share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from services.audit.search.query import Query

COUNTED = 1000
"""Hits are counted up to here; exact counts of more cost more than they tell."""


@dataclass(frozen=True, kw_only=True)
class ValueChange:
    """One field of a record: what stood there and what came, as text for people."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Document:
    """One ledger entry as it is found and shown. ``seq`` is its id; ``at`` RFC 3339 text.

    ``sentence`` holds no personal values; ``excerpt``, ``changes`` and ``customer`` do and are
    masked before they are shown. ``tokens`` is what it is found by (`search.words`).
    """

    seq: int
    at: str
    topic: str
    chain: str
    sentence: str
    excerpt: str = ""
    record: str | None = None
    customer: str | None = None
    source: str | None = None
    decided_by: str | None = None
    outcome: str | None = None
    changes: tuple[ValueChange, ...] = ()
    tokens: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """All but the tokens, as JSON has it."""
        data = {**vars(self), "changes": [vars(change) for change in self.changes]}
        del data["tokens"]
        return data

    def shown(self) -> str:
        """`data` as text."""
        return json.dumps(self.data(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Document:
        """The inverse of `data`, without tokens."""
        changes = tuple(ValueChange(**change) for change in data["changes"])
        return cls(**{**data, "changes": changes})

    @classmethod
    def of(cls, shown: str) -> Document:
        """The inverse of `shown`, without tokens."""
        return cls.of_data(json.loads(shown))


@dataclass(frozen=True, kw_only=True)
class Page:
    """Newest first; ``before`` is the ``seq`` below which the page begins."""

    before: int | None = None
    size: int = 50


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far the index is complete: the next ledger ``seq``, and the time of the last entry."""

    seq: int
    at: str | None


@dataclass(frozen=True, kw_only=True)
class Hits:
    """``total`` counts to `COUNTED`; ``capped`` says that there are more."""

    documents: tuple[Document, ...]
    total: int
    capped: bool
    next_before: int | None


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Two indices with the same sum hold the same documents."""

    documents: int
    digest: str


class SearchIndex(Protocol):
    """A projection of the ledger that can be rebuilt. Raises `StoreUnavailable`.

    Opening one asks no server: a part may start while its search is down.
    """

    def create(self) -> None:
        """Make what is missing; does nothing to an index that is there."""

    def add(self, documents: Sequence[Document], upto: Position) -> None:
        """Store documents, in ledger order, and then how far they go.

        A document that is there already stays as it is.
        """

    def search(self, query: Query, page: Page) -> Hits:
        """The newest documents that fit."""

    def erase(self, seqs: Sequence[int]) -> None:
        """Remove documents, also from an index in the making, so that no byte stays on disk."""

    def drop_before(self, at: str) -> int:
        """Forget whole months that ended before ``at`` (RFC 3339); returns how many things went."""

    def stored_up_to(self) -> Position:
        """Where the next `add` goes on."""

    def complete_up_to(self) -> Position:
        """How far a search sees; never more than that."""

    def rebuilding(self) -> AbstractContextManager[SearchIndex]:
        """An empty index to be filled, while this one is searched and added to as before.

        At the end of the block it takes the place of this one at once; after an error it is gone.
        """

    def sum(self) -> Sum:
        """Count and digest over all documents and their tokens."""


def digest(rows: Iterable[tuple[int, str, str]]) -> Sum:
    """The sum of documents by ``seq``, each with what is shown and its tokens."""
    total, count = hashlib.sha256(), 0
    for seq, shown, tokens in rows:
        total.update(f"{seq}\n{shown}\n{tokens}\n".encode(errors="surrogatepass"))
        count += 1
    return Sum(documents=count, digest=total.hexdigest())


Opener = Callable[[str], SearchIndex]
"""From a ``SEARCH_URL`` to its index."""


def open_index(url: str, openers: Mapping[str, Opener]) -> SearchIndex:
    """The index that the scheme of the URL names. Raises `ConfigurationError`."""
    from shared.errors import ConfigurationError

    opener = openers.get(url.partition(":")[0])
    if opener is None:
        raise ConfigurationError(f"SEARCH_URL must begin with one of {', '.join(openers)}")
    return opener(url)
