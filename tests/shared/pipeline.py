"""A little service over the real broker and a real database, for tests of the frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, MetaData, String, Table

from shared.bell import Bell
from shared.bus.connection import connect
from shared.bus.publisher import Publisher
from shared.bus.topology import declare
from shared.db import open_database
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.outbox import Outbox, Outgoing, Relay, UnitOfWork
from shared.service import Handler, Worker
from shared.worker import Consuming
from tests.databases import fresh_database


@dataclass(frozen=True, kw_only=True)
class Deps:
    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    effects: Table


@dataclass(kw_only=True)
class Pipeline:
    """``effects`` is a table with one row for each effect; nothing makes it unique."""

    folder: Path
    service: str = "audit"
    deps: Deps = field(init=False)

    def __post_init__(self) -> None:
        connection = connect(self.broker_url)
        declare(connection)
        connection.release()
        metadata = MetaData()
        outbox = Outbox(metadata, self.service)
        effects = Table("effects", metadata, Column("message_id", String(64)))
        engine = open_database(fresh_database(self.folder, "service"))
        metadata.create_all(engine)
        unit_of_work = UnitOfWork(
            engine=engine, outbox=outbox, clock=now, bell=Bell(folder=self.folder)
        )
        self.deps = Deps(
            engine=engine, outbox=outbox, unit_of_work=unit_of_work, clock=now, effects=effects
        )

    @property
    def broker_url(self) -> str:
        return f"durable+sqlite:///{self.folder}/bus.db"

    def tell(self, count: int, reason: str = "x") -> list[str]:
        """Publish ``count`` messages through outbox and relay; returns their ids."""
        with self.deps.unit_of_work.begin() as unit:
            sent = [
                unit.publish(
                    Topic.WRITING_STOPPED,
                    {"reason": reason},
                    subject="s",
                    chain=f"c{n}",
                    key=str(n),
                )
                for n in range(count)
            ]
        self.relay()
        return [envelope.id for envelope in sent]

    def relay(self) -> int:
        publisher = Publisher(self.broker_url)
        relay = Relay(
            engine=self.deps.engine, outbox=self.deps.outbox, publisher=publisher, clock=now
        )
        try:
            return relay.drain()
        finally:
            publisher.close()

    def put(self, message_id: str, text: str) -> None:
        publisher = Publisher(self.broker_url)
        publisher.send([Outgoing(id=message_id, topic="writing.stopped", text=text)])
        publisher.close()

    @contextmanager
    def consuming(
        self, handler: Handler, prefetch: int = 20, **more: Any
    ) -> Iterator[threading.Event]:
        """Yields what tells the loop to stop."""
        stop = threading.Event()
        worker = Worker(
            settings=object,
            wire=lambda _: None,
            handlers=dict.fromkeys(Topic, handler),
            prefetch=prefetch,
            **more,
        )
        loop = Consuming(
            name=self.service, worker=worker, deps=self.deps, broker_url=self.broker_url, stop=stop
        )
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

    def note(self, envelope: Any, _: Deps) -> Callable[[Any], None]:
        """A handler with one effect: a row with the message's id."""
        return lambda unit: (
            unit.db.execute(self.deps.effects.insert(), {"message_id": envelope.id}) and None
        )

    def noted(self) -> list[str]:
        with self.deps.engine.connect() as connection:
            return [row.message_id for row in connection.execute(self.deps.effects.select())]


def eventually(holds: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until it holds; fail if it does not in time."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)
