"""The audit service: it hears everything, keeps it provably, and makes it searchable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.audit.checkpoints import load_signer, load_vkey, seal_waiting
from services.audit.deps import LedgerUnits, WebDeps, WorkerDeps
from services.audit.handlers import log
from services.audit.pages import pages
from services.audit.projection import Projection
from services.audit.routes import api
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import open_index
from services.audit.tables import OUTBOX, metadata
from services.audit.vault import load_vault
from shared.bus.wake import notify
from shared.db import open_database
from shared.domain.schema import now
from shared.domain.topics import consumed_by
from shared.outbox import UnitOfWork
from shared.service import Loop, Service, Web, Worker
from shared.settings import ServiceSettings, setting

import dataclasses

INDICES = {"sqlite": open_fts5}
PREFETCH = 200
PROJECTION = "projection"
RELAY = "relay"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ServiceSettings):
    """What both parts need. ``keys_dir`` holds ledger.key and, for the worker, checkpoints."""

    search_url: str = setting("search index: sqlite:///…")
    keys_dir: Path = setting("folder of ledger.key and checkpoints.vkey")
    ingest_database_url: str = setting("database of ingest, read for the balance", default="")


def wire_web(settings: Settings) -> WebDeps:
    """The pages: they read the ledger and write only to their own outbox. No signing key."""
    engine = open_database(settings.database_url)

    def wake() -> None:
        notify(settings.wake_dir, f"audit.{RELAY}")

    return WebDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=UnitOfWork(engine=engine, outbox=OUTBOX, clock=now, wake=wake),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkey=load_vkey(settings.keys_dir),
        ingest=_ingest(settings),
    )


def wire_worker(settings: Settings) -> WorkerDeps:
    """The one that appends, signs and indexes."""
    engine = open_database(settings.database_url)

    def wake() -> None:
        notify(settings.wake_dir, f"audit.{RELAY}")

    def ring() -> None:
        notify(settings.wake_dir, f"audit.{PROJECTION}")

    signer = load_signer(settings.keys_dir)
    return WorkerDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=LedgerUnits(engine=engine, outbox=OUTBOX, clock=now, wake=wake, ring=ring),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkey=load_vkey(settings.keys_dir),
        ingest=_ingest(settings),
        signer=signer,
    )


def _ingest(settings: Settings) -> Any:
    return open_database(settings.ingest_database_url) if settings.ingest_database_url else None
