"""Signed requests as senders make them, for tests that post many."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from pathlib import Path
from typing import Any

from services.ingest.endpoints import Endpoints

KEY = b"test-key-of-the-demo-crm-0000001"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
SOURCE = "demo-crm"


def open_endpoint(folder: Path) -> None:
    Endpoints(folder / "endpoints.toml").add(SOURCE, secrets=(SECRET,))


def change(id_: str, **data: Any) -> bytes:
    """The body of a changed contact."""
    fields = {"object": "contacts", "id": id_, "changes": {"phone": {"old": None, "new": "1"}}}
    body = {"type": "contact.updated", "timestamp": "2026-11-23T10:00:00Z"}
    return json.dumps({**body, "data": {**fields, **data}}).encode()


def signed(message: str, body: bytes, *, at: float | None = None) -> dict[str, str]:
    """Headers of Standard Webhooks for this body."""
    stamp = str(int(time.time() if at is None else at))
    text = b".".join((message.encode(), stamp.encode(), body))
    mac = base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{mac}",
    }


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """``(status, body)``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
