"""One moment of every database: all writers stand still while the eyes open, then all go on.

What one service had told and another not yet heard is then in exactly one place: the outbox of the
one, the broker, or the effects of the other. No order of copying one after the other does that,
since messages go both ways between writer and audit; see deploy/decisions/0026.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text

from services.installation import Installation
from shared.bus.transports.sqlite import file_of
from shared.bus.transports.sqlite.waiting import moment, standing_still
from shared.db import open_database, reading, writing


@dataclass(frozen=True, kw_only=True)
class Moment:
    """``databases`` go on seeing this moment; ``bus`` too, where the broker is the embedded one.

    ``stood_still`` is how long nobody could write, in seconds.
    """

    databases: dict[str, Connection]
    bus: sqlite3.Connection | None
    stood_still: float


@contextmanager
def one_moment(home: Installation, names: Sequence[str]) -> Iterator[Moment]:
    """The databases ``names`` as they are now. Raises `StoreUnavailable`, `BrokerUnavailable`."""
    file = file_of(home.bus_url)
    with ExitStack() as eyes, ExitStack() as still:
        engines = {name: open_database(home.database(name)) for name in names}
        for engine in engines.values():
            eyes.callback(engine.dispose)
        started = time.monotonic()
        for engine in engines.values():
            still.enter_context(writing(engine))
        if file is not None:
            still.enter_context(standing_still(file))
        databases = {name: eyes.enter_context(reading(one)) for name, one in engines.items()}
        for database in databases.values():
            # Neither database fixes what a transaction sees before its first look.
            database.execute(text("SELECT version_num FROM alembic_version"))
        bus = eyes.enter_context(moment(file)) if file is not None else None
        still.close()
        yield Moment(databases=databases, bus=bus, stood_still=time.monotonic() - started)
