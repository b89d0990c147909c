"""Connections to PostgreSQL that notice when nobody answers any more.

TCP tells of a peer that is gone only where packets come back. Behind a proxy that hangs, or a
firewall that drops everything, a question would otherwise be waited for without end.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, OperationalError

# As long as SQLite's writers wait for their turn.
ANSWER_SECONDS = 30.0
# Read by the server, which lets go of what a client that is gone has locked, and lets nobody queue
# for a lock as long as a client waits: whoever has given up would still get a turn, one after the
# other, and keep it until its silence is noticed.
SERVER_SIDE = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=30000 -c lock_timeout=15s"
)


class PatientConnection(Connection[Any]):
    """Raises `OperationalError`, and is closed, when a statement has no answer in time.

    Whoever names a time of their own, as in waiting for notices, only hears that it is over.
    """

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_SECONDS)
        except OperationalError as error:
            if type(error).__name__ == "_WaitTimeout":  # Not among psycopg's public names.
                self.pgconn.finish()
                raise OperationalError(f"no answer within {ANSWER_SECONDS:g} s") from error
            raise


def connect(*args: Any, **params: Any) -> PatientConnection:
    """As `psycopg.connect`; the server watches over the connection too."""
    options = f"{SERVER_SIDE} {params.pop('options', '')}".strip()
    return PatientConnection.connect(*args, options=options, **params)
