"""The search indices there are, each on the real thing, and what a test may ask of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import Document, Opener, Page, SearchIndex
from services.audit.search.query import Query
from tests.contracts import elasticsearch
from tests.product import eventually

ENGINES = ("fts5", "elasticsearch")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One empty index. ``stored`` reads every byte that is kept of it."""

    name: str
    url: str
    opener: Opener
    stored: Callable[[], bytes]

    def open(self) -> SearchIndex:
        """As another process would."""
        return self.opener(self.url)


@contextmanager
def engine(name: str, folder: Path) -> Iterator[Engine]:
    if name == "fts5":
        url = f"sqlite:///{folder}/index.db"
        yield Engine(name=name, url=url, opener=open_fts5, stored=lambda: _bytes(folder))
        return
    with elasticsearch.search_url() as url:
        prefix = url.rpartition("/")[2]
        yield Engine(
            name=name,
            url=url,
            opener=open_elasticsearch,
            stored=lambda: elasticsearch.stored(prefix),
        )


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("index.db*"))


def settled(index: SearchIndex) -> SearchIndex:
    """As soon as everything that was added is seen; nobody asks for it to be sooner."""
    eventually(lambda: index.complete_up_to() == index.stored_up_to())
    return index


def everything(index: SearchIndex, query: Query, size: int) -> list[Document]:
    """All hits, page by page."""
    documents, before = list[Document](), None
    while True:
        hits = index.search(query, Page(before=before, size=size))
        documents += hits.documents
        before = hits.next_before
        if before is None:
            return documents
        assert len(hits.documents) == size
