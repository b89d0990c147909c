"""The audit service: it hears everything, keeps it provably, and makes it searchable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from services.audit.checkpoints import load_signer, load_vkey, seal_waiting
from services.audit.deps import LedgerUnits, WebDeps, WorkerDeps
from services.audit.handlers import log
from services.audit.pages import pages
from services.audit.projection import Projection, forget_old
from services.audit.routes import api
from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import Opener, open_index
from services.audit.tables import OUTBOX, metadata
from services.audit.vault import load_vault
from shared.bus.publisher import Publisher
from shared.bus.wake import notify
from shared.db import open_database
from shared.domain.schema import now
from shared.domain.topics import consumed_by
from shared.outbox import Relay, UnitOfWork
from shared.service import Loop, Service, Web, Worker
from shared.settings import ServiceSettings, setting

INDICES: Mapping[str, Opener] = {
    "sqlite": open_fts5,
    "http": open_elasticsearch,
    "https": open_elasticsearch,
}
PREFETCH = 200
SEAL_SECONDS = 60
RETENTION_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Settings(ServiceSettings):
    """What both parts need. ``keys_dir`` holds ledger.key and, for the worker, checkpoints."""

    search_url: str = setting(
        "search index: sqlite:///… or http[s]://[user:password@]host:port/name", secret=True
    )
    search_months: int = setting("months that search keeps; 0 keeps all", default=0)
    keys_dir: Path = setting("folder of ledger.key and checkpoints.vkey")
    ingest_database_url: str = setting("database of ingest, read for the balance", default="")


def wire_web(settings: Settings) -> WebDeps:
    """The pages: they read the ledger and write only to their own outbox. No signing key."""
    engine = open_database(settings.database_url)
    wake = _bell(settings, "relay")
    return WebDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=UnitOfWork(engine=engine, outbox=OUTBOX, clock=now, wake=wake),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkey=load_vkey(settings.keys_dir),
        ingest=_ingest(settings),
        search_months=settings.search_months,
    )


def wire_worker(settings: Settings) -> WorkerDeps:
    """The one that appends, signs and indexes."""
    engine = open_database(settings.database_url)
    wake, ring = _bell(settings, "relay"), _bell(settings, "projection")
    signer = load_signer(settings.keys_dir)
    publisher = Publisher(settings.broker_url)
    return WorkerDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=LedgerUnits(engine=engine, outbox=OUTBOX, clock=now, wake=wake, ring=ring),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkey=load_vkey(settings.keys_dir),
        ingest=_ingest(settings),
        search_months=settings.search_months,
        signer=signer,
        relay=Relay(engine=engine, outbox=OUTBOX, publisher=publisher, clock=now),
    )


def _bell(settings: Settings, loop: str) -> Callable[[], None]:
    """Wakes a loop of the worker, from whichever process."""

    def ring() -> None:
        notify(settings.wake_dir, f"audit.{loop}")

    return ring


def _ingest(settings: Settings) -> Engine | None:
    return open_database(settings.ingest_database_url) if settings.ingest_database_url else None


def _relay(deps: WorkerDeps) -> None:
    assert deps.relay is not None, "the worker was wired with a relay"
    deps.relay.drain()


SERVICE = Service(
    name="audit",
    tables=metadata,
    web=Web(settings=Settings, wire=wire_web, blueprints=(pages, api)),
    worker=Worker(
        settings=Settings,
        wire=wire_worker,
        handlers=dict.fromkeys(consumed_by("audit"), log),
        loops=(
            Loop(name="relay", seconds=0.5, run=_relay),
            Loop(name="projection", seconds=0.5, run=Projection().catch_up),
            Loop(name="retention", seconds=RETENTION_SECONDS, run=forget_old),
            Loop(name="checkpoint", seconds=SEAL_SECONDS, run=seal_waiting),
        ),
        prefetch=PREFETCH,
    ),
)
