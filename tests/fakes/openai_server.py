"""A server that speaks OpenAI's chat completions on a real socket, well or badly, as told.

Shapes are those of the public OpenAPI description (`/v1/chat/completions`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer: a status and body, or a way of failing.

    ``how`` is ``answer``, ``cut`` (the connection ends in the middle), ``drip`` (a byte now and
    then) or ``hang`` (``seconds`` of silence first).
    """

    status: int = 200
    body: Any = None
    how: str = "answer"
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


def completion(content: str | None, **more: Any) -> dict[str, Any]:
    """A chat completion; ``finish_reason``, ``refusal`` and ``usage`` may be given."""
    message = {"role": "assistant", "content": content, "refusal": more.get("refusal")}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1763900000,
        "model": "test-model",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": more.get("finish_reason", "stop"),
                "logprobs": None,
            }
        ],
        "usage": more.get(
            "usage", {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790}
        ),
    }


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "param": None, "code": None}}


class OpenAIServer:
    """Answers each request with the next script; the last one stays. ``requests`` keeps them."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self._lock = threading.Lock()

    def say(self, *scripts: Script) -> None:
        with self._lock:
            self.scripts = list(scripts)

    def answer(self, content: str | None, **more: Any) -> None:
        self.say(Script(body=completion(content, **more)))

    def next(self, request: dict[str, Any], key: str | None) -> Script:
        with self._lock:
            self.requests.append(request)
            self.keys.append(key)
            return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = json.loads(self.rfile.read(length))
            if self.path != "/v1/chat/completions":
                self._send(Script(status=404, body=error("no such path")))
                return
            script = server.next(request, self.headers.get("Authorization"))
            try:
                self._send(script)
            except OSError:
                self.close_connection = True  # The client gave up, as it should.

        def _send(self, script: Script) -> None:
            time.sleep(script.seconds if script.how == "hang" else 0)
            body = script.body
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(script.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if script.how == "cut":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif script.how == "drip":
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(script.seconds)
            else:
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Silence: the tests look at `OpenAIServer.requests`."""

    return Handler


@contextmanager
def running_openai() -> Iterator[tuple[OpenAIServer, str]]:
    """The server and its base address."""
    server = OpenAIServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
