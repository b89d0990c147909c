"""A demo CRM that misbehaves on cue: WSGI middleware with a fault per call, over real sockets."""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
# Longer than any time-out in the tests; a hanging call ends when the server does.
HANG_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What one call meets. ``has_effect``: the CRM does its work before things go wrong.

    ``kind``: none, late (answers after ``seconds``), hang, cut (the connection ends without an
    answer), cut-body, drip (a byte at a time), twice (the network brings the call a second time),
    status (``status``, ``headers``, ``body``).
    """

    kind: str = "none"
    has_effect: bool = False
    seconds: float = 0.0
    status: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b'{"error":{"code":"scripted","message":"scripted fault"}}'


def status(
    code: int, body: bytes | None = None, *, has_effect: bool = False, **headers: str
) -> Fault:
    more = {} if body is None else {"body": body}
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Fault(kind="status", status=code, headers=pairs, has_effect=has_effect, **more)


def method_of(environ: dict[str, Any]) -> str:
    return str(environ["REQUEST_METHOD"])


@dataclass
class FaultyCrm:
    """``script`` queues faults for coming calls of one kind; every call is kept in ``calls``.

    ``kind`` says which kind a call is: its method, or read and write where POST may be either.
    ``times`` says of each call when it came, by `time.monotonic`.
    """

    app: Wsgi
    kind: Callable[[dict[str, Any]], str] = method_of
    calls: list[tuple[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def script(self, kind: str, *faults: Fault) -> None:
        self.faults.setdefault(kind, deque()).extend(faults)

    def arrivals(self, is_wanted: Callable[[tuple[str, str]], bool]) -> list[float]:
        return [at for call, at in zip(self.calls, self.times, strict=True) if is_wanted(call)]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.times.append(time.monotonic())
        self.calls.append((method_of(environ), environ["PATH_INFO"]))
        queue = self.faults.get(self.kind(environ))
        fault = queue.popleft() if queue else Fault()
        if fault.kind == "none":
            return self.app(environ, start_response)
        if fault.kind == "twice":
            return self._twice(environ, start_response)
        body = self._effect(environ) if fault.has_effect else b'{"id":"1001"}'
        return self._misbehave(fault, environ, start_response, body)

    def _twice(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = list(self.app({**environ, "wsgi.input": io.BytesIO(body)}, start_response))
        self._effect({**environ, "wsgi.input": io.BytesIO(body)})
        return answer

    def _effect(self, environ: dict[str, Any]) -> bytes:
        return b"".join(self.app(environ, lambda *_: None))

    def _misbehave(
        self, fault: Fault, environ: dict[str, Any], start_response: Any, body: bytes
    ) -> Iterable[bytes]:
        json_type = ("Content-Type", "application/json")
        if fault.kind == "late":
            self.over.wait(fault.seconds)
            return self.app(environ, start_response)
        if fault.kind == "hang":
            self.over.wait(HANG_S)
            _cut(environ)
        if fault.kind == "cut":
            _cut(environ)
        if fault.kind == "status":
            length = ("Content-Length", str(len(fault.body)))
            start_response(f"{fault.status} Scripted", [json_type, length, *fault.headers])
            return [fault.body]
        start_response("200 OK", [json_type, ("Content-Length", str(len(body)))])
        return self._drip(body, environ) if fault.kind == "drip" else self._half(body, environ)

    def _drip(self, body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
        for byte in body:
            yield bytes([byte])
            if self.over.wait(0.05):
                _cut(environ)

    def _half(self, body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        _cut(environ)


def _cut(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("scripted")


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        return


@contextmanager
def served(app: Wsgi) -> Iterator[str]:
    """The address of ``app`` behind a threaded server on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if isinstance(app, FaultyCrm):
            app.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
