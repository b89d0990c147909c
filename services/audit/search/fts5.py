"""The embedded search index: SQLite FTS5 in a file of its own."""

from __future__ import annotations

import sqlite3
import string
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.audit.search.index import COUNTED, Document, Hits, Page, Position, Sum, digest
from services.audit.search.query import Query, Term, Tokens
from services.audit.search.words import spaced
from shared.disk import refuse_network_disk
from shared.errors import ConfigurationError, StoreUnavailable

# Spaces alone part two tokens: our own normaliser has split the text already. Content lies outside
# the index, so `rebuild` makes it new from ``docs``. Each generation has tables of its own.
_TOKENIZE = "ascii tokenchars '{}'".format(string.punctuation.replace("'", "''")).replace('"', '""')
_DOCS = """CREATE TABLE IF NOT EXISTS docs_{n} (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, shown TEXT NOT NULL, tokens TEXT NOT NULL)"""
_FOUND = """CREATE VIRTUAL TABLE IF NOT EXISTS found_{n} USING fts5 (
    tokens, content='docs_{n}', content_rowid='seq', prefix='3', columnsize=0,
    tokenize="{tokenize}")"""
_DAYS = """CREATE TABLE IF NOT EXISTS days_{n} (
    day TEXT PRIMARY KEY, low INTEGER, high INTEGER) WITHOUT ROWID"""
_GENERATIONS = """CREATE TABLE IF NOT EXISTS generations (
    n INTEGER PRIMARY KEY AUTOINCREMENT, is_current INTEGER NOT NULL,
    seq INTEGER NOT NULL, at TEXT)"""
_BUSY_SECONDS = 30.0


def open_fts5(url: str) -> Fts5Index:
    """The index at ``sqlite:///<path>``. Raises `ConfigurationError`."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise ConfigurationError("SEARCH_URL must be sqlite:///<path> for the embedded index")
    refuse_network_disk(path)
    index = Fts5Index(path=Path(path))
    index.create()
    return index


@dataclass(frozen=True, kw_only=True)
class Fts5Index:
    """A `SearchIndex`. Each thread has its own connection; it survives a fork unopened only.

    ``generation`` is the one in the making; without it the one that is searched.
    """

    path: Path
    generation: int | None = None
    _local: threading.local = field(default_factory=threading.local)

    def create(self) -> None:
        with self._writing() as db:
            db.execute(_GENERATIONS)
            if not _generations(db):
                _make(db, is_current=True)

    def add(self, documents: Sequence[Document], upto: Position) -> None:
        rows = [(d.seq, d.at, d.shown(), spaced(d.tokens)) for d in documents]
        with self._writing() as db:
            n = self.number(db)
            known = {seq for (seq,) in db.execute(*_among(n, [row[0] for row in rows]))}
            rows = [row for row in rows if row[0] not in known]
            db.executemany(f"INSERT INTO docs_{n} VALUES (?, ?, ?, ?)", rows)
            found = [(row[0], row[3]) for row in rows]
            db.executemany(f"INSERT INTO found_{n} (rowid, tokens) VALUES (?, ?)", found)
            db.executemany(
                f"INSERT INTO days_{n} VALUES (?, ?, ?) ON CONFLICT (day) DO UPDATE SET"
                " low = min(low, excluded.low), high = max(high, excluded.high)",
                _spans(rows),
            )
            position = "UPDATE generations SET seq = ?, at = ? WHERE n = ?"
            db.execute(position, (upto.seq, upto.at, n))

    def search(self, query: Query, page: Page) -> Hits:
        if query.is_empty:
            return Hits(documents=(), total=0, capped=False, next_before=None)
        with self._reading() as db:
            n = self.number(db)
            chosen = _choose(db, n, query)
            counted = f"SELECT count(*) FROM (SELECT 1 {chosen.text} LIMIT {COUNTED + 1})"
            total = db.execute(counted, chosen.values).fetchone()[0]
            below = 2**62 if page.before is None else page.before
            rows = db.execute(
                f"SELECT seq, shown FROM docs_{n} WHERE seq IN ("
                f"SELECT {chosen.rowid} {chosen.text} AND {chosen.rowid} < ?"
                f" ORDER BY {chosen.rowid} DESC LIMIT ?) ORDER BY seq DESC",
                (*chosen.values, below, page.size + 1),
            ).fetchall()
        shown = rows[: page.size]
        return Hits(
            documents=tuple(Document.of(row[1]) for row in shown),
            total=min(total, COUNTED),
            capped=total > COUNTED,
            next_before=shown[-1][0] if len(rows) > page.size else None,
        )

    def erase(self, seqs: Sequence[int]) -> None:
        """The documents go, the index is made new from the rest, and the file is rewritten."""
        if not seqs:
            return
        with self._writing() as db:
            for n in _generations(db):
                gone = f"DELETE FROM docs_{n} WHERE seq = ?"
                db.executemany(gone, [(seq,) for seq in seqs])
                db.execute(f"INSERT INTO found_{n} (found_{n}) VALUES ('rebuild')")
        self._shrink()

    def drop_before(self, at: str) -> int:
        month = f"{at[:7]}-01"
        with self._reading() as db:
            n = self.number(db)
            old = f"SELECT seq FROM docs_{n} WHERE at < ? AND seq < (SELECT max(seq) FROM docs_{n})"
            seqs = [seq for (seq,) in db.execute(old, (month,))]
        self.erase(seqs)
        return len(seqs)

    def stored_up_to(self) -> Position:
        with self._reading() as db:
            at_n = "SELECT seq, at FROM generations WHERE n = ?"
            seq, at = db.execute(at_n, (self.number(db),)).fetchone()
        return Position(seq=seq, at=at)

    def complete_up_to(self) -> Position:
        return self.stored_up_to()

    @contextmanager
    def rebuilding(self) -> Iterator[Fts5Index]:
        with self._writing() as db:
            # What a rebuild that died has left.
            _drop_others(db, self.number(db))
            fresh = replace(self, generation=_make(db, is_current=False))
        try:
            yield fresh
            with self._writing() as db:
                n = fresh.number(db)
                db.execute("UPDATE generations SET is_current = (n = ?)", (n,))
                _drop_others(db, n)
        except BaseException:
            with self._writing() as db:
                _drop_others(db, self.number(db))
            raise
        self._shrink()

    def sum(self) -> Sum:
        with self._reading() as db:
            n = self.number(db)
            found = digest(db.execute(f"SELECT seq, shown, tokens FROM docs_{n} ORDER BY seq"))
            # The check fails where the index does not say what `docs` says.
            db.execute(f"INSERT INTO found_{n} (found_{n}, rank) VALUES ('integrity-check', 1)")
        return found

    def number(self, db: sqlite3.Connection) -> int:
        """The generation that is meant. Raises `StoreUnavailable` where it is gone."""
        n = self.generation
        where, values = ("is_current", ()) if n is None else ("n = ?", (n,))
        row = db.execute(f"SELECT n FROM generations WHERE {where}", values).fetchone()
        if row is None:
            raise StoreUnavailable("the index in the making is gone: another one was begun")
        return int(row[0])

    def _shrink(self) -> None:
        """Rewrite the file and cut the log beside it, so that deleted bytes are gone."""
        with self._connected() as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connected() as db:
            db.execute(begin)
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            db = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = self._open()
            yield db
        except sqlite3.DatabaseError as error:
            raise StoreUnavailable(f"the search index did not answer: {error}") from error

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",  # A projection: what a power cut takes is added again.
            "secure_delete=ON",
            "mmap_size=1073741824",
            "cache_size=-4096",  # For each thread; what is read lies in the map.
            "journal_size_limit=67108864",
        ):
            db.execute(f"PRAGMA {pragma}")
        return db


def _generations(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in db.execute("SELECT n FROM generations ORDER BY n")]


def _make(db: sqlite3.Connection, *, is_current: bool) -> int:
    """A new and empty generation; its number was never used before."""
    made = "INSERT INTO generations (is_current, seq) VALUES (?, 0) RETURNING n"
    n = int(db.execute(made, (is_current,)).fetchone()[0])
    for statement in (_DOCS, _FOUND, _DAYS):
        db.execute(statement.format(n=n, tokenize=_TOKENIZE))
    return n


def _drop_others(db: sqlite3.Connection, kept: int) -> None:
    for n in _generations(db):
        if n != kept:
            for name in ("found", "docs", "days"):
                db.execute(f"DROP TABLE {name}_{n}")
            db.execute("DELETE FROM generations WHERE n = ?", (n,))


def _among(n: int, seqs: Sequence[int]) -> tuple[str, tuple[int, int]]:
    """Documents come in ledger order: a repeat lies between the first and the last."""
    span = (min(seqs), max(seqs)) if seqs else (1, 0)
    return f"SELECT seq FROM docs_{n} WHERE seq BETWEEN ? AND ?", span


def _spans(rows: Sequence[tuple[int, str, str, str]]) -> list[tuple[str, int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for seq, at, _, _ in rows:
        low, high = spans.get(at[:10], (seq, seq))
        spans[at[:10]] = (min(low, seq), max(high, seq))
    return [(day, low, high) for day, (low, high) in spans.items()]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """``FROM … WHERE …`` with its values; the documents themselves are read only for a date."""

    rowid: str
    text: str
    values: tuple[Any, ...]


def _choose(db: sqlite3.Connection, n: int, query: Query) -> _Chosen:
    conditions, values = list[str](), list[Any]()
    has_dates = query.since is not None or query.until is not None
    rowid, source = f"found_{n}.rowid", f"FROM found_{n}"
    if not query.terms:
        rowid, source = "docs.seq", f"FROM docs_{n} AS docs"
    elif has_dates:
        source = f"FROM found_{n} CROSS JOIN docs_{n} AS docs ON docs.seq = found_{n}.rowid"
    if query.terms:
        conditions.append(f"found_{n} MATCH ?")
        values.append(" AND ".join(map(_match, query.terms)))
    if has_dates:
        since, until = query.since or "", query.until or "9999"
        # Time grows nearly as the ledger does: the days give narrow bounds, the times the rest.
        low, high = db.execute(
            f"SELECT min(low), max(high) FROM days_{n} WHERE day >= ? AND day <= ?",
            (since[:10], until[:10]),
        ).fetchone()
        conditions += [f"{rowid} BETWEEN ? AND ?", "docs.at >= ?", "docs.at < ?"]
        values += [1 if low is None else low, 0 if high is None else high, since, until]
    return _Chosen(
        rowid=rowid, text=f"{source} WHERE {' AND '.join(conditions)}", values=tuple(values)
    )


def _match(term: Term) -> str:
    return f"({' OR '.join(map(_phrase, term.any_of))})"


def _phrase(tokens: Tokens) -> str:
    """Tokens in quotes are never read as operators; quotes inside are doubled."""
    text = spaced(tokens.tokens).replace('"', '""')
    return f'"{text}"{"*" if tokens.prefix else ""}'
