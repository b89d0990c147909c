"""The audit service: it hears everything, keeps it provably, and makes it searchable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from services.audit.books import open_books
from services.audit.checkpoints import load_signer, load_vkeys, seal_waiting
from services.audit.deps import LedgerUnits, WebDeps, WorkerDeps
from services.audit.handlers import log, log_and_decide
from services.audit.measures import ages, balance_measures, measures, search_measures
from services.audit.notifying import collect
from services.audit.pages import pages
from services.audit.projection import Projection, forget_old
from services.audit.reader import size
from services.audit.routes import api
from services.audit.search.elasticsearch import open_elasticsearch
from services.audit.search.fts5 import open_fts5
from services.audit.search.index import Opener, open_index
from services.audit.tables import NOTICE, OUTBOX, metadata
from services.audit.vault import load_vault
from shared.bell import Bell
from shared.bus.figures import broker_measures
from shared.bus.publisher import Publisher
from shared.db import open_database
from shared.dead_letters import HANDLERS as LETTERS
from shared.domain.schema import now
from shared.domain.topics import consumed_by
from shared.figures import loop_measures, notice_measures
from shared.notifications.telling import SECONDS, NoticeSettings, Telling, notifier_of, office_of
from shared.outbox import Relay, UnitOfWork
from shared.service import Loop, Service, Web, Worker
from shared.settings import BrokerSettings, ServiceSettings, setting

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
    reconciler_database_url: str = setting(
        "all databases, for the balance: sqlite:///<folder>, or postgresql+psycopg://reconciler…",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(Settings, BrokerSettings, NoticeSettings):
    """The worker also tells others what it has sealed, and people when something is in trouble."""

    policy_file: Path | None = setting("read for the hours of the office", default=None)
    broker_management_url: str = setting(
        "RabbitMQ's management, http://user:password@host:15672, to compare the bindings",
        default="",
        secret=True,
    )


def wire_web(settings: Settings) -> WebDeps:
    """The pages: they read the ledger and write only to their own outbox. No signing key."""
    engine = open_database(settings.database_url)
    return WebDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=UnitOfWork(
            engine=engine, outbox=OUTBOX, clock=now, bell=Bell(folder=settings.wake_dir)
        ),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkeys=load_vkeys(settings.keys_dir),
        books=open_books(settings.reconciler_database_url),
        search_months=settings.search_months,
    )


def wire_worker(settings: WorkerSettings) -> WorkerDeps:
    """The one that appends, signs and indexes."""
    engine = open_database(settings.database_url)
    bell = Bell(folder=settings.wake_dir)
    signer = load_signer(settings.keys_dir)
    publisher = Publisher(settings.broker_url)
    deps = WorkerDeps(
        engine=engine,
        outbox=OUTBOX,
        unit_of_work=LedgerUnits(engine=engine, outbox=OUTBOX, clock=now, bell=bell),
        clock=now,
        vault=load_vault(settings.keys_dir),
        index=open_index(settings.search_url, INDICES),
        vkeys=load_vkeys(settings.keys_dir),
        books=open_books(settings.reconciler_database_url),
        search_months=settings.search_months,
        signer=signer,
        relay=Relay(engine=engine, outbox=OUTBOX, publisher=publisher, clock=now),
    )
    return replace(deps, telling=_telling(settings, deps))


def _telling(settings: WorkerSettings, deps: WorkerDeps) -> Telling:
    office = office_of(settings.policy_file)
    broker, management = settings.broker_url, settings.broker_management_url
    return Telling(
        notifier=notifier_of(settings, deps.engine, NOTICE, now, office=office, reach=size),
        parts=(
            lambda: measures(deps),
            lambda: search_measures(deps),
            lambda: balance_measures(deps),
            lambda: broker_measures(broker, management, ages=ages(deps)),
            lambda: loop_measures(settings.wake_dir),
            lambda: notice_measures(deps.engine, NOTICE, "audit"),
        ),
        collect=collect,
    )


def _relay(deps: WorkerDeps) -> None:
    assert deps.relay is not None, "the worker was wired with a relay"
    deps.relay.drain()


def _tell(deps: WorkerDeps) -> None:
    assert deps.telling is not None, "the worker was wired with it"
    deps.telling.run()


SERVICE = Service(
    name="audit",
    tables=metadata,
    web=Web(settings=Settings, wire=wire_web, blueprints=(pages, api)),
    worker=Worker(
        settings=WorkerSettings,
        wire=wire_worker,
        handlers={
            **dict.fromkeys(consumed_by("audit"), log),
            **dict.fromkeys(LETTERS, log_and_decide),
        },
        loops=(
            Loop(name="relay", seconds=0.5, run=_relay),
            Loop(name="projection", seconds=0.5, run=Projection().catch_up),
            Loop(name="retention", seconds=RETENTION_SECONDS, run=forget_old),
            Loop(name="checkpoint", seconds=SEAL_SECONDS, run=seal_waiting),
            Loop(name="notices", seconds=SECONDS, run=_tell),
        ),
        prefetch=PREFETCH,
        alone=frozenset(LETTERS),
    ),
)
