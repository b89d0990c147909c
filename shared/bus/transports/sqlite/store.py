"""A bus file as one process sees it: its connections, write transactions, and wake-ups."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from amqp.exceptions import (
    ConsumerCancelled,
    IrrecoverableConnectionError,
    RecoverableConnectionError,
)

from shared.bus import wake
from shared.bus.transports.sqlite.schema import open_file, prepare_file, preparing
from shared.bus.transports.sqlite.transaction import Transaction
from shared.disk import refuse_network_disk
from shared.errors import StoreUnavailable
from shared.process_lock import ProcessLock

READY: Final = (
    "SELECT EXISTS (SELECT 1 FROM queues WHERE name = ?1), EXISTS (SELECT 1 FROM messages"
    " INDEXED BY messages_ready WHERE queue = ?1 AND owner IS NULL)"
)
NEXT_EXPIRY: Final = (
    "SELECT min((SELECT expires_at FROM messages INDEXED BY messages_expiring"
    " WHERE queue = name AND owner IS NULL AND expires_at IS NOT NULL"
    " ORDER BY expires_at LIMIT 1)) FROM queues"
)
LEASE_ENDS: Final = (
    "SELECT min(lease_end), max(lease_end) FROM messages INDEXED BY messages_leased"
    " WHERE owner IS NOT NULL"
)


class Outlook(NamedTuple):
    """What a look at the file showed: ``expiry`` in epoch seconds, leases in monotonic ones."""

    is_ready: bool
    expiry: float | None
    first_lease_end: float | None
    last_lease_end: float | None


class Store:
    """Two connections, since a put waits for the disk (FULL) and a lease need not (NORMAL).

    One lock serialises the threads of a process. SQLite connections must not cross a fork: they
    are closed before one and reopened afterwards; in the child the store is of no use.
    https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_file_across_a_fork_
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.wake_folder = path.with_name(f"{path.name}.wake")
        self._turn = ProcessLock(path.with_name(f"{path.name}.turn"))
        self._pid = os.getpid()
        self._open: dict[bool, sqlite3.Connection] = {}
        self._closed = False
        refuse_network_disk(path)
        with _translated():
            prepare_file(path)
        _stores.add(self)

    @property
    def is_usable(self) -> bool:
        return not self._closed and self._pid == os.getpid()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[Transaction]:
        """One write transaction, and a wake-up for each queue that got messages.

        Raises `RecoverableConnectionError` where the file is locked, full or unreadable.
        """
        self._check()
        with self.lock, _translated(), self._turn:
            db = self._connection(durable=durable)
            db.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(db)
                yield transaction
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        for queue in transaction.touched:
            wake.notify(self.wake_folder, queue)

    def look(self, queues: Sequence[str]) -> Outlook:
        """Whether messages wait, and when the next one may. Raises `ConsumerCancelled`."""
        self._check()
        with self.lock, _translated():
            db = self._connection(durable=False)
            found = [(queue, *db.execute(READY, (queue,)).fetchone()) for queue in queues]
            expiry = db.execute(NEXT_EXPIRY).fetchone()[0]
            first, last = db.execute(LEASE_ENDS).fetchone()
        for queue, is_there, _ in found:
            if not is_there:
                raise ConsumerCancelled(f"queue '{queue}' was deleted")
        return Outlook(any(waits for _, _, waits in found), expiry, first, last)

    def close(self) -> None:
        if self.is_usable:
            with self.lock:
                self._closed = True
                self.close_files()

    def close_files(self) -> None:
        """Close the connections; the next use opens them again."""
        for db in self._open.values():
            db.close()
        self._open.clear()
        self._turn.close()

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise RecoverableConnectionError("the connection was made before a fork")
        if self._closed:
            raise RecoverableConnectionError("the connection is closed")

    def _connection(self, *, durable: bool) -> sqlite3.Connection:
        self._check()
        if durable not in self._open:
            self._open[durable] = open_file(self.path, durable=durable)
        return self._open[durable]


def release_owner(path: str | Path, owner: int | str) -> int:
    """Give back at once what a dead process had leased; returns how many deliveries.

    ``owner`` is a process id, or the beginning of an owner's name (``<pid>.<token>.<channel>``).
    Without this the leases end by themselves after 15 seconds.
    """
    prefix = f"{owner}." if isinstance(owner, int) else owner
    store = Store(Path(path))
    try:
        with store.transaction(durable=False) as transaction:
            return transaction.give_back_all(prefix)
    finally:
        store.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RecoverableConnectionError(f"bus file: {error}") from error
    except sqlite3.DatabaseError as error:
        raise IrrecoverableConnectionError(f"bus file: {error}") from error
    except StoreUnavailable as error:
        raise RecoverableConnectionError(f"bus file: {error}") from error
    except OSError as error:
        raise RecoverableConnectionError(f"bus file: {error.strerror}") from error


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_frozen: list[Store] = []


def _before_fork() -> None:
    preparing.acquire()
    _frozen.extend(_stores)
    for store in _frozen:
        store.lock.acquire()
        store.close_files()


def _after_fork() -> None:
    for store in _frozen:
        store.lock.release()
    _frozen.clear()
    preparing.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
