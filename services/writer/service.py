"""The writer: people decide on its pages, and its worker writes exactly what they decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.writer.apply import LOCK, complete
from services.writer.crm.demo import DemoWriter
from services.writer.crm.handoff import HandOff
from services.writer.crm.registry import Writer, writer_of
from services.writer.crm.shelf import Shelf, ShelfReader
from services.writer.deps import ByCrm, ReadsRecords, WebDeps, WorkerDeps, WritesRecords
from services.writer.doctor import examine_all, examine_due
from services.writer.drafts import carry_out_decisions
from services.writer.expiry import expire
from services.writer.facts import Sources
from services.writer.handlers import HANDLERS
from services.writer.measures import measures
from services.writer.notifying import collect
from services.writer.policy_store import office_in_force
from services.writer.policy_watch import follow, require_policy
from services.writer.signing import decision_keys, load_signer, log_keys
from services.writer.tables import metadata, notice, outbox
from shared.bell import Bell
from shared.crm import readers
from shared.crm.accounts import (
    Account,
    accounts_of,
    require_apart,
    sandboxes_of,
    with_built_in,
)
from shared.crm.demo import CRM, DemoReader
from shared.crm.grant_settings import ReadGrantSettings, WriteGrantSettings
from shared.crm.handoff import VENDOR
from shared.db import open_database
from shared.dead_letters import HANDLERS as LETTERS
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.figures import notice_measures
from shared.notifications.telling import SECONDS, NoticeSettings, Telling, notifier_of
from shared.outbox import Relay, UnitOfWork
from shared.people import People
from shared.service import Loop, Service, Web, Worker
from shared.settings import BrokerSettings, ServiceSettings, setting

NAME = "writer"


@dataclass(frozen=True, kw_only=True)
class WebSettings(ServiceSettings, ReadGrantSettings):
    """The web part signs decisions and reads the CRM; it has no write token."""

    keys_dir: Path = setting("folder of decisions.ed25519")
    people_file: Path = setting("the people of this installation")
    crm_url: str = setting("address of the demo CRM")
    crm_read_token: str = setting("token that only reads", secret=True)
    crms_read: str = setting("accounts of CRMs that are read (TOML)", default="", secret=True)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(BrokerSettings, NoticeSettings, ReadGrantSettings, WriteGrantSettings):
    """The worker writes and verifies; it has no signing key."""

    keys_dir: Path = setting("folder of decisions.pub and checkpoints.vkey")
    people_file: Path = setting("the people of this installation")
    policy_file: Path = setting("what may be written at all")
    crm_url: str = setting("address of the demo CRM")
    crm_read_token: str = setting("token that only reads", secret=True)
    crm_write_token: str = setting("token that writes", secret=True)
    crms_read: str = setting("accounts of CRMs that are read (TOML)", default="", secret=True)
    crms_write: str = setting("accounts of CRMs that are written", default="", secret=True)


def wire_web(settings: WebSettings) -> WebDeps:
    """Pages and API: two seconds for the CRM, then the stored values stand alone."""
    engine = open_database(settings.database_url)
    people = People(settings.people_file)
    return WebDeps(
        engine=engine,
        outbox=outbox,
        unit_of_work=units_of(engine, settings.wake_dir),
        clock=now,
        people=people.all,
        readers=_readers(settings, engine, timeout=2.0),
        signer=load_signer(settings.keys_dir),
        sandboxes=sandboxes_of(accounts_of(settings.crms_read)),
    )


def wire_worker(settings: WorkerSettings) -> WorkerDeps:
    """The part that writes. Raises `ConfigurationError` for a policy that cannot be."""
    from shared.bus.publisher import Publisher

    engine = open_database(settings.database_url)
    people = People(settings.people_file)
    found = connectors(settings, engine)
    deps = WorkerDeps(
        engine=engine,
        outbox=outbox,
        unit_of_work=units_of(engine, settings.wake_dir),
        clock=now,
        sources=Sources(
            people=people.all,
            decision_keys=decision_keys(settings.keys_dir),
            log_keys=lambda: log_keys(settings.keys_dir),
            sandboxes=found.sandboxes,
        ),
        readers=found.readers,
        writers=found.writers,
        vendors=found.vendors,
        policy_file=settings.policy_file,
        by_hand=frozenset(crm for crm, vendor in found.vendors.items() if vendor == VENDOR),
        # Whoever wrote had the record's lock: once it is over, that writer is gone.
        settle_after=LOCK,
        relay=Relay(
            engine=engine, outbox=outbox, publisher=Publisher(settings.broker_url), clock=now
        ),
        telling=_telling(settings, engine, people),
    )
    require_policy(deps)
    examine_all(deps)  # Before the first write, not only by the loop.
    return deps


@dataclass(frozen=True, kw_only=True)
class Connectors:
    """Both sides of every CRM account, and the vendor of each, by name.

    ``sandboxes`` names by live account the one that stands in for it.
    """

    readers: Mapping[str, ReadsRecords]
    writers: Mapping[str, WritesRecords]
    vendors: Mapping[str, str]
    sandboxes: Mapping[str, str]


def connectors(settings: WorkerSettings, engine: Any, *, timeout: float = 5.0) -> Connectors:
    """Raises `ConfigurationError` for an account that cannot be."""
    accounts = accounts_of(settings.crms_read)
    written = with_built_in(
        accounts_of(settings.crms_write, settings.write_grants()),
        url=settings.crm_url,
        token=settings.crm_write_token,
    )
    sandboxes = sandboxes_of(accounts)
    require_apart(written, sandboxes)
    others = {one.name: _writer(one, engine) for one in written}
    demo = DemoWriter(settings.crm_url, settings.crm_write_token)
    shelves = {name: Shelf(name, one, engine, now) for name, one in others.items()}
    return Connectors(
        readers=_readers(settings, engine, timeout=timeout),
        writers=ByCrm({CRM: demo, **shelves}),
        vendors={CRM: CRM, **{one.name: one.vendor for one in accounts}},
        sandboxes=sandboxes,
    )


def _readers(
    settings: WebSettings | WorkerSettings, engine: Any, *, timeout: float
) -> ByCrm[ReadsRecords]:
    accounts = with_built_in(
        accounts_of(settings.crms_read, settings.read_grants()),
        url=settings.crm_url,
        token=settings.crm_read_token,
    )
    others = readers(accounts, timeout=timeout)
    demo = DemoReader(settings.crm_url, settings.crm_read_token, timeout=timeout)
    shelves = {name: ShelfReader(one, engine, now) for name, one in others.items()}
    return ByCrm({CRM: demo, **shelves})


def _writer(account: Account, engine: Any) -> Writer:
    """What is handed over keeps a book of its own: nothing can be read back."""
    return HandOff(account, engine, now) if account.vendor == VENDOR else writer_of(account)


def _telling(settings: WorkerSettings, engine: Any, people: People) -> Telling:
    return Telling(
        notifier=notifier_of(settings, engine, notice, now, office=office_in_force),
        parts=(
            lambda: measures(engine, now),
            lambda: notice_measures(engine, notice, NAME),
        ),
        collect=lambda db, ear: collect(db, ear, people.all, now()),
    )


def units_of(engine: Any, wake_dir: Path) -> UnitOfWork:
    return UnitOfWork(engine=engine, outbox=outbox, clock=now, bell=Bell(folder=wake_dir))


def _relay(deps: WorkerDeps) -> None:
    assert deps.relay is not None, "the worker was wired with a relay"
    deps.relay.drain()


def _tell(deps: WorkerDeps) -> None:
    assert deps.telling is not None, "the worker was wired with it"
    deps.telling.run()


def _pages(deps: WebDeps) -> Any:
    """Built where it is needed: a worker does without Flask."""
    from services.writer.pages import pages

    return pages(deps)


def _api(deps: WebDeps) -> Any:
    from services.writer.routes import api

    return api(deps)


PREFETCH = 50
LOOPS: tuple[tuple[str, float, Callable[[WorkerDeps], object]], ...] = (
    ("relay", 0.5, _relay),
    ("completer", 5, complete),
    ("expiry", 15, expire),
    ("policy", 2, follow),
    ("drafts", 1, carry_out_decisions),
    ("doctor", 60, examine_due),
    ("notices", SECONDS, _tell),
)

SERVICE = Service(
    name=NAME,
    tables=metadata,
    web=Web(settings=WebSettings, wire=wire_web, blueprints=(_pages, _api)),
    worker=Worker(
        settings=WorkerSettings,
        wire=wire_worker,
        handlers=HANDLERS,
        loops=tuple(Loop(name=name, seconds=every, run=run) for name, every, run in LOOPS),
        prefetch=PREFETCH,
        alone=frozenset({Topic.RECEIPT_ISSUED, *LETTERS}),
    ),
)

__all__ = ["SERVICE", "WebDeps", "WorkerDeps"]
