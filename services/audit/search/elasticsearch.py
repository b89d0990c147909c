"""The search index in Elasticsearch: create-only documents by month, the sequence as their id."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from services.audit.search.clauses import clause
from services.audit.search.cluster import Cluster, NotThere, Write
from services.audit.search.generations import FIRST, Generations, fresh_generation
from services.audit.search.index import COUNTED, Document, Hits, Page, Position, Sum, digest
from services.audit.search.query import Query
from services.audit.search.words import spaced
from shared.errors import ConfigurationError, StoreUnavailable

DEFAULT_PREFIX = "countersign"
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,40}")
_STEP = 1000
_POSITION = "position"
# A deleted document stays on disk for the copies of its shard, until these have agreed: 30 s.
_EXPUNGE_SECONDS = 120.0
_MOST_GENERATIONS = 2
# The position and the hits come from the same copies of the shards, which refresh by themselves.
_SAME_COPIES = "countersign"


def open_elasticsearch(url: str) -> ElasticsearchIndex:
    """The index at ``http[s]://[user:password@]host:port[/prefix]``. Asks nobody yet.

    Raises `ConfigurationError`.
    """
    prefix = urlsplit(url).path.strip("/") or DEFAULT_PREFIX
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError("SEARCH_URL: the name is of a-z, 0-9 and _, and begins with a-z")
    return ElasticsearchIndex(generations=Generations(cluster=Cluster.of(url), prefix=prefix))


@dataclass(kw_only=True)
class _Written:
    """What this process knows of the generation it writes. ``last`` are the months of one `add`."""

    generation: str = ""
    known: set[str] = field(default_factory=set)
    last: frozenset[str] = frozenset()

    def turn_to(self, generation: str) -> None:
        if generation != self.generation:
            self.generation, self.known, self.last = generation, set(), frozenset()


@dataclass(frozen=True, kw_only=True)
class ElasticsearchIndex:
    """A `SearchIndex`. ``generation`` is the one in the making; without it the one searched."""

    generations: Generations
    generation: str | None = None
    _written: _Written = field(default_factory=_Written)

    @property
    def cluster(self) -> Cluster:
        return self.generations.cluster

    def create(self) -> None:
        self.generations.create()

    def add(self, documents: Sequence[Document], upto: Position) -> None:
        generation = self.generation or self._current()
        self._written.turn_to(generation)
        months = [self.generations.month(generation, document.at) for document in documents]
        try:
            self._make_months(generation, months)
            writes = [_write(d, month) for d, month in zip(documents, months, strict=True)]
            at_once = self.cluster.create_all(writes)
        except NotThere:
            self._written.turn_to("")
            raise
        self._keep_order(frozenset(months), at_once=at_once)
        last = documents[-1].seq if documents else self._stored()[1]
        self._store(generation, upto, last)

    def search(self, query: Query, page: Page) -> Hits:
        if query.is_empty:
            return Hits(documents=(), total=0, capped=False, next_before=None)
        hits, total, below = list[Any](), 0, page.before
        while len(hits) <= page.size:
            size = min(page.size + 1 - len(hits), _STEP)
            found = self._newest(
                size, below, query=clause(query), track_total_hits=not hits and COUNTED + 1
            )
            total = total or found["total"]["value"]
            hits += found["hits"]
            if len(found["hits"]) < size:
                break
            below = _seq(hits[-1])
        shown = hits[: page.size]
        return Hits(
            documents=tuple(_document(hit) for hit in shown),
            total=min(total, COUNTED),
            capped=total > COUNTED,
            next_before=_seq(shown[-1]) if len(hits) > page.size else None,
        )

    def erase(self, seqs: Sequence[int]) -> None:
        """Deleted in every generation, then merged away: that may take half a minute."""
        months = self.generations.names()
        if not (seqs and months):
            return
        self.refresh(months)
        touched = set[str]()
        for start in range(0, len(seqs), _STEP):
            touched |= self._delete(months, seqs[start : start + _STEP])
        # Also those where an erasure before this one was cut off.
        self._expunge(sorted(touched | self._with_deleted(months)))

    def drop_before(self, at: str) -> int:
        generation = self.generation or self.generations.current() or FIRST
        months = self.generations.names(generation)
        first = self.generations.month(generation, at)
        # The newest stays: it says up to where the search is complete.
        old = [name for name in months[:-1] if name < first]
        self.generations.drop(old)
        return len(old)

    def stored_up_to(self) -> Position:
        return self._stored()[0]

    def complete_up_to(self) -> Position:
        """What is stored is seen after the next refresh: up to a second later."""
        stored, last = self._stored()
        if last is None:
            return stored
        newest = self._newest(1, None)["hits"]
        if not newest:
            return Position(seq=0, at=None)
        if _seq(newest[0]) >= last:
            return stored
        return Position(seq=_seq(newest[0]) + 1, at=newest[0]["_source"]["at"])

    def refresh(self, names: Sequence[str] | None = None) -> None:
        """Let searches see everything now; for rebuilding, erasing and tests."""
        with self.cluster.client() as client:
            client.indices.refresh(index=names or self._searched, ignore_unavailable=True)

    @contextmanager
    def rebuilding(self) -> Iterator[ElasticsearchIndex]:
        current = self.generations.create()
        # What a rebuild that died has left.
        self.generations.drop_all_but(current)
        fresh = replace(self, generation=fresh_generation(), _written=_Written())
        assert fresh.generation is not None
        self.generations.begin(fresh.generation)
        try:
            yield fresh
            fresh.refresh()
            self.generations.switch(fresh.generation)
        except BaseException:
            with suppress(StoreUnavailable):
                self.generations.drop_generation(fresh.generation)
            raise

    def sum(self) -> Sum:
        self.refresh()
        return digest(self._rows())

    def _current(self) -> str:
        """Each process puts the template of its own version once."""
        known = self._written.generation and self.generations.current()
        return known or self.generations.create()

    @property
    def _searched(self) -> str:
        if self.generation is None:
            return self.generations.alias
        return self.generations.months(self.generation)

    def _make_months(self, generation: str, months: Sequence[str]) -> None:
        for name in dict.fromkeys(months):
            if name not in self._written.known:
                is_current = self.generation is None
                self.generations.make_month(generation, name, is_current=is_current)
                self._written.known.add(name)

    def _keep_order(self, touched: frozenset[str], *, at_once: bool) -> None:
        """A later document is never seen before an earlier one, or `complete_up_to` would be wrong.

        That holds by itself within one index for what is written in order.
        """
        if not touched:
            return
        together = touched | self._written.last
        if len(together) > 1 or not at_once:
            self.refresh(sorted(together))
        self._written.last = touched

    def _newest(self, size: int, below: int | None, **more: Any) -> Any:
        """The hits of one search; a generation that was switched meanwhile is looked up again."""
        after = {} if below is None else {"search_after": [below]}
        for is_last in (False, True):
            try:
                with self.cluster.client() as client:
                    return client.options(request_timeout=self.cluster.timeout / 2).search(
                        index=self._searched,
                        size=size,
                        sort=[{"seq": "desc"}],
                        ignore_unavailable=True,
                        allow_partial_search_results=False,
                        preference=_SAME_COPIES,
                        source_excludes=["tokens"],
                        **{"track_total_hits": False, **after, **more},
                    )["hits"]
            except NotThere:
                if is_last:
                    raise
        raise AssertionError("the second try returns or raises")

    def _rows(self) -> Iterator[tuple[int, str, str]]:
        after: dict[str, Any] = {}
        while True:
            with self.cluster.client() as client:
                found = client.search(
                    index=self._searched,
                    size=_STEP,
                    sort=[{"seq": "asc"}],
                    ignore_unavailable=True,
                    allow_partial_search_results=False,
                    track_total_hits=False,
                    **after,
                )["hits"]["hits"]
            for hit in found:
                tokens = hit["_source"].pop("tokens")
                yield _seq(hit), _document(hit).shown(), tokens
            if len(found) < _STEP:
                return
            after = {"search_after": [_seq(found[-1])]}

    def _stored(self) -> tuple[Position, int | None]:
        """What was stored last, and the ``seq`` of the last document of it."""
        own = self.generation and self.generations.position(self.generation)
        name = own or self.generations.position_alias
        with self.cluster.client() as client:
            answer = client.options(ignore_status=404).get(index=name, id=_POSITION)
        if not answer.get("found"):
            return Position(seq=0, at=None), None
        data = answer["_source"]
        return Position(seq=data["seq"], at=data["at"]), data["last"]

    def _store(self, generation: str, upto: Position, last: int | None) -> None:
        name = self.generations.position(generation)
        with self.cluster.client() as client:
            client.index(
                index=name, id=_POSITION, document={"seq": upto.seq, "at": upto.at, "last": last}
            )

    def _delete(self, months: Sequence[str], seqs: Sequence[int]) -> set[str]:
        """Delete what is there of these; returns the indices where something was."""
        with self.cluster.client() as client:
            found = client.search(
                index=list(months),
                query={"terms": {"seq": list(seqs)}},
                size=len(seqs) * _MOST_GENERATIONS,
                source=False,
                allow_partial_search_results=False,
            )["hits"]["hits"]
            operations = [{"delete": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in found]
            if operations and client.bulk(operations=operations)["errors"]:
                raise StoreUnavailable("not everything could be erased: run it again")
        return {hit["_index"] for hit in found}

    def _with_deleted(self, months: Sequence[str]) -> set[str]:
        with self.cluster.client() as client:
            indices = client.indices.stats(index=list(months), metric="docs")["indices"]
        return {name for name, data in indices.items() if data["total"]["docs"]["deleted"]}

    def _expunge(self, months: Sequence[str]) -> None:
        """Merge until no deleted document is left in any file."""
        limit, left = time.monotonic() + _EXPUNGE_SECONDS, list(months)
        while left:
            with self.cluster.client() as client:
                slow = client.options(request_timeout=_EXPUNGE_SECONDS).indices
                slow.flush(index=left, force=True)
                slow.forcemerge(index=left, only_expunge_deletes=True)
                slow.refresh(index=left)
            left = sorted(self._with_deleted(left))
            if left and time.monotonic() > limit:
                raise StoreUnavailable("erased, but still on the disk: run it again")
            if left:
                time.sleep(1)


def _write(document: Document, index: str) -> Write:
    data = {**document.data(), "tokens": spaced(document.tokens)}
    source = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Write(index=index, id=str(document.seq), source=source)


def _document(hit: Any) -> Document:
    return Document.of_data(dict(hit["_source"]))


def _seq(hit: Any) -> int:
    return int(hit["sort"][0])
