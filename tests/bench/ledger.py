"""P9 and P16: appends to the ledger against raw group commits, and indexing with the ledger row."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from services.audit.handlers import drafts_of
from services.audit.ledger import Draft, append
from services.audit.projection import reindex
from shared.bus.envelope import Envelope
from shared.db import writing
from tests.audit.book import Book, Customer, applied, classified, decided, received

BATCH = 256


def p9_ledger_appends(*, rounds: int = 5, batches: int = 20) -> dict[str, Any]:
    """Per-round ratios, interleaved: our append against one raw table of the same bytes.

    Our side: leaf, salt, commitment, sealed body, tree nodes, edge, unique message id. The
    drafts (parsing, schema check, contacts) are made by the handler before the transaction.
    """
    with tempfile.TemporaryDirectory() as name:
        book = Book(Path(name))
        raw = _raw_table(Path(name) / "raw.db")
        size = _row_size(book)
        results = []
        for number in range(rounds):
            drafts = [_drafts(book, number * batches + n) for n in range(batches)]
            pair = [lambda d=drafts: _append(book, d), lambda n=number: _raw(raw, size, n, batches)]
            order = pair if number % 2 == 0 else pair[::-1]
            rates = {run: run() for run in order}
            ours, theirs = rates[pair[0]], rates[pair[1]]
            results.append({"ours": ours, "raw": theirs, "ratio": ours / theirs})
    ratios = sorted(row["ratio"] for row in results)
    return {
        "target": "P9",
        "goal": 0.35,
        "bytes_per_row": size,
        "rounds": results,
        "ratio": {"min": ratios[0], "median": median(ratios), "max": ratios[-1]},
    }


def p16_indexing(*, entries: int = 7000) -> dict[str, Any]:
    """Documents a second: ledger row and index row, drafts made before; and the whole path.

    The whole path also parses, checks the schema and looks for contacts, as the worker does.
    """
    with tempfile.TemporaryDirectory() as name:
        book = Book(Path(name))
        drafts = [d for n in range(entries // 7) for m in _story(book, n) for d in _of(book, m)]
        begin = time.perf_counter()
        for start in range(0, len(drafts), BATCH):
            with writing(book.deps.engine) as db:
                append(db, book.deps.vault, drafts[start : start + BATCH])
            book.projection.catch_up(book.deps)
        rate = len(drafts) / (time.perf_counter() - begin)
        messages = [m for n in range(entries // 7) for m in _story(book, n + entries)]
        begin = time.perf_counter()
        for start in range(0, len(messages), 200):
            book.log(*messages[start : start + 200])
            book.projection.catch_up(book.deps)
        whole = len(drafts) / (time.perf_counter() - begin)
        begin = time.perf_counter()
        documents = reindex(book.deps).documents
        again = documents / (time.perf_counter() - begin)
    return {
        "target": "P16",
        "goal": 3000,
        "documents_a_second": rate,
        "whole_path_a_second": whole,
        "reindexed_a_second": again,
    }


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


if __name__ == "__main__":
    print(json.dumps([p9_ledger_appends(), p16_indexing()], indent=1))
