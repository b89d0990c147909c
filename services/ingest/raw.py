"""The raw store: the bytes as they came, under their hash, until their retention ends.

Bodies up to 64 KiB stay in their row; larger ones and attachments are files below one folder.
Ingest alone writes and expires them.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update

from services.ingest.store import accepted, deliveries, raw_files
from shared.db import insert_new, reading, writing
from shared.domain.schema import rfc3339
from shared.errors import NotFound, StoreUnavailable

IN_ROW = 64 * 1024
FRESH_SECONDS = 3600
GONE = "The stored bytes are gone: their retention is over."


def is_large(content: bytes) -> bool:
    return len(content) > IN_ROW


class RawFiles:
    """Files named by their SHA-256: ``<folder>/<first two digits>/<hash>``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, sha256: str, content: bytes) -> None:
        """On the disk when it returns. Raises `StoreUnavailable`, as on a full disk."""
        path = self._path(sha256)
        temporary = path.with_name(f".{sha256}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_synced(temporary, content)
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreUnavailable("the raw bytes cannot be written") from error

    def read(self, sha256: str) -> bytes:
        """Raises `NotFound` once the retention is over."""
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(GONE) from error

    def remove(self, sha256: str) -> None:
        """Gone from the folder; what was never large has no file."""
        self._path(sha256).unlink(missing_ok=True)

    def register(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Remember until when files are kept; the longest wish counts."""
        if insert_new(connection, raw_files, rows) == len(rows):
            return
        for row in rows:
            longer = (raw_files.c.sha256 == row["sha256"]) & (
                raw_files.c.expires_at < row["expires_at"]
            )
            kept = {"expires_at": row["expires_at"], "source": row["source"]}
            connection.execute(update(raw_files).where(longer).values(**kept))

    def remove_expired(self, engine: Engine, now: datetime) -> int:
        """Delete the files whose time is over; one written again just now stays."""
        over = raw_files.c.expires_at < rfc3339(now)
        removed = 0
        with writing(engine) as connection:
            for sha256 in list(connection.scalars(select(raw_files.c.sha256).where(over))):
                if self._is_fresh(sha256):
                    continue
                self.remove(sha256)
                connection.execute(raw_files.delete().where(raw_files.c.sha256 == sha256))
                removed += 1
        return removed

    def _is_fresh(self, sha256: str) -> bool:
        try:
            return time.time() - self._path(sha256).stat().st_mtime < FRESH_SECONDS
        except FileNotFoundError:
            return False

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def expire(engine: Engine, files: RawFiles, keep: Mapping[str, datetime], now: datetime) -> int:
    """Forget the raw bytes that came before each source's limit; returns how many bodies.

    The rows with their hashes stay: the page says that the bytes are gone.
    """
    forgotten = 0
    for source, limit in keep.items():
        # An id begins with its time in nanoseconds: the oldest rows come first in its index.
        before = f"{int(limit.timestamp() * 1e9):016x}"
        old = (deliveries.c.id < before) & (deliveries.c.source == source)
        waiting = select(accepted.c.delivery_id).where(accepted.c.sent_at.is_(None))
        forget = (
            update(deliveries)
            .where(old, deliveries.c.is_expired == 0, deliveries.c.id.not_in(waiting))
            .values(content=None, is_expired=1)
        )
        with writing(engine) as connection:
            forgotten += connection.execute(forget).rowcount
    files.remove_expired(engine, now)
    return forgotten


@dataclass(frozen=True, kw_only=True)
class RawState:
    """``is_gone``: the bytes were forgotten; their hash stays."""

    sha256: str
    size: int
    received_at: str
    is_gone: bool


def raw_state(engine: Engine, id_: str) -> RawState:
    """Of an accepted happening, or of a request that was set aside. Raises `NotFound`."""
    row = _delivery_of(engine, id_)
    return RawState(
        sha256=row["raw_sha256"],
        size=row["size"],
        received_at=row["received_at"],
        is_gone=bool(row["is_expired"]),
    )


def raw_bytes(engine: Engine, files: RawFiles, id_: str) -> tuple[bytes, str, str]:
    """``(bytes, sha256, media type)`` of an accepted happening or of a request that was set aside.

    Raises `NotFound`, in other words once the retention is over.
    """
    row = _delivery_of(engine, id_)
    if row["is_expired"]:
        raise NotFound(GONE)
    content = row["content"] if row["content"] is not None else files.read(row["raw_sha256"])
    return content, row["raw_sha256"], row["headers"]


def _delivery_of(engine: Engine, id_: str) -> Mapping[str, Any]:
    of_event = select(accepted.c.delivery_id).where(accepted.c.id == id_).scalar_subquery()
    query = select(deliveries).where(deliveries.c.id == func.coalesce(of_event, id_))
    with reading(engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound("There is no such request.")
    return dict(row)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
