"""An answer that is kept for some minutes: what a CRM says of its fields changes rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")

MINUTES: Final = 300.0
# An answer that is younger is believed, whatever hints at another one.
YOUNG: Final = 20.0


class Kept(Generic[T]):
    """``make`` gives the answer for a key; it is asked again after ``seconds``, or when doubted."""

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

    def doubt(self, key: str) -> None:
        """Something hints at another answer: the next question asks for it.

        Not every hint is right, so an answer of the last seconds is kept.
        """
        with self._lock:
            until, _ = self._known.get(key, (0.0, None))
            if until - self._seconds + YOUNG <= self._clock():
                self._known.pop(key, None)

    def last(self, key: str) -> T | None:
        """The answer that is kept, however old."""
        with self._lock:
            return self._known.get(key, (0.0, None))[1]


def expect(kept: Kept[Mapping[str, V]], key: str, names: Iterable[str]) -> None:
    """The CRM uses these names: an answer that does not know all of them is doubted."""
    known = kept.last(key)
    if known is not None and not known.keys() >= set(names):
        kept.doubt(key)
