"""An OAuth token end point that rotates: each refresh token is good once, and every use is kept."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

CLIENT = ("client-1", "client-secret-1")
CODE = "code-1"


@dataclass(kw_only=True)
class TokenEndpoint:
    """``is_kind``: the last token but one still works, as apps of before 2024 see it at Jobber."""

    client: tuple[str, str] = CLIENT
    seconds: float = 3600.0
    is_kind: bool = False
    rotates: bool = True
    scope: str = ""
    alive: str | None = None
    last: str | None = None
    access: set[str] = field(default_factory=set)
    used: Counter[str] = field(default_factory=Counter)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> str:
        """A first refresh token, as after an authorisation."""
        self.alive = f"refresh-{next(self.numbers)}"
        return self.alive

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        form = dict(parse_qsl(environ["wsgi.input"].read(length).decode()))
        with self.lock:
            status, body = self._answer(form)
        data = json.dumps(body).encode()
        head = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        start_response(status, head)
        return [data]

    def _answer(self, form: dict[str, str]) -> tuple[str, dict[str, Any]]:
        if (form.get("client_id"), form.get("client_secret")) != self.client:
            return "401 Unauthorized", {"error": "invalid_client"}
        if form.get("grant_type") == "authorization_code":
            if form.get("code") != CODE or not form.get("redirect_uri"):
                return "400 Bad Request", {"error": "invalid_grant"}
            return "200 OK", self._pair()
        if form.get("grant_type") != "refresh_token":
            return "400 Bad Request", {"error": "unsupported_grant_type"}
        token = form.get("refresh_token", "")
        self.used[token] += 1
        if token != self.alive and not (self.is_kind and token == self.last):
            return "400 Bad Request", {"error": "invalid_grant", "error_description": "unknown"}
        return "200 OK", self._pair()

    def _pair(self) -> dict[str, Any]:
        number = next(self.numbers)
        if self.rotates or self.alive is None:
            self.last, self.alive = self.alive, f"refresh-{number}"
        access = jwt({"exp": int(time.time() + self.seconds), "scope": self.scope, "n": number})
        self.access.add(access)
        return {"access_token": access, "refresh_token": self.alive}


def jwt(said: dict[str, Any]) -> str:
    """Signed by nobody: only the vendor checks its own tokens."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, said)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "x"])
