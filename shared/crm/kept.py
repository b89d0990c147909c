"""An answer that is kept for some minutes: what a CRM says of its fields changes rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MINUTES: Final = 300.0


class Kept(Generic[T]):
    """``make`` gives the answer for a key; it is asked again after ``seconds``, or when dropped."""

    def __init__(
        self,
        make: Callable[[str], T],
        *,
        seconds: float = MINUTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, T]] = {}

    def get(self, key: str) -> T:
        """Lets whatever ``make`` raises through, and keeps nothing then."""
        with self._lock:
            until, value = self._known.get(key, (0.0, None))
        if value is not None and self._clock() < until:
            return value
        fresh = self._make(key)
        with self._lock:
            self._known[key] = (self._clock() + self._seconds, fresh)
        return fresh

    def drop(self, key: str) -> None:
        """The CRM says that it changed."""
        with self._lock:
            self._known.pop(key, None)
