"""Connections to PostgreSQL that notice when nobody answers any more.

TCP tells of a peer that is gone only where packets come back. Behind a proxy that hangs, or a
firewall that drops everything, a question would otherwise be waited for without end.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, OperationalError
from sqlalchemy.engine import make_url

from shared.addresses import in_turn

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


def connect(url: str, *args: Any, is_patient: bool, **params: Any) -> Connection[Any]:
    """As `psycopg.connect`, with each user and password of ``url`` until one is not refused.

    Of a patient connection the server watches over the other end too.
    """
    kind: type[Connection[Any]] = PatientConnection if is_patient else Connection
    if is_patient:
        params["options"] = f"{SERVER_SIDE} {params.pop('options', '')}".strip()
    *others, last = map(_who, in_turn(url))
    for who in others:
        try:
            return kind.connect(*args, **{**params, **who})
        except OperationalError as error:
            if not (error.pgconn and error.pgconn.used_password):
                raise  # It is not there, or too full: another password does not help.
    return kind.connect(*args, **{**params, **last})


def _who(url: str) -> dict[str, str]:
    parsed = make_url(url)
    found = {"user": parsed.username, "password": parsed.password}
    return {name: value for name, value in found.items() if value is not None}
