"""The log as files that anybody can check with ``verify.py``: entries, checkpoints, key."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from services.audit import reader
from services.audit.deps import Deps
from services.audit.projection import ledger_size
from services.audit.reader import Logged
from services.audit.tables import CHECKPOINTS
from shared.db import reading
from shared.domain.ledger import LedgerEntrySchema
from shared.domain.schema import dump
from shared.domain.topics import Topic

ENTRIES_FILE, CHECKPOINTS_FILE, VKEY_FILE = "entries.jsonl", "checkpoints.jsonl", "log.vkey"


def entry_line(logged: Logged, *, with_bodies: bool) -> str:
    """One line of ``entries.jsonl``."""
    line: dict[str, Any] = dump(LedgerEntrySchema, logged.entry())
    line["leaf"] = logged.leaf
    if logged.body is None:
        line["opened"] = None
    elif with_bodies or logged.topic == Topic.KEY_CHANGED:  # It names nobody, and proves a key.
        line["opened"] = {"salt": logged.salt, "body": logged.body}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def entry_lines(deps: Deps, *, with_bodies: bool, size: int | None = None) -> Iterator[str]:
    """All entries that were there at the start; each step is a short read of its own."""
    upto, seq = ledger_size(deps) if size is None else size, 0
    while seq < upto:
        with reading(deps.engine) as db:
            found = reader.after(db, deps.vault, seq, min(reader.STEP, upto - seq))
        if not found:
            return
        yield from (entry_line(logged, with_bodies=with_bodies) for logged in found)
        seq = found[-1].seq + 1


def checkpoint_lines(deps: Deps) -> list[str]:
    """All checkpoints in the order of signing.

    They are read before the entries are counted: none may say more than the export holds, unless
    the end of the log was cut off.
    """
    query = select(CHECKPOINTS.c.note, CHECKPOINTS.c.at).order_by(CHECKPOINTS.c.size)
    with reading(deps.engine) as db:
        rows = db.execute(query).all()
    lines = ({"note": row.note, "at": row.at} for row in rows)
    return [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]


def write_export(
    deps: Deps,
    folder: Path,
    *,
    with_bodies: bool = True,
    told: Callable[[int], None] = lambda _: None,
) -> int:
    """The three files in ``folder``; returns the number of entries."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = checkpoint_lines(deps)
    size, written = ledger_size(deps), 0
    with (folder / ENTRIES_FILE).open("w", encoding="utf-8") as file:
        for line in entry_lines(deps, with_bodies=with_bodies, size=size):
            file.write(line)
            written += 1
            told(written)
    with (folder / CHECKPOINTS_FILE).open("w", encoding="utf-8") as file:
        file.writelines(checkpoints)
    (folder / VKEY_FILE).write_text(_vkey_lines(deps), encoding="utf-8")
    return written


def zip_stream(deps: Deps) -> Iterator[bytes]:
    """The export as a zip file, made while it is sent; bodies stay closed, so it names nobody."""
    checkpoints = checkpoint_lines(deps)
    size, sink = ledger_size(deps), _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in (
            (ENTRIES_FILE, entry_lines(deps, with_bodies=False, size=size)),
            (CHECKPOINTS_FILE, iter(checkpoints)),
            (VKEY_FILE, iter([_vkey_lines(deps)])),
        ):
            with archive.open(name, "w") as file:
                for line in lines:
                    file.write(line.encode())
                    yield sink.take()
    yield sink.take()


def _vkey_lines(deps: Deps) -> str:
    """Old keys too: what they sealed is in the log."""
    return "".join(f"{vkey.text()}\n" for vkey in deps.vkeys())


class _Sink(io.RawIOBase):
    """What the archive has written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def take(self) -> bytes:
        found = bytes(self._waiting)
        self._waiting.clear()
        return found
