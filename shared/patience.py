"""Waiting for a server that is slower to start than we are, and saying so."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable

import structlog

from shared.errors import Unavailable

log = structlog.get_logger()
PAUSE, TELL_EVERY = 0.5, 10.0


def patiently(check: Callable[[], None]) -> None:
    """Call ``check`` until it no longer raises `Unavailable`; tell what is missing meanwhile."""
    began = told = time.monotonic() - TELL_EVERY
    while True:
        try:
            check()
        except Unavailable as error:
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                log.info("waiting", why=str(error), seconds=round(told - began - TELL_EVERY))
            time.sleep(PAUSE)
        else:
            return


def migrated(service: str, database_url: str) -> Callable[[], None]:
    """A check that the database of ``service`` is there in the schema this program knows."""

    def check() -> None:
        from shared.db import open_database
        from shared.migrations import require_newest

        engine = open_database(database_url, pooled=False)
        try:
            require_newest(engine, service)
        finally:
            engine.dispose()

    return check


def end_on_sigterm() -> None:
    """Let SIGTERM end a process that still waits; the first in a container ignores it otherwise."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
