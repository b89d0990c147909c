"""Making a backup while the product runs: one moment of all databases, then copying at leisure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from services.audit.commands import deps_of
from services.backup.accounts import outlines
from services.backup.archive import ArchiveWriter, new_archive
from services.backup.manifest import FORMAT, Manifest, fingerprints, reach_of
from services.backup.moment import Moment, one_moment
from services.backup.on_the_way import OnTheWay
from services.backup.rows import Sum, head_of, kept, lines_of
from services.declarations import SERVICES
from services.ingest.store import raw_files
from services.installation import Installation
from shared import sessions
from shared.bus.transports.sqlite import waiting as embedded
from shared.bus.waiting import Waiting
from shared.domain.schema import now
from shared.domain.topics import AUDIT, INGEST
from shared.errors import ConfigurationError
from shared.migrations import newest

MESSAGES = "messages.jsonl"
SESSIONS = "sessions"
Told = Callable[[int], None]


def files_of(home: Installation) -> tuple[Path, ...]:
    """What is kept beside the databases."""
    return (home.people, home.endpoints, home.mailboxes, home.policy)


def tables_of(name: str) -> Sequence[Table]:
    """The tables that are kept of one database."""
    by_name = {service.name: service.tables for service in SERVICES}
    return kept({**by_name, SESSIONS: sessions.metadata}[name].sorted_tables)


@dataclass(kw_only=True)
class Taking:
    """One backup of ``home`` into ``archive``; ``told`` hears of rows as they are copied."""

    home: Installation
    archive: ArchiveWriter
    moment: Moment
    told: Told
    missing_files: int = 0

    def tables(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, database in self.moment.databases.items():
            for table in tables_of(name):
                copied = self._table(f"{name}/{table.name}", database, table)
                found[f"{name}/{table.name}"] = {"rows": copied.rows, "digest": copied.digest}
        return found

    def _table(self, name: str, database: Connection, table: Table) -> Sum:
        copied = Sum()
        with self.archive.member(f"tables/{name}.jsonl") as put:
            put(head_of(table).encode())
            for line in lines_of(database, table):
                copied.add(line)
                put(line.encode())
                self.told(1)
        return copied

    def messages(self, waiting: Iterable[Waiting]) -> int:
        count = 0
        with self.archive.member(MESSAGES) as put:
            for message in waiting:
                put(json.dumps(asdict(message)).encode() + b"\n")
                count += 1
        return count

    def raw(self) -> None:
        """The bodies that are files. One that has expired since the moment is not missed."""
        query = select(raw_files.c.sha256).order_by(raw_files.c.sha256)
        for sha256 in self.moment.databases[INGEST].scalars(query):
            path = self.home.raw / sha256[:2] / sha256
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                self.missing_files += 1
                continue
            self._file(f"raw/{sha256}", data)

    def files(self, under: str, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.exists():
                self._file(f"{under}/{path.name}", path.read_bytes())

    def outlines(self) -> None:
        """Of the CRM accounts, whose secrets are not in it."""
        for name, data in outlines(self.home).items():
            self._file(f"files/{name}", data)

    def _file(self, name: str, data: bytes) -> None:
        with self.archive.member(name) as put:
            put(data)


def take(
    home: Installation,
    path: Path,
    *,
    with_keys: bool = False,
    with_files: bool = True,
    with_sessions: bool = False,
    counted: Callable[[int], Told] = lambda _: lambda _: None,
) -> Manifest:
    """Write the backup ``path``. ``counted`` gets the number of rows and gives who is told.

    Raises `ConfigurationError` for a file that is there, `StoreUnavailable`, `BrokerUnavailable`.
    """
    names = [service.name for service in SERVICES] + ([SESSIONS] if with_sessions else [])
    with new_archive(path) as archive, one_moment(home, names) as moment:
        _refuse_old(moment)
        told = counted(_rows(moment))
        taking = Taking(home=home, archive=archive, moment=moment, told=told)
        made_at, keys = now(), fingerprints(home.keys)
        messages, unheard = _messages(taking)
        tables = taking.tables()
        if with_files:
            taking.files("files", files_of(home))
            taking.outlines()
            taking.raw()
        if with_keys:
            taking.files("keys", sorted(home.keys.iterdir()))
        manifest = Manifest(
            format=FORMAT,
            made_at=made_at,
            revisions={name: _revision(one) for name, one in moment.databases.items()},
            tables=tables,
            members=archive.members,
            keys=keys,
            with_keys=with_keys,
            reach=reach_of(moment.databases[INGEST], moment.databases[AUDIT]),
            messages=messages,
            unheard=tuple(unheard),
            missing_files=taking.missing_files,
            stood_still=round(moment.stood_still * 1000),
        )
        archive.finish(manifest.text())
    return manifest


def _messages(taking: Taking) -> tuple[int, list[str]]:
    """What waited at the broker, from its file or, where it has none, from the log."""
    if taking.moment.bus is not None:
        return taking.messages(embedded.messages(taking.moment.bus)), []
    deps = deps_of(taking.home)
    try:
        way = OnTheWay(moment=taking.moment, ledger=deps.engine, vault=deps.vault, now=deps.clock())
        return taking.messages(way.messages()), way.unheard
    finally:
        deps.engine.dispose()


def _rows(moment: Moment) -> int:
    return sum(
        database.scalar(select(func.count()).select_from(table)) or 0
        for name, database in moment.databases.items()
        for table in tables_of(name)
    )


def _refuse_old(moment: Moment) -> None:
    for name, database in moment.databases.items():
        if _revision(database) != newest(name):
            raise ConfigurationError(
                f"the {name} database is of another version ({_revision(database)}): "
                "back it up with that one, or start this one once"
            )


def _revision(database: Connection) -> str:
    return str(database.scalar(text("SELECT version_num FROM alembic_version")))


def parsed(lines: Iterator[str]) -> Iterator[Waiting]:
    """The messages of a backup's member."""
    for line in lines:
        yield Waiting(**json.loads(line))
