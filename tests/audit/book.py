"""A real ledger in a folder, and the messages of one event as the services send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from services.audit.checkpoints import load_signer, load_vkeys
from services.audit.deps import LedgerUnits, WorkerDeps
from services.audit.handlers import log
from services.audit.projection import Projection
from services.audit.search.fts5 import open_fts5
from services.audit.tables import OUTBOX, metadata
from services.audit.vault import load_vault
from services.classifier.store import metadata as classifier_tables
from services.ingest.store import accepted
from services.ingest.store import metadata as ingest_tables
from services.writer.tables import metadata as writer_tables
from shared.bell import Bell
from shared.bus.envelope import Envelope, body_of, decode, traceparent
from shared.db import insert_new, open_database, reading, writing
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import TOPICS, Topic
from shared.keys import make_key, write_secret
from tests.databases import fresh_books, fresh_database

OTHERS = {
    "ingest": ingest_tables,
    "classifier": classifier_tables,
    "writer": writer_tables,
}
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@dataclass
class Book:
    """``at`` is the clock; it moves one second with each message that is made here."""

    folder: Path
    at: datetime = START
    deps: WorkerDeps = field(init=False)
    projection: Projection = field(default_factory=Projection)

    def __post_init__(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(exist_ok=True)
        make_key(keys, "checkpoints")
        if not (keys / "ledger.key").exists():
            write_secret(keys / "ledger.key", bytes(range(32)))
        engine = open_database(fresh_database(self.folder, "audit"))
        metadata.create_all(engine)
        signer = load_signer(keys)
        self.deps = WorkerDeps(
            engine=engine,
            outbox=OUTBOX,
            unit_of_work=LedgerUnits(
                engine=engine,
                outbox=OUTBOX,
                clock=lambda: self.at,
                bell=Bell(folder=self.folder),
            ),
            clock=lambda: self.at,
            vault=load_vault(keys),
            index=open_fts5(f"sqlite:///{self.folder}/search.db"),
            vkeys=load_vkeys(keys),
            books=fresh_books(self.folder),
            signer=signer,
        )

    def open_others(self) -> dict[str, Engine]:
        """The databases of the other services, empty, for what is counted over all of them."""
        engines = {}
        for name, tables in OTHERS.items():
            engines[name] = open_database(fresh_database(self.folder, name))
            tables.create_all(engines[name])
        return engines

    def accept(self, count: int, *, sent_at: str | None = None) -> None:
        """Ingest has accepted so many events, and sent them where a time is given."""
        rows = [
            {
                "id": f"event-{number}",
                "source": "zapier",
                "endpoint": "demo",
                "dedup_key": str(number),
                "type": "inbound",
                "delivery_id": "d",
                "position": 0,
                "received_at": rfc3339(self.at),
                "sent_at": sent_at,
                "sent_as": sent_at and "event.received",
                "replays": 0,
            }
            for number in range(count)
        ]
        with writing(self.open_others()["ingest"]) as db:
            insert_new(db, accepted, rows)

    def log(self, *envelopes: Envelope) -> None:
        """One batch, as the worker would commit it."""
        with self.deps.unit_of_work.batch() as unit_for:
            for envelope in envelopes:
                log(envelope, self.deps)(unit_for(envelope))

    def sent(self, topic: Topic | None = None) -> list[Envelope]:
        """What waits in the outbox."""
        table = OUTBOX.outbox
        with reading(self.deps.engine) as db:
            texts = list(db.scalars(select(table.c.body).order_by(table.c.seq)))
        found = [decode(text) for text in texts if text]
        return [one for one in found if topic is None or one.topic == topic]

    def echo(self) -> None:
        """Log what the service itself has sent, as its binding with ``#`` does."""
        self.log(*self.sent())

    def index(self) -> int:
        return self.projection.catch_up(self.deps)

    def message(
        self,
        topic: Topic,
        body: Mapping[str, Any],
        *,
        chain: str,
        subject: str,
        actor: str = "service:writer",
        cause: str | None = None,
        key: str = "",
        check: bool = True,
    ) -> Envelope:
        self.at += timedelta(seconds=1)
        data = dict(body)
        if check:
            data = body_of(topic, TOPICS[topic].schema().load(data))
        return Envelope(
            id=ids.message_id(chain, str(topic), f"{subject}#{key}"),
            topic=topic,
            schema=1,
            chain=chain,
            cause=cause,
            actor=actor,
            subject=subject,
            at=self.at,
            traceparent=traceparent(chain),
            body=data,
        )


@dataclass(kw_only=True)
class Customer:
    """Everything that tells one planted customer from another."""

    number: int = 1
    name: str = "Jane Doe"
    email: str = "jane.doe@example.com"
    old_phone: str = "+1 212 555 0100"
    new_phone: str = "+12125550199"
    order: str = "INV-2026/0017"
    source: str = "postmark"
    approver: str = "ann"
    prompt: str = "3"
    field: str = "phone"
    verdict: str = "approved"

    @property
    def record(self) -> dict[str, str]:
        return {"crm": "demo", "type": "contacts", "id": str(self.number)}


def event_body(book: Book, customer: Customer) -> dict[str, Any]:
    chain = chain_of(customer)
    text = f"My number changed to {customer.new_phone}. It is about order {customer.order}."
    return {
        "id": chain,
        "source": customer.source,
        "endpoint": "demo",
        "type": "inbound",
        "kind": "mail",
        "received_at": rfc3339(book.at),
        "raw_sha256": "ab" * 32,
        "dedup_key": f"key-{customer.number}",
        "occurred_at": None,
        "subject": "A new number",
        "sender": {
            "name": customer.name,
            "email": customer.email,
            "phone": None,
            "verified": "pass",
        },
        "parts": {"subject": "A new number", "body": text},
        "record": None,
        "changes": {},
        "facts": {},
        "attachments": [],
    }


def chain_of(customer: Customer) -> str:
    return ids.event_id(customer.source, "demo", f"key-{customer.number}")


def received(book: Book, customer: Customer) -> Envelope:
    chain = chain_of(customer)
    body = event_body(book, customer)
    actor = f"source:{customer.source}"
    return book.message(
        Topic.EVENT_RECEIVED, body, chain=chain, subject=f"event/{chain}", actor=actor
    )


def classified(
    book: Book, customer: Customer, *, outcome: str = "proposed", steps: Sequence[Any] = ()
) -> Envelope:
    chain = chain_of(customer)
    maker = {"kind": "model", "name": "small", "version": customer.prompt}
    maker |= {"tokens_in": 10, "tokens_out": 5, "cost_microcents": 7}
    now = rfc3339(book.at)
    change = {
        "field": customer.field,
        "before": customer.old_phone,
        "after": customer.new_phone,
        "confidence": 900,
        "evidence": {"part": "body", "start": 21, "end": 33, "quote": customer.new_phone},
    }
    proposal = {
        "id": ids.proposal_id(chain, str(customer.number), 1),
        "event_id": chain,
        "kind": "update",
        "record": customer.record,
        "title": customer.name,
        "fields": [change],
        "maker": maker,
        "policy": "p" * 64,
        "source_sha256": "ab" * 32,
        "created_at": now,
        "expires_at": now,
        "record_version": "4",
        "round": 1,
        "follows": None,
        "undoes": None,
        "flags": [],
    }
    reading_ = {
        "ref": customer.record,
        "title": customer.name,
        "fields": {"phone": customer.old_phone, "email": customer.email},
        "version": "4",
        "read_at": now,
        "url": None,
        "history": [],
    }
    body = {
        "event": event_body(book, customer),
        "outcome": outcome,
        "route": "support",
        "urgency": "normal",
        "summary": f"{customer.name} has a new number.",
        "reason": "The mail names a new phone number.",
        "maker": maker,
        "policy": "p" * 64,
        "reply_draft": "Thank you.",
        "next_steps": ["Call back"],
        "proposals": [proposal] if outcome == "proposed" else [],
        "record": customer.record,
        "matched_by": "email",
        "reading": reading_,
        "candidates": [],
        "flags": [],
        "steps": [*_steps(book, customer), *steps],
    }
    actor = "service:classifier"
    return book.message(
        Topic.EVENT_CLASSIFIED, body, chain=chain, subject=f"event/{chain}", actor=actor
    )


def _steps(book: Book, customer: Customer) -> list[dict[str, Any]]:
    now = rfc3339(book.at)
    read = {
        "record": customer.record,
        "fields": ["email", "phone"],
        "version": "4",
        "purpose": "matching",
    }
    asked = {"model": "small", "prompt_version": customer.prompt, "prompt": "What changed?"}
    answered = {"model": "small", "answer": "phone", "tokens_in": 10, "tokens_out": 5}
    answered |= {"cost_microcents": 7, "milliseconds": 120, "error": None}
    return [
        {"topic": "record.read", "at": now, "data": read},
        {"topic": "model.asked", "at": now, "data": asked},
        {"topic": "model.answered", "at": now, "data": answered},
    ]


def dropped(book: Book, customer: Customer) -> dict[str, Any]:
    data = {
        "record": customer.record,
        "field": "discount",
        "value": "50",
        "rule": "not-listed",
        "detail": "the policy does not list this field",
    }
    return {"topic": "proposal.dropped", "at": rfc3339(book.at), "data": data}


def opened(book: Book, customer: Customer) -> Envelope:
    chain = chain_of(customer)
    body = {
        "proposal_id": ids.proposal_id(chain, str(customer.number), 1),
        "card_digest": "cd" * 32,
        "now": {customer.field: customer.old_phone},
    }
    actor = f"person:{customer.approver}"
    return book.message(Topic.CARD_OPENED, body, chain=chain, subject="card/1", actor=actor)


def decided(book: Book, customer: Customer) -> Envelope:
    chain, now = chain_of(customer), rfc3339(book.at)
    is_approved = customer.verdict == "approved"
    body = {
        "id": ids.derive("decision", chain),
        "proposal_id": ids.proposal_id(chain, str(customer.number), 1),
        "event_id": chain,
        "verdict": customer.verdict,
        "fields": [
            {
                "field": customer.field,
                "verdict": "accepted" if is_approved else "dropped",
                "now": customer.old_phone,
                "value": customer.new_phone,
            }
        ],
        "card_digest": "cd" * 32,
        "change_digest": "ef" * 32 if is_approved else None,
        "approver": customer.approver,
        "auth_level": "password",
        "auth_time": now,
        "nonce": "n",
        "decided_at": now,
        "valid_until": now,
        "reason": None if is_approved else "wrong_customer",
        "comment": None,
        "right_record": None,
        "seconds": 14,
        "key_id": "k",
        "signature": "s",
    }
    actor = f"person:{customer.approver}"
    subject = f"proposal/{body['proposal_id']}"
    return book.message(Topic.DECISION_MADE, body, chain=chain, subject=subject, actor=actor)


def change_id_of(customer: Customer) -> str:
    return ids.change_id(ids.proposal_id(chain_of(customer), str(customer.number), 1), "cd" * 32)


def intended(book: Book, customer: Customer) -> Envelope:
    chain = chain_of(customer)
    change = {
        "name": customer.field,
        "before": customer.old_phone,
        "after": customer.new_phone,
    }
    body = {
        "id": change_id_of(customer),
        "proposal_id": ids.proposal_id(chain, str(customer.number), 1),
        "event_id": chain,
        "kind": "update",
        "record": customer.record,
        "record_version": "4",
        "fields": [change],
        "source_sha256": "ab" * 32,
        "policy": "p" * 64,
        "proposer": "model:small@3",
        "expires_at": rfc3339(book.at),
        "decisions": ["d"],
    }
    subject = f"change/{change_id_of(customer)}"
    return book.message(Topic.CHANGE_INTENDED, body, chain=chain, subject=subject)


def applied(book: Book, customer: Customer) -> Envelope:
    chain, now = chain_of(customer), rfc3339(book.at)
    result = {
        "name": customer.field,
        "before": customer.old_phone,
        "after": customer.new_phone,
        "read_back": customer.new_phone,
    }
    body = {
        "change_id": change_id_of(customer),
        "proposal_id": ids.proposal_id(chain, str(customer.number), 1),
        "record": customer.record,
        "fields": [result],
        "sent_at": now,
        "read_at": now,
        "version": "5",
        "matches": True,
        "attempts": 1,
    }
    subject = f"change/{change_id_of(customer)}"
    return book.message(Topic.CHANGE_APPLIED, body, chain=chain, subject=subject)


def whole_story(book: Book, customer: Customer) -> None:
    """From the mail to the read-back, each step committed on its own as in life."""
    book.log(received(book, customer))
    book.log(classified(book, customer, steps=[dropped(book, customer)]))
    book.log(opened(book, customer), decided(book, customer))
    if customer.verdict == "approved":
        book.log(intended(book, customer))
        book.echo()
        book.log(applied(book, customer))
