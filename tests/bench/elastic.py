"""P14 and P15: searching and indexing in a real Elasticsearch."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.search.generations import template
from services.audit.search.index import Document, Position
from services.audit.search.words import spaced
from tests.audit.book import Book
from tests.bench.column import elasticsearch, server_pids
from tests.bench.facts import foreign
from tests.bench.result import Figure, Found, kept
from tests.bench.scale import ROUNDS, pick
from tests.bench.search import Corpus, measured

ROWS: tuple[int, ...] = pick((2_000,), (100_000,), (100_000, 500_000, 1_000_000))
GOALS = {100_000: 30, 500_000: 60, 1_000_000: 100}
if os.environ.get("ROWS"):
    ROWS = (int(os.environ["ROWS"]),)
DOCUMENTS = pick(1_000, 20_000, 100_000)
BATCH = 2000
WORDS = 250
"""Words of one document: about 2 KB with the tokens."""
SPAWN = multiprocessing.get_context("spawn")


def p14_search() -> Found:
    """What the page asks, newest first, with marks and masking; its filters, but no aggregations,
    which the page does not have.
    """
    figures: list[Figure] = []
    rounds = []
    for rows in ROWS:
        with elasticsearch() as url, tempfile.TemporaryDirectory() as name:
            index = open_elasticsearch(url)
            index.create()
            deps = replace(Book(Path(name)).deps, index=index)
            found = measured(deps, Corpus(rows), server_pids)
        rounds.append(found)
        one = kept([found])
        goal = GOALS.get(rows)
        figures += [
            one.most("P14", f"Elasticsearch p99, {rows:,} rows, ms", "p99", goal),
            one.most("P14", f"the slowest kind of query, {rows:,} rows, ms", "worst", goal),
        ]
    return Found(figures=tuple(figures), rounds=rounds)


def p15_indexing() -> Found:
    """Documents of 2 KB a second through our index by one and by two clients, ÷ a bare bulk loop."""
    rounds = [_round(number) for number in range(ROUNDS)]
    found = kept(rounds)
    figures = (
        found.least("P15", "documents indexed a second, 1 client", "one", 8000),
        found.least("P15", "documents indexed a second, 2 clients", "two", 10_000),
        found.least("P15", "indexing ÷ a bare bulk loop", "ratio", 0.8),
    )
    return Found(figures=figures, rounds=rounds)


def _round(number: int) -> dict[str, Any]:
    """A B B A of ours and the bare loop, then two clients of ours at once."""
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    with foreign(server_pids) as others:
        for side in ("ours", "bare", "bare", "ours"):
            with elasticsearch() as url:
                rates[side].append(_alone(url, side, number))
        two = _two_at_once(number)
    ours, bare = (sum(found) / len(found) for found in rates.values())
    return {"one": ours, "bare": bare, "ratio": ours / bare, "two": two, **others}


def _alone(url: str, side: str, seed: int) -> float:
    write = by_ours if side == "ours" else by_bare_loop
    begin, end = write(url, seed)
    return DOCUMENTS / (end - begin)


def _two_at_once(seed: int) -> float:
    """Two processes, each into indices of its own: one alone may be the limit, not the server."""
    with elasticsearch() as one, elasticsearch() as other:
        with SPAWN.Pool(2) as pool:
            spans = pool.starmap(by_ours, [(one, seed), (other, seed + 1)])
    return 2 * DOCUMENTS / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def by_ours(url: str, seed: int) -> tuple[float, float]:
    """When it began and ended; the documents are made before."""
    documents = _documents(seed)
    index = open_elasticsearch(url)
    index.create()
    begin = time.time()
    for batch in documents:
        index.add(batch, Position(seq=batch[-1].seq + 1, at=batch[-1].at))
    end = time.time()
    assert index.sum().documents == DOCUMENTS
    return begin, end


def by_bare_loop(url: str, seed: int) -> tuple[float, float]:
    """The same documents and mapping in bulk requests of 1,000, with nothing around them."""
    documents = _documents(seed)
    address = urlsplit(url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    name = f"{address.path.strip('/')}-bare"
    _ask(connection, "PUT", f"/{name}", json.dumps(dict(template())).encode())
    begin = time.time()
    for batch in documents:
        for start in (0, 1000):
            lines = [_lines(document) for document in batch[start : start + 1000]]
            if lines:
                answer = _ask(connection, "POST", f"/{name}/_bulk", "".join(lines).encode())
                assert not answer["errors"]
    end = time.time()
    _ask(connection, "POST", f"/{name}/_refresh", b"")
    assert _ask(connection, "GET", f"/{name}/_count", b"")["count"] == DOCUMENTS
    return begin, end


def _lines(document: Document) -> str:
    data = {**document.data(), "tokens": spaced(document.tokens)}
    return f'{{"create":{{"_id":"{document.seq}"}}}}\n{json.dumps(data, ensure_ascii=False)}\n'


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> Any:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status < 300, (path, answer.status, text[:300])
    return json.loads(text)


def _documents(seed: int) -> list[list[Document]]:
    """Batches as the projection hands them over: one month, in order of the ledger."""
    corpus = Corpus(DOCUMENTS, seed=seed + 100, words=WORDS // 2)
    found = [
        replace(corpus.document(seq), at="2026-11-23T09:00:00.000Z") for seq in range(DOCUMENTS)
    ]
    return [found[start : start + BATCH] for start in range(0, DOCUMENTS, BATCH)]
