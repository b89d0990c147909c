"""A lease in the database with a fencing number: what must run once runs once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    select,
    update,
)

from shared.db import asking, upsert, writing
from shared.domain.schema import parse_instant, rfc3339
from shared.faultpoints import reached

SECONDS = 15
HALF = timedelta(seconds=SECONDS / 2)


def lease_table(metadata: MetaData) -> Table:
    """The table ``leases`` of one service."""
    return Table(
        "leases",
        metadata,
        Column("name", String, primary_key=True),
        Column("owner", String, nullable=False),
        Column("fence", Integer, nullable=False),
        Column("until", String, nullable=False),
    )


def this_process() -> str:
    """``host:pid``, so that a neighbour can see whether the owner still lives."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """``fence`` grows with each new owner: a paused old owner can be told from the new one."""

    engine: Engine
    table: Table
    name: str
    clock: Callable[[], datetime]
    owner: str = field(default_factory=this_process)

    def take(self) -> int | None:
        """Take or renew the lease: the fencing number, or ``None`` while another holds it.

        While more than half of its time is left, renewing it would be a commit for nothing.
        """
        with asking(self.engine) as connection:
            row = connection.execute(self._query).first()
        if row and row.owner == self.owner and parse_instant(row.until) > self.clock() + HALF:
            return int(row.fence)
        with writing(self.engine) as connection:
            fence = self._take(connection)
        reached("lease.taken")
        return fence

    def _take(self, connection: Connection) -> int | None:
        row = connection.execute(self._query).first()
        now = self.clock()
        is_foreign = row is not None and row.owner != self.owner
        if row and is_foreign and parse_instant(row.until) > now and not is_dead(row.owner):
            return None
        fence = 1 if row is None else row.fence + (row.owner != self.owner)
        until = rfc3339(now + timedelta(seconds=SECONDS))
        values = {"name": self.name, "owner": self.owner, "fence": fence, "until": until}
        upsert(connection, self.table, values, key=["name"])
        return fence

    @cached_property
    def _query(self) -> Select[Any]:
        return select(self.table).where(self.table.c.name == self.name)

    def give_back(self) -> None:
        """Let another process go on at once.

        The row stays: without it the next owner would begin at 1 again, below numbers in use.
        """
        with writing(self.engine) as connection:
            mine = (self.table.c.name == self.name) & (self.table.c.owner == self.owner)
            over = update(self.table).where(mine).values(until=rfc3339(self.clock()))
            connection.execute(over)


def is_dead(owner: str) -> bool:
    """Only a process of this very host can be seen to be dead."""
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
