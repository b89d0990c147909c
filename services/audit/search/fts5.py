"""The embedded search index: SQLite FTS5 in a file of its own."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.audit.search.index import COUNTED, Document, Hits, Page, Position, Sum
from services.audit.search.query import Query, Term, Tokens
from shared.disk import refuse_network_disk
from shared.errors import ConfigurationError, StoreUnavailable

# Every character but spaces and control characters belongs to a token: our own normaliser has
# split the text already. Content lies outside the index, so `rebuild` makes it new from `docs`.
_TABLES = """
CREATE TABLE IF NOT EXISTS docs (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, shown TEXT NOT NULL, tokens TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5 (
    tokens, content='docs', content_rowid='seq', prefix='3', columnsize=0,
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* M* P* S* Co'");
CREATE TABLE IF NOT EXISTS days (day TEXT PRIMARY KEY, low INTEGER, high INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at TEXT);
INSERT OR IGNORE INTO position VALUES (1, 0, NULL);
"""
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
    """A `SearchIndex`. Each thread has its own connection; it survives a fork unopened only."""

    path: Path
    _local: threading.local = field(default_factory=threading.local)

    def create(self) -> None:
        with self._connected() as db:
            db.executescript(_TABLES)

    def drop(self) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM docs")
            db.execute("INSERT INTO found (found) VALUES ('rebuild')")
            db.execute("DELETE FROM days")
            db.execute("UPDATE position SET seq = 0, at = NULL")
        self._shrink()

    def add(self, documents: Sequence[Document], upto: Position) -> None:
        rows = [(d.seq, d.at, d.shown(), " ".join(d.tokens)) for d in documents]
        with self._writing() as db:
            known = {seq for (seq,) in db.execute(*_among([row[0] for row in rows]))}
            rows = [row for row in rows if row[0] not in known]
            db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?)", rows)
            found = [(row[0], row[3]) for row in rows]
            db.executemany("INSERT INTO found (rowid, tokens) VALUES (?, ?)", found)
            db.executemany(
                "INSERT INTO days VALUES (?, ?, ?) ON CONFLICT (day) DO UPDATE SET"
                " low = min(low, excluded.low), high = max(high, excluded.high)",
                _spans(rows),
            )
            db.execute("UPDATE position SET seq = ?, at = ?", (upto.seq, upto.at))

    def search(self, query: Query, page: Page) -> Hits:
        if query.is_empty:
            return Hits(documents=(), total=0, capped=False, next_before=None)
        with self._reading() as db:
            chosen = _choose(db, query)
            counted = f"SELECT count(*) FROM (SELECT 1 {chosen.text} LIMIT {COUNTED + 1})"  # noqa: S608 - fixed text
            total = db.execute(counted, chosen.values).fetchone()[0]
            below = 2**62 if page.before is None else page.before
            rows = db.execute(
                "SELECT seq, shown FROM docs WHERE seq IN ("  # noqa: S608 - as above
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
            db.executemany("DELETE FROM docs WHERE seq = ?", [(seq,) for seq in seqs])
            db.execute("INSERT INTO found (found) VALUES ('rebuild')")
        self._shrink()

    def complete_up_to(self) -> Position:
        with self._reading() as db:
            seq, at = db.execute("SELECT seq, at FROM position").fetchone()
        return Position(seq=seq, at=at)

    def sum(self) -> Sum:
        total, count = hashlib.sha256(), 0
        with self._reading() as db:
            for seq, shown, tokens in db.execute(
                "SELECT seq, shown, tokens FROM docs ORDER BY seq"
            ):
                total.update(f"{seq}\n{shown}\n{tokens}\n".encode(errors="surrogatepass"))
                count += 1
            # The check fails where the index does not say what `docs` says.
            db.execute("INSERT INTO found (found, rank) VALUES ('integrity-check', 1)")
        return Sum(documents=count, digest=total.hexdigest())

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
            "cache_size=-16384",
            "journal_size_limit=67108864",
        ):
            db.execute(f"PRAGMA {pragma}")
        return db


def _among(seqs: Sequence[int]) -> tuple[str, tuple[int, int]]:
    """Documents come in ledger order: a repeat lies between the first and the last."""
    span = (min(seqs), max(seqs)) if seqs else (1, 0)
    return "SELECT seq FROM docs WHERE seq BETWEEN ? AND ?", span


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


def _choose(db: sqlite3.Connection, query: Query) -> _Chosen:
    conditions, values = list[str](), list[Any]()
    has_dates = query.since is not None or query.until is not None
    rowid, source = "found.rowid", "FROM found"
    if not query.terms:
        rowid, source = "docs.seq", "FROM docs"
    elif has_dates:
        source = "FROM found CROSS JOIN docs ON docs.seq = found.rowid"
    if query.terms:
        conditions.append("found MATCH ?")
        values.append(" AND ".join(map(_match, query.terms)))
    if has_dates:
        since, until = query.since or "", query.until or "9999"
        # Time grows nearly as the ledger does: the days give narrow bounds, the times the rest.
        low, high = db.execute(
            "SELECT min(low), max(high) FROM days WHERE day >= ? AND day <= ?",
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
    text = " ".join(tokens.tokens).replace('"', '""')
    return f'"{text}"{"*" if tokens.prefix else ""}'
