"""Mailboxes of a test: their file, and the rounds of a worker over them.

``python -m tests.ingest.mailbox_rounds FOLDER DIES_AT`` makes one round in a process of its own,
which is killed at that point.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

from sqlalchemy import select

from services.ingest.mailboxes.configured import Mailboxes
from services.ingest.mailboxes.polling import Polling
from services.ingest.mailboxes.standing import Standing, standings
from services.ingest.relay import relay
from services.ingest.store import refusals, tallies
from shared.bus.envelope import decode
from shared.db import reading
from shared.domain.event import Event
from shared.domain.topics import Topic
from shared.faultpoints import wire_killer
from tests.ingest.dovecot import PASSWORD, Dovecot
from tests.vectors import Store

FILE_NAME = "mailboxes.toml"


@dataclass(kw_only=True)
class Rounds:
    """The worker of one installation, as far as mailboxes go."""

    store: Store
    server: Dovecot

    @property
    def file(self) -> Path:
        return self.store.folder / FILE_NAME

    def configure(self, *boxes: dict[str, object], password: str = PASSWORD) -> None:
        """Plain over loopback, unless a box says otherwise; each has the name of its user."""
        secret = self.store.folder / "password"
        secret.write_text(f"{password}\n")
        secret.chmod(0o600)
        self.file.write_text("".join(map(self._entry, boxes)))

    def _entry(self, box: dict[str, object]) -> str:
        default = {"host": "127.0.0.1", "tls": "none", "port": self.server.port}
        settings = {**default, "name": box["user"], "password_file": "password", **box}
        lines = [f"{key} = {value!r}" for key, value in settings.items() if value is not None]
        return "\n".join(["[[mailbox]]", *lines, "", ""])

    @property
    def polling(self) -> Polling:
        made = self.store.worker.polling
        assert made is not None
        clock = self.store.worker.clock
        lease = replace(made.lease, clock=clock)
        return replace(made, mailboxes=Mailboxes(self.file), lease=lease, clock=clock)

    def round(self, *, seconds: float = 60) -> None:
        """A round, ``seconds`` after the one before."""
        self.store.now += timedelta(seconds=seconds)
        self.polling.round()

    def standing(self, name: str) -> Standing:
        return standings(self.store.worker.engine)[name]

    def events(self) -> list[Event]:
        """All that became of mails so far, as the relay sends them."""
        return [e.noun() for e in self._sent() if e.topic is Topic.EVENT_RECEIVED]

    def rejected(self) -> list[tuple[str, str]]:
        """Reason and detail of each `event.rejected`."""
        found = [e for e in self._sent() if e.topic is Topic.EVENT_REJECTED]
        return [(e.body["reason"], e.body["detail"]) for e in found]

    def _sent(self) -> Sequence[object]:
        relay(self.store.worker)
        return [decode(message.text) for message in self.store.published.messages]

    def counts(self) -> dict[tuple[str, str], int]:
        """By mailbox and result, as the page counts them."""
        with reading(self.store.worker.engine) as connection:
            rows = connection.execute(select(tallies)).all()
        sums: dict[tuple[str, str], int] = {}
        for row in rows:
            key = (row.endpoint, row.result)
            sums[key] = sums.get(key, 0) + row.count
        return sums

    def refused(self) -> int:
        with reading(self.store.worker.engine) as connection:
            return len(connection.execute(select(refusals)).all())


def mail(text: str = "Please call me.", **headers: str) -> bytes:
    message = EmailMessage()
    given = {"from": "Dana Doe <dana@example.com>", "to": "sales@example.org", "subject": "Roof"}
    for name, value in {**given, "message_id": "<1@example.com>", **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message.as_bytes().replace(b"\n", b"\r\n")


def die_at(folder: Path, point: str) -> None:
    from services.ingest.service import WorkerSettings, poll, wire_worker

    settings = WorkerSettings(
        database_url=f"sqlite:///{folder}/ingest.db",
        wake_dir=folder / "run",
        raw_dir=folder,
        broker_url=f"durable+sqlite:///{folder}/bus.db",
        public_url="https://hooks.example.com",
        mailboxes_file=folder / FILE_NAME,
    )

    def kill(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    wire_killer(kill)
    poll(wire_worker(settings))


if __name__ == "__main__":
    die_at(Path(sys.argv[1]), sys.argv[2])
