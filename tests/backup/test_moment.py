"""What is seen of two databases is one moment, however fast somebody writes to both."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import text

from services.backup.moment import one_moment
from services.embedded import prepare_databases
from services.ingest.store import leases
from services.installation import Installation, RunSettings
from shared.db import open_database, upsert, writing

ROUNDS = 30
FENCE = text("SELECT fence FROM leases WHERE name = 'test'")


def test_nobody_is_seen_to_hear_before_it_was_told(tmp_path: Path) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    prepare_databases(home)
    stop = threading.Event()
    writer = threading.Thread(target=_tell_and_hear, args=(home, stop))
    writer.start()
    seen = set()
    try:
        while len(seen) < ROUNDS:
            with one_moment(home, ["ingest", "writer"]) as moment:
                told, heard = (moment.databases[n].scalar(FENCE) or 0 for n in ("ingest", "writer"))
                assert told - heard in {0, 1}
                seen.add(told)
    finally:
        stop.set()
        writer.join()


def _tell_and_hear(home: Installation, stop: threading.Event) -> None:
    """The same number, first here and then there, again and again."""
    engines = [open_database(home.database(name)) for name in ("ingest", "writer")]
    number = 0
    while not stop.is_set():
        number += 1
        row = {"name": "test", "owner": "x", "fence": number, "until": "x"}
        for engine in engines:
            with writing(engine) as db:
                upsert(db, leases, row, key=["name"])
    for engine in engines:
        engine.dispose()
