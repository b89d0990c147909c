"""A commit wakes the loops that have something to do, on this machine or on another one."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from services.classifier.store import metadata, outbox
from shared.bell import Bell
from shared.bus.wake import Listener
from shared.db import in_schema, make_schema, open_database, writing
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.lease import Lease
from shared.listening import Listening
from shared.looping import Looping
from shared.outbox import UnitOfWork
from shared.service import Loop
from tests.contracts.postgresql import fresh_postgresql
from tests.product import eventually

SPAWN = multiprocessing.get_context("spawn")
# Far longer than any wake-up takes, far shorter than the loop's own pause.
SOON = 5.0
NEVER = 600.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_postgresql() if request.param == "postgresql" else nullcontext() as url:
        yield in_schema(url, "classifier") if url else f"sqlite:///{tmp_path}/classifier.db"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    make_schema(engine)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def tell(engine: Engine, folder: Path, key: str) -> None:
    """One message through the outbox, as every service sends."""
    units = UnitOfWork(engine=engine, outbox=outbox, clock=now, bell=Bell(folder=folder))
    with units.begin() as unit:
        unit.publish(Topic.EVENT_FAILED, FAILED, subject="event/e", key=key)


FAILED = {"event_id": "e", "stage": "classifier", "reason": "x"}


def work(url: str, folder: Path, pipe: Pipe) -> None:
    """A worker's process with one loop that never looks by itself; each round is told."""
    engine = open_database(url)
    stop = SPAWN.Event()
    loop = Loop(name="relay", seconds=NEVER, run=lambda _: pipe.send(time.time()))
    lease = Lease(engine=engine, table=metadata.tables["leases"], name="relay", clock=now)
    looping = Looping(
        name="classifier.relay",
        loop=loop,
        deps=None,
        lease=lease,
        wake_dir=folder,
        stop=stop,  # type: ignore[arg-type]
    )
    loops = frozenset({looping.name})
    Listening(engine=engine, wake_dir=folder, loops=loops, stop=stop).start()  # type: ignore[arg-type]
    looping.run()


@pytest.fixture
def worker(url: str, engine: Engine, tmp_path: Path) -> Iterator[Any]:
    """With another ``WAKE_DIR`` than whoever publishes, where the database reaches that far."""
    folder = tmp_path / "run"
    if engine.dialect.name == "postgresql":
        folder = tmp_path / "of-another-machine"
    folder.mkdir()
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(url, folder, there), daemon=True)
    process.start()
    assert here.poll(60)
    quiet(here)
    yield SimpleNamespace(pipe=here, folder=tmp_path / "run")
    process.kill()
    process.join()


def quiet(pipe: Pipe) -> None:
    """Until nothing has rung for a while: starting rings too."""
    while pipe.poll(1.0):
        pipe.recv()


def test_a_commit_with_a_message_wakes_the_relay(engine: Engine, worker: Any) -> None:
    for key in ("one", "two", "three"):
        begin = time.time()
        tell(engine, worker.folder, key)
        assert worker.pipe.poll(SOON), "the relay was not woken"
        assert worker.pipe.recv() - begin < SOON
        quiet(worker.pipe)


def test_a_commit_without_a_message_and_one_that_fails_wake_nobody(
    engine: Engine, worker: Any
) -> None:
    units = UnitOfWork(engine=engine, outbox=outbox, clock=now, bell=Bell(folder=worker.folder))
    with units.begin():
        pass
    with pytest.raises(ZeroDivisionError), units.begin() as unit:
        unit.publish(Topic.EVENT_FAILED, FAILED, subject="event/e")
        unit.ring("relay")
        raise ZeroDivisionError
    assert not worker.pipe.poll(1.0)


def test_what_is_rung_is_heard_after_the_commit_and_not_before(engine: Engine, worker: Any) -> None:
    with writing(engine) as connection:
        Bell(folder=worker.folder).ring(connection, "classifier.relay")
        assert not worker.pipe.poll(0.5)
    assert worker.pipe.poll(SOON)


def test_another_loops_bell_wakes_nobody_here(engine: Engine, worker: Any) -> None:
    with writing(engine) as connection:
        Bell(folder=worker.folder).ring(connection, "writer.relay")
    assert not worker.pipe.poll(1.0)


def test_it_is_woken_again_after_the_listening_connection_was_killed(tmp_path: Path) -> None:
    with fresh_postgresql() as url, Listener(tmp_path, "classifier.relay") as listener:
        engine = open_database(in_schema(url, "classifier"))
        make_schema(engine)
        metadata.create_all(engine)
        stop = threading.Event()
        loops = frozenset({"classifier.relay"})
        Listening(engine=engine, wake_dir=tmp_path, loops=loops, stop=stop).start()
        assert listener.wait(SOON)
        assert len(_asked(engine, f"SELECT pg_terminate_backend(pid) {LISTENERS}")) == 1
        assert listener.wait(SOON), "the new connection rings for what was missed"
        tell(engine, Path("elsewhere"), "after")
        assert listener.wait(SOON)
        stop.set()
        eventually(lambda: not _asked(engine, f"SELECT pid {LISTENERS}"))
        engine.dispose()


LISTENERS = "FROM pg_stat_activity WHERE query = 'LISTEN countersign_classifier' AND datname = current_database()"


def _asked(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(query))
