"""Ingest: takes webhooks and mails in, makes them durable, answers, and passes them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from services.ingest.deps import WebDeps, WorkerDeps
from services.ingest.endpoints import Endpoints
from services.ingest.erase import forget
from services.ingest.inbox import Inbox
from services.ingest.latency import Latencies
from services.ingest.mailboxes.configured import Mailboxes
from services.ingest.mailboxes.polling import LOOP, LOOP_SECONDS, Polling
from services.ingest.measures import disk_measures, measures
from services.ingest.pages import sources_blueprint
from services.ingest.raw import RawFiles
from services.ingest.raw_pages import raw_blueprint
from services.ingest.relay import relay, retain, tidy
from services.ingest.routes import hooks_blueprint
from services.ingest.store import leases, metadata, notice, outbox
from shared.bell import Bell
from shared.db import open_database
from shared.dead_letters import HANDLERS as LETTERS
from shared.dead_letters import with_letters
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.figures import notice_measures
from shared.lease import Lease
from shared.notifications.telling import SECONDS, NoticeSettings, Telling, notifier_of, office_of
from shared.outbox import Relay, UnitOfWork
from shared.service import Loop, Service, Web, Worker
from shared.settings import BrokerSettings, ServiceSettings, setting

NAME = "ingest"


@dataclass(frozen=True, kw_only=True)
class WebSettings(ServiceSettings):
    public_url: str = setting("address under which senders reach this installation")
    endpoints_file: Path = setting("the configured endpoints with their secrets")
    keys_dir: Path = setting("folder of endpoints.key, which seals those secrets")
    raw_dir: Path = setting("folder of the raw bytes that are too large for a row")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(BrokerSettings, NoticeSettings):
    raw_dir: Path = setting("folder of the raw bytes that are too large for a row")
    policy_file: Path | None = setting("read for the hours of the office", default=None)
    mailboxes_file: Path | None = setting(
        "mailboxes that are read over IMAP, with their passwords", default=None
    )


def wire_web(settings: WebSettings) -> WebDeps:
    engine = open_database(settings.database_url)
    files = RawFiles(settings.raw_dir)
    bell = Bell(folder=settings.wake_dir)
    return WebDeps(
        engine=engine,
        outbox=outbox,
        unit_of_work=UnitOfWork(engine=engine, outbox=outbox, clock=now, bell=bell),
        clock=now,
        endpoints=Endpoints(settings.endpoints_file, settings.keys_dir),
        inbox=Inbox(engine, files, bell),
        files=files,
        public_url=settings.public_url.rstrip("/"),
        latencies=Latencies(settings.wake_dir),
    )


def wire_worker(settings: WorkerSettings) -> WorkerDeps:
    from shared.bus.publisher import Publisher

    engine = open_database(settings.database_url)
    bell = Bell(folder=settings.wake_dir)
    files = RawFiles(settings.raw_dir)
    publisher = Publisher(settings.broker_url)
    return WorkerDeps(
        engine=engine,
        outbox=outbox,
        unit_of_work=UnitOfWork(
            engine=engine,
            outbox=outbox,
            clock=now,
            bell=bell,
        ),
        clock=now,
        files=files,
        publisher=publisher,
        relay=Relay(engine=engine, outbox=outbox, publisher=publisher, clock=now),
        telling=_telling(settings, engine),
        polling=Polling(
            engine=engine,
            mailboxes=Mailboxes(settings.mailboxes_file),
            inbox=Inbox(engine, files, bell),
            lease=Lease(engine=engine, table=leases, name=LOOP, clock=now),
            clock=now,
        ),
    )


def _telling(settings: WorkerSettings, engine: Engine) -> Telling:
    office = office_of(settings.policy_file)
    return Telling(
        notifier=notifier_of(settings, engine, notice, now, office=office),
        parts=(
            lambda: measures(engine, now),
            lambda: disk_measures(settings.raw_dir),
            lambda: notice_measures(engine, notice, NAME),
        ),
    )


def tell(deps: WorkerDeps) -> None:
    assert deps.telling is not None, "the worker was wired with it"
    deps.telling.run()


def poll(deps: WorkerDeps) -> None:
    assert deps.polling is not None, "the worker was wired with it"
    deps.polling.round()


SERVICE = Service(
    name=NAME,
    tables=metadata,
    web=Web(
        settings=WebSettings,
        wire=wire_web,
        blueprints=(hooks_blueprint, sources_blueprint, raw_blueprint),
    ),
    worker=Worker(
        settings=WorkerSettings,
        wire=wire_worker,
        handlers={Topic.PERSON_ERASED: with_letters(forget), **LETTERS},
        loops=(
            Loop(name="relay", seconds=0.5, run=relay),
            Loop(name="checkpoint", seconds=0.5, run=tidy),
            Loop(name="retention", seconds=3600, run=retain),
            Loop(name="notices", seconds=SECONDS, run=tell),
            Loop(name=LOOP, seconds=LOOP_SECONDS, run=poll),
        ),
        alone=frozenset(LETTERS),
    ),
)
