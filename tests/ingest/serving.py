"""The door alone on the product's own server, as processes of their own.

``python -m tests.ingest.serving FOLDER PORT SIDE WORKERS DATABASE_URL`` serves until it is told to
stop. ``hello`` is a bare Flask application and ``no-commit`` the door without its commit: the other
sides of the benchmarks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_SECONDS = 30
BARE_LIMIT = 1 << 20


def prepare(folder: Path, database: str = "") -> None:
    """Make the tables; the endpoints are the caller's."""
    from services.ingest.store import metadata
    from shared.db import make_schema, open_database

    folder.mkdir(parents=True, exist_ok=True)
    engine = open_database(database or in_file(folder))
    make_schema(engine)
    metadata.create_all(engine)
    engine.dispose()


def in_file(folder: Path) -> str:
    return f"sqlite:///{folder}/ingest.db"


def door(folder: Path, database: str) -> Any:
    """The application with the door of ingest and nothing else, as the product wires it."""
    from services.ingest.service import SERVICE, WebSettings, wire_web
    from shared.web import build_app

    settings = WebSettings(
        database_url=database,
        wake_dir=folder / "run",
        public_url="http://127.0.0.1",
        raw_dir=folder,
        endpoints_file=folder / "endpoints.toml",
        keys_dir=folder / "keys",
    )
    deps = wire_web(settings)
    assert SERVICE.web is not None
    app = build_app([("ingest", SERVICE.web, deps)], None, public_url=settings.public_url)
    app.extensions["ingest"] = deps
    return app


def hello(_: Path, __: str) -> Any:
    from flask import Flask

    app = Flask("hello")

    @app.post("/hooks/<source>")
    def greet(source: str) -> str:
        return "ok" if source else ""

    return app


def no_commit(folder: Path, database: str) -> Any:
    """The same way for each request up to the commit, which is left out."""
    from services.ingest.source import Outcome

    class Nowhere:
        def add(self, _: object) -> Outcome:
            return Outcome.STORED

    app = door(folder, database)
    app.extensions["ingest"].inbox._group = Nowhere()
    return app


def serve(folder: Path, port: int, side: str, workers: int, database: str) -> None:
    """As the product serves on loopback: whatever is behind it, whole requests only."""
    from services.buffering import Buffering
    from services.serving import PoolSettings, buffered, serve_granian

    def bare(application: Any, threads: int) -> Any:
        return Buffering(application, threads, lambda _: BARE_LIMIT)

    load, front = {
        "ingest": (door, buffered),
        "hello": (hello, bare),
        "no-commit": (no_commit, buffered),
    }[side]
    pool = PoolSettings(host="127.0.0.1", port=port, web_workers=workers, web_threads=32)
    serve_granian(pool, lambda: load(folder, database), buffering=front)


@contextmanager
def serving(
    folder: Path, *, side: str = "ingest", workers: int = 2, database: str = ""
) -> Iterator[tuple[int, int]]:
    """``(port, process id of the parent)`` of a running server; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.ingest.serving", str(folder), str(port), side]
    process = subprocess.Popen(
        [*command, str(workers), database or in_file(folder)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_until_open(port, process)
        yield port, process.pid
    finally:
        stop(process)


def kill(parent: int) -> None:
    """SIGKILL to the whole tree at once: no process of it gets to do anything more."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(parent, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        kill(process.pid)
        process.wait(5)


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """The parent listens before its workers can answer: ask for an answer."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(b"GET /hooks/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if s.recv(10):
                return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
