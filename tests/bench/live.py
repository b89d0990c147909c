"""A running product of the chosen column, and how the measurements look into it."""

from __future__ import annotations

import http.client
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from services.demonstration import Post
from services.ingest.store import metadata
from services.installation import Installation, RunSettings
from shared.db import open_database, reading
from shared.settings import load_settings
from tests.bench import posts
from tests.bench.column import Column
from tests.bench.facts import tree
from tests.bench.posts import Posts
from tests.product import Product

INTAKE = metadata.tables["accepted"].name
WORKERS = tuple(f"{name}-worker"[:15] for name in ("ingest", "classifier", "writer", "audit"))


class Sender:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, post: Post) -> int:
        self._connection.request("POST", post.path, post.body, dict(post.headers))
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


@dataclass(frozen=True, kw_only=True)
class Live:
    """An installation that runs. ``shared_memory`` is where files of requests lie."""

    product: Product
    column: Column
    shared_memory: Path
    engines: dict[str, Engine] = field(default_factory=dict)

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        return self.product.secrets()

    @cached_property
    def posts(self) -> Posts:
        """Forms of 1.5 KiB that become proposals."""
        return Posts(self.shared_memory, posts.proposing(self.secrets))

    @property
    def home(self) -> Installation:
        return home_of(self.product)

    def pids(self) -> list[int]:
        """The processes of the product and of the servers it uses."""
        return [*self.tree(), *self.column.pids()]

    def tree(self) -> list[int]:
        """The processes of the product alone."""
        assert self.product.process is not None
        return tree(self.product.process.pid)

    def sender(self) -> Sender:
        return Sender(self.product.port)

    def one(self, service: str, query: str, **values: Any) -> Any:
        """The first value of the first row in a service's database, or ``None``."""
        if service not in self.engines:
            self.engines[service] = open_database(self.home.database(service))
        with reading(self.engines[service]) as db:
            return db.scalar(text(query), values)

    def accepted(self) -> int:
        return int(self.one("ingest", f"SELECT count(*) FROM {INTAKE}"))

    def at_rest(self) -> int:
        """`accepted`, when what wrk no longer waits for at the end of a cell is in as well."""
        before = -1
        while (now := self.accepted()) != before:
            before = now
            time.sleep(0.2)
        return now

    def classified(self) -> int:
        """How many events the writer has the answer of: proposals are made in the same commit."""
        return int(self.one("writer", "SELECT count(*) FROM classifications"))

    @contextmanager
    def workers_away(self) -> Iterator[None]:
        """All workers stand still, at a moment when none of them was doing anything."""
        time.sleep(1.5)
        workers = [child for child in self.product.children() if child.name() in WORKERS]
        assert len(workers) == len(WORKERS), [child.name() for child in self.product.children()]
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                os.kill(worker.pid, signal.SIGCONT)


def home_of(product: Product) -> Installation:
    """The installation that the product's own variables mean."""
    run = load_settings(RunSettings, product.environ)
    return Installation(root=run.data_dir.resolve(), run=run)


@contextmanager
def fresh(column: Column) -> Iterator[Live]:
    """An empty installation that runs."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-bench-"))
        memory = stack.enter_context(posts.folder())
        product = Product(folder=Path(name), extra=column.environ).start()
        live = Live(product=product, column=column, shared_memory=memory)
        stack.callback(_end, live)
        yield live


def _end(live: Live) -> None:
    for engine in live.engines.values():
        engine.dispose()
    assert live.product.process is not None
    if live.product.process.poll() is None:
        live.product.stop()


def until(sender: Sender, post: Post, holds: Callable[[], bool], limit: float = 30) -> float:
    """ms from before the POST until it holds; looks every ms."""
    begin = time.perf_counter()
    status = sender.post(post)
    assert 200 <= status < 300, status
    while not holds():
        assert time.perf_counter() - begin < limit, "it did not happen"
        time.sleep(0.001)
    return (time.perf_counter() - begin) * 1000
