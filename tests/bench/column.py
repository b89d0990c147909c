"""The two ways to run: on files alone, and on the real servers. ``COLUMN=distributed`` chooses.

A figure of the other column has no goal unless the goal names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from shared.db import in_schema, make_schema, open_database
from tests.bench.facts import tree
from tests.bench.result import NotHereError
from tests.bench.shipped import shipped
from tests.contracts.elasticsearch import SERVER, search_url
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import MANAGEMENT, URL, virtual_host
from tests.databases import POSTGRESQL

IS_DISTRIBUTED = os.environ.get("COLUMN") == "distributed"


def _nobody() -> list[int]:
    return []


@dataclass(frozen=True, kw_only=True)
class Column:
    """``environ`` goes to the product; ``pids`` are the processes of the servers it uses."""

    name: str
    environ: Mapping[str, str] = field(default_factory=shipped)
    pids: Callable[[], Sequence[int]] = _nobody

    def database(self, folder: Path, service: str) -> str:
        """The URL of one service's database: a file in the folder, or a schema."""
        url = self.environ.get("DATABASE_URL")
        return in_schema(url, service) if url else f"sqlite:///{folder}/{service}.db"

    def engine(self, folder: Path, service: str) -> Engine:
        """Open it; a schema that is not there is made."""
        engine = open_database(self.database(folder, service))
        make_schema(engine)
        return engine


EMBEDDED = Column(name="embedded")


@contextmanager
def chosen() -> Iterator[Column]:
    """The column that was asked for."""
    if not IS_DISTRIBUTED:
        yield EMBEDDED
        return
    with distributed() as column:
        yield column


@contextmanager
def distributed() -> Iterator[Column]:
    """A virtual host, a database and an index of its own. Raises `NotHereError` without a server."""
    with ExitStack() as stack:
        environ = {
            **shipped(),
            "BROKER_URL": stack.enter_context(rabbitmq()),
            "DATABASE_URL": stack.enter_context(postgresql()),
            "SEARCH_URL": stack.enter_context(elasticsearch()),
        }
        yield Column(name="distributed", environ=environ, pids=server_pids)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """The URL of a fresh virtual host."""
    try:
        requests.get(f"{MANAGEMENT}/api/overview", timeout=5)
    except requests.RequestException as error:
        raise NotHereError("no RabbitMQ: deploy/dev/services start rabbitmq") from error
    with virtual_host() as host:
        yield host.url


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a fresh database."""
    engine = create_engine(POSTGRESQL, connect_args={"connect_timeout": 5}, poolclass=NullPool)
    try:
        engine.connect().close()
    except OperationalError as error:
        raise NotHereError("no PostgreSQL: deploy/dev/services start postgresql") from error
    with fresh_postgresql() as url:
        yield url


@contextmanager
def elasticsearch() -> Iterator[str]:
    """A search URL whose indices are all new."""
    try:
        requests.get(f"{SERVER}/_cluster/health", timeout=20).raise_for_status()
    except requests.RequestException as error:
        raise NotHereError("no Elasticsearch: deploy/dev/services start elasticsearch") from error
    with search_url() as url:
        yield url


def server_versions() -> dict[str, str]:
    """Of the real servers that are up."""
    found = {}
    with suppress(requests.RequestException):
        user, password = urlsplit(URL).username, urlsplit(URL).password
        answer = requests.get(
            f"{MANAGEMENT}/api/overview", auth=(user or "", password or ""), timeout=5
        )
        found["rabbitmq"] = str(answer.json()["rabbitmq_version"])
    with suppress(requests.RequestException):
        nodes = requests.get(f"{SERVER}/_nodes/_local", timeout=5).json()["nodes"]
        found["elasticsearch"] = str(next(iter(nodes.values()))["version"])
    with suppress(OperationalError):
        engine = create_engine(POSTGRESQL, connect_args={"connect_timeout": 5}, poolclass=NullPool)
        with engine.connect() as connection:
            found["postgresql"] = str(connection.exec_driver_sql("SHOW server_version").scalar())
    return found


def server_pids() -> list[int]:
    """The processes of the real servers, as many as they are now."""
    ports = (urlsplit(URL).port, urlsplit(POSTGRESQL).port, urlsplit(SERVER).port)
    return [pid for port in ports for pid in tree(listener(port or 0))]


@cache
def listener(port: int) -> int:
    """`listener_now`, looked for once: the shared servers stay."""
    return listener_now(port)


def listener_now(port: int) -> int:
    """The process that listens on this port; 0 where nobody does."""
    found = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    return min((pid for pid in found if pid), default=0)
