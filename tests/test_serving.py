"""The server of an open port: strangers who only hold a connection keep nobody out."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.product import ROOT, eventually, free_port

HELD = 1100
LIMIT = 1024
SERVER = """
import resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), hard))
from flask import Flask
from services.serving import serve_waitress
app = Flask("hello")
app.get("/")(lambda: "hello")
serve_waitress(app, "127.0.0.1", int(sys.argv[1]), threads=4)
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Its shell left it 1,024 open files."""
    command = [sys.executable, "-c", SERVER, str(port), str(LIMIT)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            eventually(lambda: answer(port))
            yield server
        finally:
            server.terminate()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def answer(port: int) -> bytes:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sender:
        sender.sendall(GET)
        return sender.recv(12)
    return b""


@pytest.mark.usefixtures("server")
def test_more_connections_than_select_can_hold_keep_nobody_out(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(HELD):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)).sendall(b"G")
        assert answer(port) == b"HTTP/1.1 200"


@pytest.mark.usefixtures("server")
def test_who_sends_nothing_more_is_closed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as sender:
        sender.sendall(GET[:20])
        sender.settimeout(15)
        began = time.monotonic()
        sender.recv(1)
        assert 5 < time.monotonic() - began < 12


def test_it_ends_although_somebody_keeps_a_connection(
    server: subprocess.Popen[bytes], port: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as kept:
        kept.sendall(GET.replace(b"close", b"keep-alive"))
        assert kept.recv(12) == b"HTTP/1.1 200"
        server.terminate()
        assert server.wait(4) == 0
