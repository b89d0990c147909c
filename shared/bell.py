"""Ringing a loop of a worker when a transaction commits, wherever that worker runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from shared.bus.wake import notify
from shared.db import after_commit


def channel_of(loop: str) -> str:
    """One for each service in PostgreSQL: nobody wakes for what only another one can do."""
    return f"countersign_{loop.partition('.')[0]}"


@dataclass(frozen=True, kw_only=True)
class Bell:
    """``folder`` holds the sockets of this machine's loops (``WAKE_DIR``)."""

    folder: Path

    def ring(self, connection: Connection, loop: str) -> None:
        """Wake ``<service>.<loop>`` once this write transaction has committed.

        PostgreSQL tells every machine, see `shared.listening`; a file is used on this one only.
        """
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (channel_of(loop), loop))
        else:
            after_commit(connection, partial(notify, self.folder, loop))
