"""A circuit breaker: a server that fails again and again is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from shared.errors import ModelUnavailable

log = structlog.get_logger()
FAILURES = 2
REST_SECONDS = 15.0


@dataclass(kw_only=True)
class Breaker:
    """Opens after `FAILURES` in a row; `REST_SECONDS` later one call may try whether it is back.

    Without it each event would wait for a time-out of its own while the others queue up behind it.
    """

    clock: Callable[[], float]
    failures: int = 0
    opened: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES and self.clock() - self.opened < REST_SECONDS

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around one call. Raises `ModelUnavailable` at once while the breaker is open."""
        if self.is_open:
            raise ModelUnavailable("the model's server failed just now and is left alone a while")
        try:
            yield
        except ModelUnavailable:
            self.failures += 1
            self.opened = self.clock()
            if self.is_open:
                log.warning("the model's server is left alone", seconds=REST_SECONDS)
            raise
        self.failures = 0
