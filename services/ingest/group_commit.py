"""Group commit: whoever finds nobody committing commits for all who wait, in one transaction.

There is no timed window: an idle request commits at once, and under load the batch is whatever
came while the commit before was on its way to the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from shared.errors import StoreUnavailable, Unavailable

Entry = TypeVar("Entry")
Result = TypeVar("Result")
LARGEST = 512
PATIENCE = 30.0


class _Ticket(Generic[Entry, Result]):
    """One waiting entry. ``bell`` is held until there is a result or the lead is handed over."""

    __slots__ = ("bell", "entry", "error", "leads", "result")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.bell = threading.Lock()
        self.bell.acquire()

    def outcome(self) -> Result:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class GroupCommit(Generic[Entry, Result]):
    """``commit`` writes a batch in one durable transaction and gives one result per entry.

    It raises `Unavailable` when nothing was written. Made after a fork: it holds locks.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Entry]], Sequence[Result]],
        turn: AbstractContextManager[None],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._commit = commit
        self._turn = turn
        self._patience = patience
        self._mutex = threading.Lock()
        self._waiting: list[_Ticket[Entry, Result]] = []
        self._is_led = False

    def add(self, entry: Entry) -> Result:
        """Wait until the entry is durable. Raises `StoreUnavailable`; then try again."""
        ticket: _Ticket[Entry, Result] = _Ticket(entry)
        with self._mutex:
            self._waiting.append(ticket)
            ticket.leads, self._is_led = not self._is_led, True
        if not ticket.leads:
            self._follow(ticket)
        if ticket.leads:
            self._lead()
        return ticket.outcome()

    def _follow(self, ticket: _Ticket[Entry, Result]) -> None:
        """Wait for the result or for the lead. Raises `StoreUnavailable` after the patience."""
        if ticket.bell.acquire(timeout=self._patience):
            return
        with self._mutex:
            # The bell may have rung just now; it is held again, as if it had been heard in time.
            if ticket.bell.acquire(blocking=False):
                return
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        raise StoreUnavailable("the commit took too long")

    def _lead(self) -> None:
        batch: list[_Ticket[Entry, Result]] = []
        try:
            # First the lock, then the batch: it grows while another process commits.
            with self._turn:
                batch = self._gather()
                self._write(batch)
        except BaseException as error:
            batch = batch or self._gather()
            for ticket in batch:
                ticket.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._hand_over()
            for ticket in batch:
                ticket.bell.release()

    def _gather(self) -> list[_Ticket[Entry, Result]]:
        with self._mutex:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            return batch

    def _write(self, batch: Sequence[_Ticket[Entry, Result]]) -> None:
        """Together; if an entry is at fault, one by one, so that it alone fails."""
        try:
            results = self._commit([ticket.entry for ticket in batch])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - handed to the caller whose entry it is.
            if len(batch) == 1:
                batch[0].error = error
                return
            for ticket in batch:
                self._write([ticket])
            return
        for ticket, result in zip(batch, results, strict=True):
            ticket.result = result

    def _hand_over(self) -> None:
        """The next in line leads, so that nobody commits for others for ever."""
        with self._mutex:
            if not self._waiting:
                self._is_led = False
                return
            following = self._waiting[0]
            following.leads = True
        following.bell.release()
