"""The door on loopback: a request is whole before it takes a thread, and nothing passes for whole."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hostile import wire
from tests.ingest.senders import change, open_endpoint, post, signed
from tests.ingest.serving import prepare, serving

HEAD = b"POST /hooks/demo-crm HTTP/1.1\r\nHost: x\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("door")
    prepare(folder)
    open_endpoint(folder)
    with serving(folder) as (port, _):
        yield port


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
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
    lines = [f"{name}: {value}" for name, value in signed("chunks", body).items()]
    head += "\r\n".join(lines).encode() + b"\r\n\r\n"
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    assert wire.say(port, head + pieces + b"0\r\n\r\n") == [200]


def test_a_body_in_chunks_that_breaks_off_is_not_taken(port: int) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n" + END
    # The server cannot tell a broken chunk from the last one; what is missing shows afterwards.
    assert wire.say(port, head + b"zz\r\n{}\r\n0\r\n\r\n") in ([400], [401], [])


@pytest.mark.parametrize("way", ["announced", "in chunks"])
def test_a_body_beyond_the_limit_is_refused(port: int, way: str) -> None:
    if way == "announced":
        content = HEAD + b"Content-Length: 9000000\r\n" + END
    else:
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        content = HEAD + b"Transfer-Encoding: chunked\r\n" + END + piece * 5 + b"0\r\n\r\n"
    assert wire.say(port, content, patience=2) in ([413], [])


def test_an_underscore_does_not_pass_for_a_hyphen(port: int) -> None:
    body = change("3")
    headers = {name.replace("-", "_"): value for name, value in signed("odd", body).items()}
    headers["Content-Type"] = headers.pop("Content_Type")
    assert post(port, "/hooks/demo-crm", body, headers)[0] == 401
