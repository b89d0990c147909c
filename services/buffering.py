"""A WSGI application behind granian's own interface: a request takes a thread when it is whole.

Without a proxy granian hands a request over before its body is there. Here bodies gather in the
event loop, with a limit and a deadline, so that a slow sender costs a connection and no thread.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

import structlog

log = structlog.get_logger()
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
# A body has so long to come, and a second more for each of these.
SECONDS, BYTES_A_SECOND = 10.0, 64 * 1024
_JSON = [("content-type", "application/json")]
_TOO_SLOW = b'{"error":{"code":"too-slow","message":"The body took too long."}}'
_CUT_OFF = b'{"error":{"code":"cut-off","message":"The body ended early."}}'
_DEFECT = b'{"error":{"code":"failed","message":"This could not be processed."}}'
_ALWAYS = {
    "SCRIPT_NAME": "",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}
Job = tuple[Any, Any, bytes, asyncio.Future[None]]


class Buffering:
    """``largest`` tells how long a body may be for a path; a longer one is not read.

    ``threads`` requests are worked on side by side. Responses are sent whole.
    """

    def __init__(
        self, application: Application, threads: int, largest: Callable[[str], int]
    ) -> None:
        self._application = application
        self._threads = threads
        self._largest = largest
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._done: deque[asyncio.Future[None]] = deque()
        self._is_waking = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True).start()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        try:
            body = await self._body(scope, protocol)
        except TimeoutError:
            protocol.response_bytes(408, [*_JSON, ("connection", "close")], _TOO_SLOW)
            return
        except Exception:  # noqa: BLE001 - whatever breaks off a body, the sender is at fault.
            protocol.response_bytes(400, [*_JSON, ("connection", "close")], _CUT_OFF)
            return
        done = self._loop.create_future()
        self._jobs.put((scope, protocol, body, done))
        await done

    async def _body(self, scope: Any, protocol: Any) -> bytes:
        """All of it; or nothing of one that is announced as too large, and one byte too many of
        one that grows so. Raises `TimeoutError`.
        """
        largest = self._largest(scope.path)
        announced = scope.headers.get("content-length")
        if announced is None:
            if "transfer-encoding" not in scope.headers:
                return b""  # RFC 9112 §6.3: neither length nor chunks is no body.
            async with asyncio.timeout(SECONDS + largest / BYTES_A_SECOND):
                return await _gathered(protocol, largest)
        length = int(announced)
        if not 0 < length <= largest:
            return b""
        async with asyncio.timeout(SECONDS + length / BYTES_A_SECOND):
            whole: bytes = await protocol()
            return whole

    def _work(self) -> None:
        while True:
            scope, protocol, body, done = self._jobs.get()
            try:
                status, headers, content = self._answer(_environ(scope, body))
            except Exception:
                log.exception("a request failed")
                status, headers, content = 500, _JSON, _DEFECT
            try:
                protocol.response_bytes(status, headers, content)
            except Exception:
                log.exception("a response could not be sent")  # The thread goes on to the next.
            self._done.append(done)
            if not self._is_waking:  # One wake-up of the loop for all that are done by then.
                self._is_waking = True
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_waking = False
        while self._done:
            if not (done := self._done.popleft()).done():  # Cancelled: its sender has gone.
                done.set_result(None)

    def _answer(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        begun: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            begun[:] = [int(status[:3]), headers]

        pieces = self._application(environ, start_response)
        try:
            return begun[0], begun[1], b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()


async def _gathered(protocol: Any, largest: int) -> bytes:
    pieces, size = [], 0
    async for piece in protocol:
        pieces.append(piece)
        size += len(piece)
        if size > largest:
            break
    return b"".join(pieces)[: largest + 1]


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    """As PEP 3333 wants it: texts are bytes in disguise (latin-1)."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        **_ALWAYS,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue  # It would pass for the name with a hyphen; nginx drops it too.
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{key}" in environ:
            environ[key] = environ.pop(f"HTTP_{key}")
    environ.setdefault("HTTP_HOST", scope.authority or "")
    return environ
