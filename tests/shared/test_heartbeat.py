"""A loop that moves is alive, one that hangs is late, and one that ended is not missed."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from shared.heartbeat import GRACE, Heart, forget, overdue, why_not_alive


def late(folder: Path, name: str, seconds: float) -> None:
    past = time.time() - seconds
    os.utime(folder / f"{name}.beat", (past, past))


def test_a_loop_that_beats_is_alive_however_long_it_rests(tmp_path: Path) -> None:
    Heart(tmp_path, "writer.retention").beat(3600)
    assert why_not_alive(tmp_path, "writer") is None
    due = (tmp_path / "writer.retention.beat").stat().st_mtime
    assert 3500 < due - time.time() - GRACE < 3601


def test_a_loop_that_hangs_is_named_and_the_others_do_not_hide_it(tmp_path: Path) -> None:
    for name in ("writer.relay", "writer.consumer", "audit.relay"):
        Heart(tmp_path, name).beat()
    late(tmp_path, "writer.relay", 30)
    assert why_not_alive(tmp_path, "writer") == "writer.relay is 30 s late"
    assert why_not_alive(tmp_path, "audit") is None
    assert overdue(tmp_path)["writer.relay"] > 29


def test_a_worker_that_never_began_is_dead(tmp_path: Path) -> None:
    assert why_not_alive(tmp_path, "audit") == "no loop of audit has begun"


def test_what_ended_or_was_forgotten_is_not_missed(tmp_path: Path) -> None:
    heart = Heart(tmp_path, "audit.relay")
    heart.beat()
    heart.stop()
    Heart(tmp_path, "ingest.relay").beat()
    forget(tmp_path, "ingest")
    assert overdue(tmp_path) == {}


def test_a_running_loop_beats_by_itself(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from sqlalchemy import MetaData

    from shared.db import open_database
    from shared.lease import Lease, lease_table
    from shared.looping import Looping
    from shared.service import Loop

    metadata = MetaData()
    table = lease_table(metadata)
    engine = open_database(f"sqlite:///{tmp_path}/x.db")
    metadata.create_all(engine)
    stop, ran = threading.Event(), threading.Event()
    lease = Lease(engine=engine, table=table, name="relay", clock=lambda: datetime.now(UTC))
    loop = Loop(name="relay", seconds=0.01, run=lambda _: ran.set())
    thread = Looping(
        name="test.relay", loop=loop, deps=None, lease=lease, wake_dir=tmp_path, stop=stop
    ).start()
    assert ran.wait(5)
    assert why_not_alive(tmp_path, "test") is None
    stop.set()
    thread.join(5)
    assert overdue(tmp_path) == {}
    engine.dispose()
