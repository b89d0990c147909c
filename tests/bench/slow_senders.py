"""P6: what good senders get while others hold half heads and half bodies, and how long those last."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import wrk
from tests.bench.column import Column
from tests.bench.facts import tree
from tests.bench.live import Live, fresh
from tests.bench.result import Figure, Found, NotHereError, kept
from tests.bench.scale import ROUNDS, SECONDS, WARM_UP, pick
from tests.product import ROOT, eventually, free_port

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"
HEADS, BODIES = pick(50, 1000, 1000), pick(8, 64, 64)
CLOSED_SECONDS = 10
LARGEST_RATE = 9000
HALF_HEAD = b"POST /hooks/standard-webhooks/demo HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Sl"
HALF_BODY = (
    b"POST /hooks/standard-webhooks/demo HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1536\r\n\r\n" + b"x" * 700
)
# As the product knows loopback it does not buffer; this other way to write it makes it choose the
# server of an open port, without opening one.
OPEN_ADDRESS = {"HOST": "127.1"}


@dataclass(kw_only=True)
class BadSenders:
    """Keeps half requests open: whoever is closed comes again. ``lives`` are seconds until then."""

    port: int
    lives: list[float] = field(default_factory=list)
    _open: dict[socket.socket, tuple[bytes, float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for half in [HALF_HEAD] * HEADS + [HALF_BODY] * BODIES:
            self._connect(half)
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _connect(self, half: bytes) -> None:
        sender = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        sender.sendall(half)
        sender.setblocking(False)
        self._open[sender] = (half, time.monotonic())
        self._selector.register(sender, selectors.EVENT_READ)

    def _watch(self) -> None:
        """Then wait for those that are still open, a little longer than they may last."""
        while not self._ended.is_set():
            for half in self._closed():
                self._connect(half)
        limit = time.monotonic() + CLOSED_SECONDS + 2
        while self._open and time.monotonic() < limit:
            self._closed()
        now = time.monotonic()
        self.lives += [now - since for _, since in self._open.values()]
        for sender in list(self._open):
            sender.close()

    def _closed(self) -> list[bytes]:
        """What those had sent who were closed just now."""
        halves = []
        for key, _ in self._selector.select(timeout=0.1):
            sender = key.fileobj
            assert isinstance(sender, socket.socket)
            with contextlib.suppress(BlockingIOError, OSError):
                if sender.recv(4096):
                    continue  # An answer; the end comes after it.
            half, since = self._open.pop(sender)
            self.lives.append(time.monotonic() - since)
            self._selector.unregister(sender)
            sender.close()
            halves.append(half)
        return halves


@contextmanager
def nginx(port: int) -> Iterator[tuple[int, int]]:
    """``(port, process id)`` of nginx with the shipped configuration before a product on ``port``."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise NotHereError("nginx is not installed: apt-get install nginx-light")
    if not CONFIGURATION.exists():
        raise NotHereError("there is no deploy/nginx/nginx.conf")
    front = free_port()
    with tempfile.TemporaryDirectory(prefix="countersign-nginx-") as name:
        path = Path(name) / "nginx.conf"
        path.write_text(_adapted(CONFIGURATION.read_text(), Path(name), port, front))
        once = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        with (Path(name) / "out").open("wb") as out:
            process = subprocess.Popen(
                [program, "-p", name, "-c", str(path), "-g", once], stdout=out, stderr=out
            )
        try:
            eventually(lambda: _listens(front), 10, (Path(name) / "out").read_text)
            yield front, process.pid
        finally:
            process.terminate()
            process.wait(15)


def _adapted(text: str, folder: Path, port: int, front: int) -> str:
    """The same settings; only names, ports and folders are those of this machine."""
    for name in ("ingest-web", "writer-web", "audit-web", "demo-crm"):
        text = text.replace(f" {name};", f" 127.0.0.1:{port};")
    text = re.sub(r"(http://\$[a-z]+):8000;", r"\1;", text)
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{front};")
    text = text.replace("listen 8081;", f"listen 127.0.0.1:{free_port()};")
    return text.replace(" /tmp/", f" {folder}/").replace("/dev/stdout", f"{folder}/access.log")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def p6_slow_senders() -> Found:
    """Behind nginx as shipped, and on the server that the product chooses for an open port."""
    figures: list[Figure] = []
    rounds: dict[str, Any] = {}
    with fresh(Column(name="embedded")) as live, nginx(live.product.port) as (port, pid):
        figures += _against(live, port, pid, "behind nginx", rounds)
    with fresh(Column(name="embedded", environ=OPEN_ADDRESS)) as live:
        figures += _against(live, live.product.port, 0, "waitress", rounds)
    return Found(figures=tuple(figures), rounds=rounds)


def _against(live: Live, port: int, pid: int, name: str, rounds: dict[str, Any]) -> list[Figure]:
    with live.workers_away():
        _cell(live, port, pid, "warm-up", WARM_UP)
        rounds[name] = [_round(live, port, pid) for _ in range(ROUNDS)]
    found = kept(rounds[name])
    longest = found.most("P6", f"bad connections closed, {name}, s", "longest", CLOSED_SECONDS)
    return [
        found.least("P6", f"accepts beside bad senders ÷ before, {name}", "ratio", 0.9),
        longest,
    ]


def _round(live: Live, port: int, pid: int) -> dict[str, Any]:
    """A B B A, the bad senders at work in the two in the middle."""
    cells = [_cell(live, port, pid, "before", SECONDS)]
    bad = BadSenders(port=port)
    with bad.at_work():
        cells += [_cell(live, port, pid, "beside", SECONDS) for _ in range(2)]
    cells.append(_cell(live, port, pid, "before", SECONDS))
    rates = {
        side: sum(cell.rate for cell in cells if cell.side == side) for side in ("before", "beside")
    }
    assert len(bad.lives) >= HEADS + BODIES
    return {
        "ratio": rates["beside"] / rates["before"],
        "longest": max(bad.lives),
        "held": len(bad.lives),
        "foreign_cores": max(cell.foreign_cores for cell in cells),
        "cells": list(map(vars, cells)),
    }


def _cell(live: Live, port: int, pid: int, side: str, seconds: float) -> wrk.Cell:
    path = live.posts.write(int(LARGEST_RATE * seconds))
    before = live.at_rest()
    cell = wrk.run(
        port,
        path,
        side=side,
        connections=64,
        seconds=seconds,
        own=lambda: [*live.pids(), *(tree(pid) if pid else ())],
    )
    stored = live.at_rest() - before
    assert cell.answers <= stored <= cell.answers + 64, (cell, stored)
    return cell
