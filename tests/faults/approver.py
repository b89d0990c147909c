"""An approver who never sleeps: approves whatever waits, through the API, until told to stop.

Of the drafts that came of it every second one becomes a contact; the others are discarded.
"""

from __future__ import annotations

import threading
from typing import Any, Self

import requests

from tests.product import Client


class Approver:
    """A thread. What is lost in a crash is asked again: only the product must not do it twice."""

    def __init__(self, client: Client, *, leaves_drafts: bool = False) -> None:
        self._client = client
        self._leaves_drafts = leaves_drafts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.approved = 0
        self.closed = 0
        self.refused: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the approver hangs"

    def _run(self) -> None:
        while not self._stop.is_set():
            for row in self._rows("/api/cards?tab=needs_you&limit=20"):
                if self._stop.is_set():
                    return
                self._decide(row["id"])
            for row in [] if self._leaves_drafts else self._rows("/api/drafts?state=open")[:5]:
                self._close(row["change_id"])
            self._stop.wait(0.5)

    def _rows(self, path: str) -> list[Any]:
        answer = self._get(path)
        return answer.get("rows", answer.get("items", [])) if answer else []

    def _close(self, change: str) -> None:
        self.closed += 1
        if self.closed % 2:
            self._post(f"/api/drafts/{change}/promote")
        else:
            self._post(f"/api/drafts/{change}/discard", {"reason": "not a customer"})

    def _decide(self, card: str) -> None:
        now = self._get(f"/api/cards/{card}/now")
        if now is None:
            return
        if now["moved"]:
            self._post(f"/api/cards/{card}/reread")
            return
        body = {"card_digest": now["card_digest"], "confirmed": True}
        if self._post(f"/api/cards/{card}/approve", body):
            self.approved += 1

    def _get(self, path: str) -> Any:
        try:
            answer = self._client.session.get(self._client.url + path, timeout=10)
            return answer.json() if answer.ok else None
        except (requests.RequestException, ValueError):
            return None

    def _post(self, path: str, body: Any = None) -> bool:
        try:
            answer = self._client.session.post(self._client.url + path, json=body or {}, timeout=10)
        except requests.RequestException:
            return False
        if not answer.ok:
            self.refused[answer.status_code] = self.refused.get(answer.status_code, 0) + 1
        return answer.ok
