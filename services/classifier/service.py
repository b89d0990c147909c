"""The classifier: reads the CRM, asks rules or a model, and proposes; it can write nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from services.classifier.assist import assist
from services.classifier.deps import PolicyFile, WorkerDeps
from services.classifier.handlers import classify, forget
from services.classifier.model import Model, Prices
from services.classifier.store import NAME, metadata, outbox, prune
from shared.bell import Bell
from shared.bus.publisher import Publisher
from shared.crm import Reader, readers
from shared.crm.accounts import accounts_of
from shared.crm.demo import DemoReader
from shared.crm.grant_settings import ReadGrantSettings
from shared.db import open_database, writing
from shared.dead_letters import HANDLERS as LETTERS
from shared.dead_letters import with_letters
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.outbox import Relay, UnitOfWork
from shared.service import Loop, Service, Worker
from shared.settings import BrokerSettings, setting

RULES_PREFETCH, MODEL_PREFETCH = 50, 1
# A CRM answers in 50 to 500 ms: one after the other, a batch would take seconds.
THREADS = 4
SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(BrokerSettings, ReadGrantSettings):
    """Without ``openai_api_key`` and ``openai_base_url`` the rules answer alone."""

    policy_file: Path = setting("the policy: what may be proposed at all")
    crm_url: str = setting("address of the demo CRM")
    crm_read_token: str = setting("token that may read the CRM and nothing else", secret=True)
    crms_read: str = setting("accounts of CRMs that are read (TOML)", default="", secret=True)
    openai_api_key: str = setting("key of the model's server", default="", secret=True)
    openai_base_url: str = setting("address of any compatible server", default="")
    openai_model: str = setting("name of the model", default="gpt-4o-mini")
    openai_timeout: int = setting("seconds for one answer", default=30)
    openai_cents_in: int = setting("US cents per million tokens asked", default=15)
    openai_cents_out: int = setting("US cents per million tokens answered", default=60)


def wire_worker(settings: WorkerSettings) -> WorkerDeps:
    engine = open_database(settings.database_url)
    bell = Bell(folder=settings.wake_dir)
    _warm_up()
    model = _model(settings)
    return WorkerDeps(
        engine=engine,
        outbox=outbox,
        unit_of_work=UnitOfWork(engine=engine, outbox=outbox, clock=now, bell=bell),
        clock=now,
        readers=_readers(settings),
        policy=PolicyFile(settings.policy_file),
        relay=Relay(
            engine=engine, outbox=outbox, publisher=Publisher(settings.broker_url), clock=now
        ),
        model=model,
        canary=secrets.token_hex(12) if model else "",
        prefetch=RULES_PREFETCH if model is None else MODEL_PREFETCH,
    )


def _readers(settings: WorkerSettings) -> dict[str, Reader]:
    """The CRM accounts in the order that counts; without any of one's own, the demo CRM."""
    found = accounts_of(settings.crms_read, settings.read_grants())
    accounts = [one for one in found if one.sandbox_of is None]
    demo = DemoReader(settings.crm_url, settings.crm_read_token, timeout=SECONDS)
    return {**readers(accounts, timeout=SECONDS), demo.crm: demo}


def _model(settings: WorkerSettings) -> Model | None:
    if not settings.openai_api_key and not settings.openai_base_url:
        return None
    return Model(
        name=settings.openai_model,
        # A server of one's own often wants no key, but the client insists on some text.
        api_key=settings.openai_api_key or "none",
        base_url=settings.openai_base_url or None,
        timeout=settings.openai_timeout,
        prices=Prices(cents_in=settings.openai_cents_in, cents_out=settings.openai_cents_out),
    )


def _warm_up() -> None:
    """Load what the first event would wait for: number plans, address syntax, words."""
    from services.classifier.vocabulary import vocabulary
    from shared.values import email_key, phone_key

    vocabulary()
    phone_key("+12025550100", None)
    phone_key("+493012345678", None)
    email_key("someone@example.com")


def relay(deps: WorkerDeps) -> None:
    deps.relay.drain()


def retain(deps: WorkerDeps) -> None:
    with writing(deps.engine) as connection:
        prune(connection, deps.clock())


SERVICE = Service(
    name=NAME,
    tables=metadata,
    worker=Worker(
        settings=WorkerSettings,
        wire=wire_worker,
        handlers={
            Topic.EVENT_RECEIVED: classify,
            Topic.ASSIST_REQUESTED: assist,
            Topic.PERSON_ERASED: with_letters(forget),
            **LETTERS,
        },
        loops=(
            Loop(name="relay", seconds=0.5, run=relay),
            Loop(name="retention", seconds=3600, run=retain),
        ),
        prefetch=RULES_PREFETCH,
        threads=THREADS,
        for_batch=WorkerDeps.for_batch,
        alone=frozenset(LETTERS),
    ),
)
