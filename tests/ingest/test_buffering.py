"""The door on loopback: a request is whole before it takes a thread, and nothing passes for whole."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.hostile import wire
from tests.ingest.senders import change, open_endpoint, post, signed
from tests.ingest.serving import prepare, serving

HEAD = b"POST /hooks/demo-crm HTTP/1.1\r\nHost: x\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    prepare(folder)
    open_endpoint(folder)
    with serving(folder) as (port, _):
        yield port


def stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "ingest.db")) as db:
        return int(db.execute("SELECT count(*) FROM accepted").fetchone()[0])


def signed_head(message: str, body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in signed(message, body).items()]
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
    return head + "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_half_bodies_hold_no_thread(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sender.sendall(HEAD + b"Content-Length: 1000\r\n\r\nhalf")
        began = time.monotonic()
        body = change("1")
        assert post(port, "/hooks/demo-crm", body, signed("beside", body))[0] == 200
        assert time.monotonic() - began < 5


def test_a_body_in_chunks_is_taken_whole(port: int) -> None:
    body = change("2")
    head = signed_head("chunks", body)
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    assert wire.say(port, head + pieces + b"0\r\n\r\n") == [200]


@pytest.mark.parametrize("rest", [b"zz\r\n{}\r\n0\r\n\r\n", b"9\r\n{}", b""], ids=repr)
def test_a_body_in_chunks_that_breaks_off_is_not_taken(
    port: int, folder: Path, rest: bytes
) -> None:
    """The server may take a break for the end; what its sender signed is longer."""
    came, before = change("4"), stored(folder)
    head = signed_head("broken", came + b"{}")
    said = wire.say(port, head + b"%x\r\n%s\r\n" % (len(came), came) + rest, patience=2)
    assert said in ([400], [401], [])
    assert stored(folder) == before


@pytest.mark.parametrize("way", ["announced", "in chunks"])
def test_a_body_beyond_the_limit_is_refused(port: int, way: str) -> None:
    if way == "announced":
        content = HEAD + b"Content-Length: 9000000\r\n" + END
    else:
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        content = HEAD + b"Transfer-Encoding: chunked\r\n" + END + piece * 5 + b"0\r\n\r\n"
    refusals = ([413],) if way == "announced" else ([413], [])
    assert wire.say(port, content, patience=2) in refusals


def test_an_underscore_does_not_pass_for_a_hyphen(port: int) -> None:
    body = change("3")
    headers = {name.replace("-", "_"): value for name, value in signed("odd", body).items()}
    headers["Content-Type"] = headers.pop("Content_Type")
    assert post(port, "/hooks/demo-crm", body, headers)[0] == 401
