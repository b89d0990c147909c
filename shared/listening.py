"""Hearing what PostgreSQL tells at each commit, and ringing the loops of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine

from shared.bell import channel_of
from shared.bus.wake import notify
from shared.db import translated
from shared.errors import Unavailable

log = structlog.get_logger()
STOP_SECONDS = 1.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Listening:
    """One connection of a worker process. ``loops`` are rung by name through ``wake_dir``.

    While it is lost, the loops look by themselves now and then, as ever.
    """

    engine: Engine
    wake_dir: Path
    loops: frozenset[str]
    stop: threading.Event

    def start(self) -> None:
        """Only PostgreSQL tells; with another database nothing is started."""
        if self.engine.dialect.name == "postgresql":
            threading.Thread(target=self.run, name="listening", daemon=True).start()

    def run(self) -> None:
        """Until told to stop. A connection that is lost is opened again."""
        from psycopg import Error

        while not self.stop.is_set():
            try:
                with translated():
                    self._listen()
            except (Unavailable, Error) as error:
                log.warning("the database wakes nobody", error=type(error).__name__)
                self.stop.wait(PAUSE_SECONDS)

    def _listen(self) -> None:
        pooled = self.engine.raw_connection()
        driver: Any = pooled.driver_connection
        pooled.detach()  # Nobody else's afterwards: it listens until it is closed.
        with driver:
            driver.autocommit = True
            for channel in sorted(set(map(channel_of, self.loops))):
                driver.execute(f"LISTEN {channel}")
            self._ring(self.loops)  # For what was told while nobody listened.
            while not self.stop.is_set():
                self._ring(note.payload for note in driver.notifies(timeout=STOP_SECONDS))

    def _ring(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.loops:
                notify(self.wake_dir, name)
