"""The demo CRM's signed webhooks: queued with the change, sent by a thread until accepted.

The form is Standard Webhooks v1: https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from services.demo_crm.database import Database
from services.demo_crm.objects import SINGULAR
from services.demo_crm.store import Entry, Record

if TYPE_CHECKING:
    from requests import Session

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 15.0
_LONGEST_PAUSE_S = 300.0
_LAST_ATTEMPT = 60
_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Notice:
    seq: int
    message_id: str
    body: bytes
    attempts: int


class Webhooks:
    """A queue in the CRM's own database and the thread that empties it."""

    def __init__(
        self, database: Database, url: str, key: bytes, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._url = url
        self._key = key
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-crm-webhooks", daemon=True)

    def announce(
        self, connection: sqlite3.Connection, kind: str, record: Record, entries: Sequence[Entry]
    ) -> None:
        """Queue a notice inside the transaction of the change; `wake` sends it after the commit."""
        connection.execute(
            "INSERT INTO notice (message_id, body, due) VALUES (?, ?, ?)",
            (
                # Never derived from a row number: a reset CRM counts from one again.
                f"msg_{uuid.uuid4().hex}",
                json.dumps(notice_of(kind, record, entries)),
                self._clock().timestamp(),
            ),
        )

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_S + 1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._send_due()
            except sqlite3.Error:
                _LOG.exception("the queue of webhooks cannot be read")
            self._wake.wait(self._pause())

    def _send_due(self) -> None:
        import requests

        with requests.Session() as session:
            session.trust_env = False  # No proxy and no .netrc of the host stands in between.
            for notice in self._due():
                if self._stopping.is_set():
                    return
                try:
                    status = self._post(session, notice)
                except requests.RequestException:
                    status = 0
                self._settle(notice, status)

    def _post(self, session: Session, notice: Notice) -> int:
        sent_at = int(self._clock().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "demo-crm-webhooks",
            "webhook-id": notice.message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signature(self._key, notice.message_id, sent_at, notice.body),
        }
        return session.post(
            self._url,
            data=notice.body,
            headers=headers,
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        ).status_code

    def _due(self) -> list[Notice]:
        query = (
            "SELECT seq, message_id, body, attempts FROM notice"
            " WHERE state = 'waiting' AND due <= ? ORDER BY seq LIMIT 100"
        )
        with self._database.reading() as connection:
            rows = connection.execute(query, (self._clock().timestamp(),)).fetchall()
        return [
            Notice(seq=seq, message_id=message_id, body=body.encode(), attempts=attempts)
            for seq, message_id, body, attempts in rows
        ]

    def _settle(self, notice: Notice, status: int) -> None:
        state, due = "waiting", self._clock().timestamp()
        if 200 <= status < 300:
            state = "sent"
        elif status == _GONE or notice.attempts + 1 >= _LAST_ATTEMPT:
            state = "given up"
        else:
            due += min(2.0**notice.attempts, _LONGEST_PAUSE_S)
            _LOG.warning("webhook %s answered %s, tried again later", notice.message_id, status)
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE notice SET state = ?, due = ?, attempts = attempts + 1 WHERE seq = ?",
                (state, due, notice.seq),
            )

    def _pause(self) -> float | None:
        """Seconds until the next notice is due; none while nothing waits."""
        query = "SELECT min(due) FROM notice WHERE state = 'waiting'"
        with self._database.reading() as connection:
            due = connection.execute(query).fetchone()[0]
        return None if due is None else max(0.0, due - self._clock().timestamp())


def notice_of(kind: str, record: Record, entries: Sequence[Entry]) -> dict[str, object]:
    """``contact.updated`` and the like: which record, what changed, who did it."""
    return {
        "type": f"{SINGULAR[record.type]}.{kind}",
        "timestamp": record.updated_at,
        "data": {
            "object": record.type,
            "id": record.id,
            "changes": {
                entry.field: {"old": entry.old, "new": entry.new}
                for entry in entries
                if entry.field is not None
            },
            "version": record.version,
            "change_id": record.change_id,
            "changed_by": record.changed_by,
        },
    }


def key_of(secret: str) -> bytes:
    """The key of ``whsec_`` and base64. Raises `ValueError` for anything else."""
    encoded = secret.removeprefix("whsec_")
    key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if len(key) < 16:
        raise ValueError("the webhook secret is too short")
    return key


def signature(key: bytes, message_id: str, sent_at: int, body: bytes) -> str:
    """``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    signed = b".".join((message_id.encode(), str(sent_at).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
