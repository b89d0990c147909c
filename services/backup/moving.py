"""Carrying everything from the files of one machine to servers: the same rows, proofs and messages.

It is a backup that is restored elsewhere at once: people, policy, keys and raw bodies stay in
DATA_DIR, the databases, what waits at the broker and the grants of CRMs go.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import make_url

from services.backup.accounts import carry_grants
from services.backup.manifest import Manifest
from services.backup.restoring import (
    Counted,
    Source,
    opened,
    put_messages,
    put_rows,
    refuse_full_servers,
    root_in,
)
from services.backup.rows import sum_of
from services.backup.taking import MESSAGES, SESSIONS, parsed, tables_of, take
from services.declarations import SERVICES
from services.embedded import prepare_databases
from services.installation import Installation
from services.occupied import MOVED
from shared.bus.depths import depths
from shared.bus.transports.sqlite import file_of
from shared.bus.waiting import queue_of
from shared.db import open_database, reading
from shared.errors import ConfigurationError

NAMES = [*(service.name for service in SERVICES), SESSIONS]


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where everything goes."""

    database_url: str
    broker_url: str

    @property
    def shown(self) -> str:
        """The database without its password."""
        return make_url(self.database_url).render_as_string()


def target_of(home: Installation, servers: Servers) -> Installation:
    """The same folder, with its databases and queues on servers.

    Raises `ConfigurationError` where it has them there already, or the URLs name files.
    """
    if home.run.database_url or home.run.broker_url:
        raise ConfigurationError(
            "DATABASE_URL or BROKER_URL is set: unset both, `migrate` carries what lies in DATA_DIR"
        )
    if make_url(servers.database_url).get_backend_name() != "postgresql":
        raise ConfigurationError("--to-database must be postgresql+psycopg://…")
    if file_of(servers.broker_url) is not None:
        raise ConfigurationError("--to-broker must be pika://…")
    run = replace(home.run, database_url=servers.database_url, broker_url=servers.broker_url)
    return replace(home, run=run)


def weigh(home: Installation, target: Installation, counted: Counted) -> Manifest:
    """What would be carried; nothing is changed. Raises `ConfigurationError` as `move`."""
    refuse_full_servers(target, NAMES)
    with _Packed(home, counted) as source:
        return source.manifest


def move(home: Installation, target: Installation, servers: Servers, counted: Counted) -> Manifest:
    """Carry everything over, compare, and mark the folder as moved.

    A run that was cut off is begun again with an empty database and virtual host. Raises
    `ConfigurationError` for servers that hold something, and naming the first difference.
    """
    refuse_full_servers(target, NAMES)
    with _Packed(home, counted) as source:
        put_rows(target, source, counted)
        prepare_databases(target)
        put_messages(target, source)
        carry_grants(home, target)
        differences = compare(target, source)
        if differences:
            raise ConfigurationError("not the same on the servers: " + "; ".join(differences))
        (home.root / MOVED).write_text(f"{servers.shown}\n", encoding="utf-8")
        return source.manifest


def compare(target: Installation, source: Source) -> list[str]:
    """Every difference between what was packed and what lies on the servers."""
    manifest = source.manifest
    different = list[str]()
    for name in manifest.revisions:
        engine = open_database(target.database(name), pooled=False)
        with reading(engine) as db:
            for table in tables_of(name):
                found, wanted = sum_of(db, table), manifest.tables[f"{name}/{table.name}"]
                if (found.rows, found.digest) != (wanted["rows"], wanted["digest"]):
                    different.append(f"table {name}/{table.name}")
        engine.dispose()
    if root_in(target) != (manifest.reach.entries, manifest.reach.root):
        different.append("the root of the log")
    waiting = Counter(map(queue_of, parsed(source.archive.lines(MESSAGES))))
    there = {queue: count for queue, (count, _) in depths(target.bus_url).items() if count}
    if there != dict(waiting):
        different.append(f"messages at the broker: {there} of {dict(waiting)}")
    return different


class _Packed:
    """Everything in one file beside the databases, for as long as it is being carried."""

    def __init__(self, home: Installation, counted: Counted) -> None:
        self._home, self._counted = home, counted
        self._file: Path = home.root / "migrating.zip"

    def __enter__(self) -> Source:
        self._file.unlink(missing_ok=True)
        take(
            self._home,
            self._file,
            with_files=False,
            with_sessions=True,
            counted=lambda rows: self._counted("Packing", rows),
        )
        return opened(self._file, self._counted)

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
