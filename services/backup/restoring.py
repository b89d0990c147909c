"""Restoring a backup into an empty place: checked before anything is touched, proved afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import inspect

from services.audit.ledger import edge_of
from services.backup.accounts import OUTLINES
from services.backup.archive import Archive
from services.backup.manifest import Manifest, is_known_key, read_manifest
from services.backup.rows import advance_sequences, insert_lines
from services.backup.taking import MESSAGES, Told, files_of, parsed, tables_of
from services.embedded import prepare_databases
from services.installation import Installation
from services.occupied import LOCK, unfinished
from shared.bus.depths import depths
from shared.bus.publisher import Publisher
from shared.db import make_schema, open_database, reading, writing
from shared.errors import BadPayload, ConfigurationError
from shared.keys import write_secret
from shared.migrations import migrate_to

BATCH = 200
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What may lie in a folder that counts as empty: keys that were put there for the restore.
EXPECTED = frozenset({"keys", LOCK})
Counted = Callable[[str, int], Told]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup that was read through once and found to be what its manifest says."""

    archive: Archive
    manifest: Manifest


def opened(path: Path, counted: Counted) -> Source:
    """Raises `BadPayload` for a backup that is damaged, and for one of a newer version."""
    archive = Archive(path)
    manifest = read_manifest(archive.manifest)
    size = sum(member.size for member in manifest.members.values())
    archive.check(dict(manifest.members), counted("Checking", size))
    return Source(archive=archive, manifest=manifest)


def refuse_occupied(home: Installation, names: list[str]) -> None:
    """Raises `ConfigurationError` naming what already lies where the backup would go."""
    if home.root.exists():
        found = sorted({path.name for path in home.root.iterdir()} - EXPECTED)
        if found:
            raise ConfigurationError(
                f"{home.root} is not empty ({', '.join(found[:5])}): move it away first; "
                "`--left-over` then tells what the backup lacks of it"
            )
    refuse_full_servers(home, names)


def refuse_full_servers(home: Installation, names: list[str]) -> None:
    """The same for the servers that the installation names."""
    if home.run.database_url:
        for name in names:
            engine = open_database(home.database(name))
            with reading(engine) as db:
                has_tables = bool(inspect(db).get_table_names())
            engine.dispose()
            if has_tables:
                raise ConfigurationError(
                    f"the database has tables in schema {name} already: give an empty database"
                )
    if home.run.broker_url:
        full = [queue for queue, (waiting, _) in depths(home.bus_url).items() if waiting]
        if full:
            raise ConfigurationError(
                f"messages wait at the broker ({', '.join(full)}) that are not of this backup: "
                "give an empty virtual host"
            )


def restore(home: Installation, source: Source, keys: Path | None, counted: Counted) -> None:
    """Put everything where this installation has it; the folder was found empty.

    ``keys`` is the folder they were copied to, where the backup holds none. Raises
    `ConfigurationError` for other keys than the backup's, before anything is written.
    """
    _refuse_other_keys(home, source, keys)
    with unfinished(home.root, "a restore"):
        put_keys(home, source, keys)
        put_files(home, source.archive)
        put_rows(home, source, counted)
        prepare_databases(home)
        put_messages(home, source)


def _refuse_other_keys(home: Installation, source: Source, keys: Path | None) -> None:
    folder = keys or (home.keys if home.keys.exists() else None)
    if folder is not None:
        refuse_other_keys(folder, source.manifest)
    elif not source.manifest.with_keys:
        raise ConfigurationError(
            "the backup holds no keys: say with --keys in which folder they were kept"
        )


def refuse_other_keys(folder: Path, manifest: Manifest) -> None:
    """Raises `ConfigurationError` naming the keys that the backup was not made with."""
    other = [
        name for name, wanted in manifest.keys.items() if not is_known_key(folder, name, wanted)
    ]
    if other:
        raise ConfigurationError(
            f"the keys in {folder} are not those of the backup ({', '.join(other)}): "
            "with them nothing in it could be read or proved"
        )


def put_keys(home: Installation, source: Source, keys: Path | None) -> None:
    """From the folder that was given, else from the backup, else they lie there already."""
    given: dict[str, bytes] = {}
    if keys is not None and keys.resolve() != home.keys:
        given = {one.name: one.read_bytes() for one in keys.iterdir() if one.is_file()}
    elif not home.keys.exists():
        given = _members(source.archive, "keys", NAME)
    home.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, data in given.items():
        write_secret(home.keys / name, data)
    refuse_other_keys(home.keys, source.manifest)


def put_files(home: Installation, archive: Archive) -> None:
    """People, policy, endpoints and the bodies that are files."""
    for path in (*files_of(home), *(home.root / name for name in OUTLINES.values())):
        if f"files/{path.name}" in archive.names:
            write_secret(path, archive.read(f"files/{path.name}"))
    for member in archive.names:
        folder, _, sha256 = member.partition("/")
        if folder == "raw" and SHA256.fullmatch(sha256):
            path = home.raw / sha256[:2] / sha256
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(path, archive.read(member))
    os.sync()


def put_rows(home: Installation, source: Source, counted: Counted) -> None:
    """Every table at the revision of the backup, each service in one commit.

    Raises `BadPayload` where a table does not end up as the manifest says.
    """
    manifest = source.manifest
    told = counted("Restoring", manifest.rows)
    for name, revision in manifest.revisions.items():
        engine = open_database(home.database(name), pooled=False)
        make_schema(engine)
        migrate_to(engine, name, revision)
        wanted = {key: row for key, row in manifest.tables.items() if key.startswith(f"{name}/")}
        with writing(engine) as db:
            for key, table in wanted.items():
                lines = source.archive.lines(f"tables/{key}.jsonl")
                found = insert_lines(db, key.partition("/")[2], lines, told)
                if (found.rows, found.digest) != (table["rows"], table["digest"]):
                    raise BadPayload(f"{key} in the backup is not what its manifest says")
            advance_sequences(db, tables_of(name))
        engine.dispose()


def put_messages(home: Installation, source: Source) -> None:
    """Everything that waited at the broker, at its place again."""
    publisher = Publisher(home.bus_url)
    waiting = parsed(source.archive.lines(MESSAGES))
    while some := list(islice(waiting, BATCH)):
        publisher.put(some)
    publisher.close()


def root_in(home: Installation) -> tuple[int, str]:
    """Size and root (hex) of the log as it lies in this installation."""
    engine = open_database(home.database("audit"), pooled=False)
    with reading(engine) as db:
        frontier = edge_of(db).frontier
    engine.dispose()
    return frontier.size, frontier.root().hex()


def _members(archive: Archive, folder: str, form: re.Pattern[str]) -> dict[str, bytes]:
    names = [name for name in archive.names if name.startswith(f"{folder}/")]
    return {
        name.partition("/")[2]: archive.read(name)
        for name in names
        if form.fullmatch(name.partition("/")[2])
    }
