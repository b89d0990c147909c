"""Runs in which a disk is full: a small file system of its own is filled up and emptied again.

Needs the right to mount a tmpfs. The CRM, an outside system, keeps a disk of its own. That nothing
is written while the log is full follows from the books: no effect before its intent and receipt.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.contracts.postgresql import fresh_postgresql
from tests.faults.columns import EMBEDDED, Column, distributed
from tests.faults.killing import play
from tests.faults.servers import OWN
from tests.faults.stage import Ended

FULL_SECONDS, REST_SECONDS = 12.0, 6.0
# With less room a product is not ready from the start.
SIZE = "320m"
# Without room for the inbox nothing can be promised: the sender must come again.
HONEST = {"503", "ReadTimeout"}
FILES = {"log": "audit.db", "broker": "bus.db", "index": "search.db", "inbox": "ingest.db"}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A mounted tmpfs. Raises `PermissionError` where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=777", "tmpfs", str(folder)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        raise PermissionError("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left inside."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    try:
        yield
    finally:
        ballast.unlink()


def of_a_file(name: str, folder: Path, seed: int, *, times: int = 4) -> Ended:
    """One file of the embedded form lies on the small disk."""
    with small_disk(folder / "small") as disk:
        data = folder / "data"
        data.mkdir(parents=True)
        (data / FILES[name]).symlink_to(disk / FILES[name])
        return _filled(EMBEDDED, disk, folder, seed, times, name)


def of_everything(folder: Path, seed: int, *, times: int = 4) -> Ended:
    """The whole of DATA_DIR."""
    with small_disk(folder / "data") as disk:
        (folder / "crm").mkdir()
        (disk / "crm.db").symlink_to(folder / "crm" / "crm.db")
        return _filled(EMBEDDED, disk, folder, seed, times, "everything")


def of_postgresql(folder: Path, seed: int, *, times: int = 4) -> Ended:
    """The tablespace of the database; RabbitMQ has room."""
    OWN.start("rabbitmq", "postgresql")
    with small_disk(Path(f"/tmp/faults-tablespace-{os.getpid()}")) as disk:
        with _tablespace(disk) as options:
            with distributed() as whole, fresh_postgresql(OWN.addresses.postgresql, options) as url:
                column = replace(whole, urls={**whole.urls, "DATABASE_URL": url})
                return _filled(column, disk, folder, seed, times, "postgresql")


@contextmanager
def _tablespace(disk: Path) -> Iterator[str]:
    from sqlalchemy import create_engine

    place = disk / "space"
    place.mkdir(mode=0o700)
    if os.getuid() == 0:
        subprocess.run(["chown", "postgres", str(place)], check=True)
    admin = create_engine(OWN.addresses.postgresql, isolation_level="AUTOCOMMIT")
    name = f"small_{os.getpid()}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION '{place}'")
    try:
        yield f"TABLESPACE {name}"
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP TABLESPACE {name}")
        admin.dispose()


def of_rabbitmq(folder: Path, seed: int, *, times: int = 4) -> Ended:
    """The broker's own alarm: it takes nothing while less than its limit is free."""
    OWN.start("rabbitmq", "postgresql")
    with distributed() as column:

        def act() -> tuple[int, Mapping[str, Any]]:
            for _ in range(times):
                time.sleep(REST_SECONDS)
                OWN.rabbitmqctl("set_disk_free_limit", "900000GB")
                time.sleep(FULL_SECONDS + 10)  # Longer than a publish waits for its confirm.
                OWN.rabbitmqctl("set_disk_free_limit", "50MB")
            return times, {}

        return _judged(play(column, folder, seed, act), allowed=set())


def _filled(column: Column, disk: Path, folder: Path, seed: int, times: int, name: str) -> Ended:
    def act() -> tuple[int, Mapping[str, Any]]:
        for _ in range(times):
            time.sleep(REST_SECONDS)
            with full(disk):
                time.sleep(FULL_SECONDS)
        return times, {}

    holds_the_inbox = name in {"inbox", "everything", "postgresql"}
    allowed = HONEST if holds_the_inbox else set[str]()
    return _judged(play(column, folder, seed, act), allowed=allowed)


def _judged(ended: Ended, *, allowed: set[str]) -> Ended:
    wrong = {said: times for said, times in ended.refused.items() if said not in allowed}
    if not wrong:
        return ended
    return replace(ended, differences=[*ended.differences, f"the intake answered {wrong}"])


ROUNDS = (
    *((name, partial(of_a_file, name)) for name in FILES),
    ("everything", of_everything),
    ("postgresql", of_postgresql),
    ("rabbitmq", of_rabbitmq),
)
