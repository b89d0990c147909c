"""Sockets that speak HTTP badly: bytes out, the statuses that came back."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from tests.hostile.signing import Request

SECONDS = 20
# The interim answers of RFC 9110 §15.2 are none yet.
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-9]\d\d)")
_HOOK = b"POST /hooks/zapier/hostile HTTP/1.1\r\nHost: x\r\n"
_END = b"Connection: close\r\n\r\n"


def say(port: int, content: bytes, *, patience: float = SECONDS) -> list[int]:
    """The status of each answer; none where the connection was closed without one.

    Our side is closed when nothing came for ``patience`` seconds, so half a request ends there and
    not before: the server gives up on whoever has hung up. Raises `TimeoutError` where it neither
    answers nor hangs up then.
    """
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        said = b""
        try:
            connection.sendall(content)
            connection.settimeout(patience)
            while piece := _next_piece(connection):
                said += piece
        except ConnectionError:
            pass  # It hung up on us, which is an answer too.
    return [int(status) for status in _STATUS.findall(said)]


def _next_piece(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(SECONDS)
        return connection.recv(65536)


def as_bytes(request: Request) -> bytes:
    lines = [f"POST {request.path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(request.body)}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + request.body


def oddities() -> Iterator[tuple[str, bytes]]:
    """``(what is odd, bytes)``, none of which proves a sender: not one of them is to be accepted."""
    yield from _lengths()
    yield from _chunks()
    yield from _heads()
    yield from _forms()


def _lengths() -> Iterator[tuple[str, bytes]]:
    for text in (b"-1", b"+5", b"5.0", b"0x5", b"5 5", b"5,5", b"5,6", b"99999999999", b"1" * 40,
                 b"", b"abc", b"\xef\xbc\x95", b"262145", b"300000000"):  # fmt: skip
        yield f"length {text!r}", _HOOK + b"Content-Length: " + text + b"\r\n" + _END + b"{}   "
    yield "two lengths", _HOOK + b"Content-Length: 2\r\nContent-Length: 5\r\n" + _END + b"{}   "
    yield "no length", _HOOK + _END + b"{}"
    yield "half a body", _HOOK + b"Content-Length: 100\r\n" + _END + b'{"a":'
    yield "a huge body", _HOOK + b"Content-Length: 2000000\r\n" + _END + b" " * 2_000_000


def _chunks() -> Iterator[tuple[str, bytes]]:
    head = _HOOK + b"Transfer-Encoding: chunked\r\n" + _END
    for what, body in {
        "sound": b"2\r\n{}\r\n0\r\n\r\n",
        "no end": b"2\r\n{}\r\n",
        "negative": b"-2\r\n{}\r\n0\r\n\r\n",
        "no number": b"zz\r\n{}\r\n0\r\n\r\n",
        "huge number": b"f" * 17 + b"\r\n{}\r\n",
        "lying": b"1\r\n{}\r\n0\r\n\r\n",
        "extension": b"2;" + b"a" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
        "too many bytes": b"40000\r\n" + b" " * 0x40000 + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    }.items():
        yield f"chunks: {what}", head + body
    both = b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"
    yield "chunks and a length", _HOOK + both + _END + b"2\r\n{}\r\n0\r\n\r\n"
    for coding in (b"gzip, chunked", b"identity", b"xchunked", b"chunked, chunked", b"\x0bchunked"):
        yield (
            f"coding {coding!r}",
            _HOOK + b"Transfer-Encoding: " + coding + b"\r\n" + _END + b"0\r\n\r\n",
        )


def _heads() -> Iterator[tuple[str, bytes]]:
    get = b"GET /hooks/zapier HTTP/1.1\r\nHost: x\r\n"
    yield "flood of headers", get + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + _END
    yield "a huge header", get + b"X-A: " + b"a" * 700_000 + b"\r\n" + _END
    yield "a huge target", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n" + _END
    yield "pipelined", (get + b"\r\n") * 20 + get + _END
    yield "HTTP/0.9", b"GET /hooks/zapier\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    yield "HTTP/3.7", b"GET / HTTP/3.7\r\nHost: x\r\n" + _END
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64
    yield "nothing", b""
    yield "noise", bytes(range(256)) * 20
    yield "half a head", get + b"X-A: "
    yield "half a line", b"POST /hoo"
    yield "no host", b"GET /hooks/zapier HTTP/1.1\r\n" + _END
    yield "two hosts", get + b"Host: y\r\n" + _END
    yield "folded header", get + b"X-A: a\r\n b\r\n" + _END
    yield "space before the colon", get + b"X-A : a\r\n" + _END
    yield "a NUL in a header", get + b"X-A: a\x00b\r\n" + _END
    yield "bare line feeds", get.replace(b"\r", b"") + b"\n"
    yield "upgrade", get + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + _END
    yield "expect", _HOOK + b"Expect: 100-continue\r\nContent-Length: 2\r\n" + _END + b"{}"
    for method in (b"TRACE", b"CONNECT", b"PATCH", b"FOO", b"post", b"A" * 500):
        yield f"method {method[:9]!r}", method + b" /hooks/zapier HTTP/1.1\r\nHost: x\r\n" + _END
    for target in (b"/hooks/%00", b"/hooks/%ff", b"/hooks/zapier/%2e%2e", b"/hooks//", b"/hooks/" + b"a/" * 500,
                   b"*", b"http://x/hooks/zapier", b"//x/hooks", b"/hooks/zapier?%", b"/%", b"/hooks/\xff",
                   b"/search?q=%00", b"/search?q=%ff%fe", b"/search?q=" + b"(" * 3000, b"/raw/%00",
                   b"/stories/%ed%a0%80", b"/api/entries?after=x", b"/changes/%2f"):  # fmt: skip
        yield f"target {target[:20]!r}", b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + _END


def _forms() -> Iterator[tuple[str, bytes]]:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    bodies = {
        "sound": part + b"--b--\r\n",
        "no end": part,
        "many parts": part * 2500 + b"--b--\r\n",
        "no name": part.replace(b'; name="a"', b"") + b"--b--\r\n",
        "a file": part.replace(b'"a"', b'"a"; filename="../../x\x00.exe"') + b"--b--\r\n",
    }
    for boundary in (b"b", b"", b'"', b"b" * 9000, b"\xff"):
        for what, body in bodies.items():
            kind = b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n"
            for source in (b"sendgrid-inbound", b"mailgun-routes"):
                head = b"POST /hooks/" + source + b"/hostile HTTP/1.1\r\nHost: x\r\n" + kind
                length = b"Content-Length: %d\r\n" % len(body)
                yield f"form: {what}, boundary {boundary[:9]!r}", head + length + _END + body
