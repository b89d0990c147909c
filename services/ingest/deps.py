"""What the door, the pages and the relay of ingest need, handed in by `service.py` or a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from services.ingest.endpoints import Endpoints
from services.ingest.inbox import Inbox
from services.ingest.latency import Latencies
from services.ingest.mailboxes.polling import Polling
from services.ingest.raw import RawFiles
from shared.notifications.telling import Telling
from shared.outbox import Outbox, Relay, Sends, UnitOfWork


@dataclass(frozen=True, kw_only=True)
class WebDeps:
    """``public_url`` is the address that senders use, without a slash at its end."""

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    endpoints: Endpoints
    inbox: Inbox
    files: RawFiles
    public_url: str
    latencies: Latencies


@dataclass(frozen=True, kw_only=True)
class WorkerDeps:
    """``relay`` carries the outbox; ``telling`` watches the alarms of ingest; ``polling`` fetches
    the mails of mailboxes.
    """

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    files: RawFiles
    publisher: Sends
    relay: Relay
    telling: Telling | None = None
    polling: Polling | None = None
