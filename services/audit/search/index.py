"""What every search index is and holds: the interface that FTS5 and Elasticsearch share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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

    def shown(self) -> str:
        """JSON of all but the tokens."""
        data = {**vars(self), "changes": [vars(change) for change in self.changes]}
        del data["tokens"]
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of(cls, shown: str) -> Document:
        """The inverse of `shown`, without tokens."""
        data: dict[str, Any] = json.loads(shown)
        data["changes"] = tuple(ValueChange(**change) for change in data["changes"])
        return cls(**data)


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
    """A projection of the ledger that can be dropped and rebuilt. Raises `StoreUnavailable`."""

    def create(self) -> None:
        """Make what is missing; does nothing to an index that is there."""

    def drop(self) -> None:
        """Forget everything; the next `add` begins with entry 0."""

    def add(self, documents: Sequence[Document], upto: Position) -> None:
        """Store documents and, in the same commit, how far the index is complete."""

    def search(self, query: Query, page: Page) -> Hits:
        """The newest documents that fit."""

    def erase(self, seqs: Sequence[int]) -> None:
        """Remove documents so that no byte of them stays on disk."""

    def complete_up_to(self) -> Position:
        """How far the index is complete."""

    def sum(self) -> Sum:
        """Count and digest over all documents and their tokens."""


Opener = Callable[[str], SearchIndex]
"""From a ``SEARCH_URL`` to its index."""


def open_index(url: str, openers: Mapping[str, Opener]) -> SearchIndex:
    """The index that the scheme of the URL names. Raises `ConfigurationError`."""
    from shared.errors import ConfigurationError

    opener = openers.get(url.partition(":")[0])
    if opener is None:
        raise ConfigurationError(f"SEARCH_URL must begin with one of {', '.join(openers)}")
    return opener(url)
