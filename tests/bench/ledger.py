"""P9 and P16: appends to the ledger against raw group commits, and indexing with the ledger row."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from services.audit.handlers import drafts_of
from services.audit.ledger import Draft, append
from services.audit.projection import ledger_size, reindex
from shared.bus.envelope import Envelope
from shared.db import writing
from tests.audit.book import Book, Customer, applied, classified, decided, received
from tests.bench.facts import foreign
from tests.bench.result import Figure, Found, kept
from tests.bench.scale import pick

BATCH = 256


def p9_ledger_appends() -> Found:
    """Per-round ratios, interleaved: our append against one raw table of the same bytes.

    Our side: leaf, salt, commitment, sealed body, tree nodes, edge, unique message id. The
    drafts (parsing, schema check, contacts) are made by the handler before the transaction.
    """
    rounds, batches = pick(1, 5, 9), pick(3, 20, 60)
    with tempfile.TemporaryDirectory() as name:
        book = Book(Path(name))
        raw = _raw_table(Path(name) / "raw.db")
        size = _row_size(book)
        results = []
        for number in range(rounds):
            drafts = [_drafts(book, number * batches + n) for n in range(batches)]
            pair = [lambda d=drafts: _append(book, d), lambda n=number: _raw(raw, size, n, batches)]
            order = pair if number % 2 == 0 else pair[::-1]
            with foreign(list) as others:
                rates = {run: run() for run in order}
            ours, theirs = rates[pair[0]], rates[pair[1]]
            results.append({"ours": ours, "raw": theirs, "ratio": ours / theirs, **others})
    found = kept(results)
    figures = (
        found.least("P9", "ledger appends ÷ raw commits, batches of 256", "ratio", 0.35),
        found.least("P9", "ledger appends a second", "ours", None),
    )
    return Found(figures=figures, rounds={"bytes_per_row": size, "rounds": results})


def p16_indexing() -> Found:
    """Documents a second: ledger row and index row, drafts made before; and the whole path.

    ``FULL=1`` goes on to a million entries: the last tenth must not be slower than the first.
    """
    batch, million = pick(700, 7_000, 100_000), pick(1_400, 0, 1_000_000)
    with tempfile.TemporaryDirectory() as name:
        book = Book(Path(name))
        first = _indexed(book, 0, batch)
        rounds = [first]
        rounds += [_indexed(book, start, batch) for start in range(batch, million, batch)]
        whole = _whole_path(book, max(batch, million), pick(350, 7_000, 14_000))
        begin = time.perf_counter()
        documents = reindex(book.deps).documents
        again = documents / (time.perf_counter() - begin)
    figures = [
        kept([first]).least("P16", f"documents indexed a second, first {batch:,}", "rate", 3000),
        kept([whole]).least("P16", "the same with parsing and schema check", "rate", None),
        Figure(target="P16", what=f"reindexed a second, {documents:,} documents", value=again),
    ]
    if million:
        last = {**rounds[-1], "ratio": rounds[-1]["rate"] / first["rate"]}
        what = f"the last {batch:,} of {million:,} ÷ the first"
        figures.append(kept([last]).least("P16", what, "ratio", 0.9))
    return Found(figures=tuple(figures), rounds=[*rounds, whole])


def _indexed(book: Book, start: int, number: int) -> dict[str, Any]:
    """Append and index ``number`` entries, seven to an event; the drafts are made before."""
    events = range(start // 7, (start + number) // 7)
    drafts = [d for n in events for m in _story(book, n) for d in _of(book, m)]
    with foreign(list) as others:
        begin = time.perf_counter()
        for place in range(0, len(drafts), BATCH):
            with writing(book.deps.engine) as db:
                append(db, book.deps.vault, drafts[place : place + BATCH])
            book.projection.catch_up(book.deps)
        seconds = time.perf_counter() - begin
    return {"entries": len(drafts), "rate": len(drafts) / seconds, **others}


def _whole_path(book: Book, start: int, number: int) -> dict[str, Any]:
    """As the worker does it: parse, check the schema, look for contacts, append and index."""
    events = range(start, start + number // 7)
    messages = [m for n in events for m in _story(book, n)]
    with foreign(list) as others:
        before, begin = ledger_size(book.deps), time.perf_counter()
        for place in range(0, len(messages), 200):
            book.log(*messages[place : place + 200])
            book.projection.catch_up(book.deps)
        seconds = time.perf_counter() - begin
    entries = ledger_size(book.deps) - before
    return {"entries": entries, "rate": entries / seconds, **others}


def _story(book: Book, number: int) -> list[Any]:
    customer = Customer(number=number, email=f"c{number}@example.com")
    makers = (received, classified, decided, applied)
    return [make(book, customer) for make in makers]


def _of(book: Book, message: Envelope) -> list[Draft]:
    return drafts_of(message, book.deps.vault)


def _drafts(book: Book, number: int) -> list[Draft]:
    drafts: list[Draft] = []
    customer = number * 100
    while len(drafts) < BATCH:
        for message in _story(book, customer):
            drafts += _of(book, message)
        customer += 1
    return drafts[:BATCH]


def _append(book: Book, batches: list[list[Draft]]) -> float:
    begin = time.perf_counter()
    for drafts in batches:
        with writing(book.deps.engine) as db:
            append(db, book.deps.vault, drafts)
    return len(batches) * BATCH / (time.perf_counter() - begin)


def _raw_table(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, body BLOB)")
    return db


def _raw(db: sqlite3.Connection, size: int, number: int, batches: int) -> float:
    rows = [
        [(((number * batches) + batch) * BATCH + n, b"x" * size) for n in range(BATCH)]
        for batch in range(batches)
    ]
    begin = time.perf_counter()
    for batch in rows:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO rows VALUES (?, ?)", batch)
        db.execute("COMMIT")
    return batches * BATCH / (time.perf_counter() - begin)


def _row_size(book: Book) -> int:
    """Bytes that one of our entries takes, body and all."""
    drafts = _drafts(book, 10**6)
    return sum(len(draft.body) + 520 for draft in drafts) // len(drafts)
