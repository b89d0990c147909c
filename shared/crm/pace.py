"""A token bucket for the calls to one CRM account, which heeds what the CRM itself says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from shared.errors import CRMUnavailable

LONGEST_PAUSE: Final = 3600.0


class Pace:
    """``rate`` calls a second, ``burst`` at once; no call while the CRM has asked to wait.

    Each process has one for each account: its rate is that process's fixed share of the limit.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._room = burst
        self._at = clock()
        self._closed_until = 0.0

    def take(self, patience: float) -> None:
        """Wait for the place of one call. Raises `CRMUnavailable` beyond ``patience`` seconds."""
        with self._lock:
            wait = self._wait()
            if wait > patience:
                raise CRMUnavailable(f"the CRM's rate limit is reached, wait {wait:.0f} s")
            self._room -= 1
        if wait > 0:
            self._sleep(wait)

    def pause(self, seconds: float) -> None:
        """The CRM asked to wait: no call of ours goes out before."""
        with self._lock:
            until = self._clock() + min(seconds, LONGEST_PAUSE)
            self._closed_until = max(self._closed_until, until)

    def limit(self, remaining: float) -> None:
        """The CRM says how many calls are left at once: never more than that."""
        with self._lock:
            self._refill()
            self._room = min(self._room, remaining)

    def _wait(self) -> float:
        """Seconds until the next place; those already promised lie below zero."""
        self._refill()
        for_room = max(0.0, (1 - self._room) / self._rate)
        return max(for_room, self._closed_until - self._clock())

    def _refill(self) -> None:
        now = self._clock()
        self._room = min(self._burst, self._room + (now - self._at) * self._rate)
        self._at = now
