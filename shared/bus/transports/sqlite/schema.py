"""The tables of a bus file, and how a connection to it is opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Final

from amqp.exceptions import IrrecoverableConnectionError

from shared.errors import ConfigurationError

BUSY_SECONDS: Final = 30.0
# The part of the schema that is made last.
NEWEST: Final = "messages_expiring"
# Kept in the file's own header; 0 are files from before it was kept, with the same tables.
VERSION: Final = 1

# Held while a file is made; and before a fork, so that no child inherits a half-made one.
preparing = threading.Lock()

# A message is ready (no owner) or leased (an owner and the lease's end, in seconds of the
# machine's monotonic clock, which all processes share and nobody sets back). The three indices
# are partial so that each holds only the rows its question is about; without the one on
# `expires_at` a queue of 20,000 is a hundred times slower than one of 500.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS exchanges (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    durable INTEGER NOT NULL,
    auto_delete INTEGER NOT NULL,
    arguments TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queues (
    name TEXT PRIMARY KEY,
    durable INTEGER NOT NULL,
    exclusive INTEGER NOT NULL,
    auto_delete INTEGER NOT NULL,
    arguments TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bindings (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, routing_key, queue)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    expires_at REAL,
    owner TEXT,
    lease_end REAL,
    properties TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_ready ON messages (queue, rank, id)
    WHERE owner IS NULL;
CREATE INDEX IF NOT EXISTS messages_leased ON messages (lease_end)
    WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS messages_expiring ON messages (queue, expires_at)
    WHERE expires_at IS NOT NULL AND owner IS NULL;
"""


def open_file(path: Path, *, durable: bool) -> sqlite3.Connection:
    """A connection in autocommit; ``durable`` ones wait for the disk at each commit.

    `PRAGMA synchronous` is set once per connection and not switched between transactions:
    switching costs a third of the rate of lone puts (measured).
    """
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        db.execute("PRAGMA cache_size = -1024")  # For each of several connections in a process.
        db.execute("PRAGMA secure_delete = ON")  # A message that is gone is gone from the disk.
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    except BaseException:
        db.close()
        raise
    if mode != "wal":
        db.close()
        raise IrrecoverableConnectionError(f"{path} cannot be kept in WAL mode, only in {mode}")
    return db


def prepare_file(path: Path) -> None:
    """Make the file, readable for its owner alone, and its tables.

    Raises `ConfigurationError` for a file that a newer version has made.
    """
    with preparing:
        _create(path)
        db = open_file(path, durable=True)
        try:
            _refuse_newer(path, db)
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (NEWEST,)).fetchone():
                return
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        finally:
            db.close()


def cut_log(path: Path) -> bool:
    """Empty the write-ahead log, which still holds what was taken; ``False``: somebody reads it."""
    db = open_file(path, durable=True)
    try:
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        db.close()


def _refuse_newer(path: Path, db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise ConfigurationError(
            f"{path.name} was made by a newer version ({found}): start that version, "
            "or restore a backup made before the upgrade"
        )


def _create(path: Path) -> None:
    """Only a file that is not there may be opened here.

    Closing a descriptor drops every lock that this process has on the file, those of SQLite
    too: another process would then take itself for the only one and delete the journal.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
