"""The writer with everything it meets: the demo CRM on a socket, keys, people, policy, a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from services.audit.merkle import Frontier, inclusion_path
from services.audit.notes import sign_note
from services.writer import acts, cards, handlers, schemas
from services.writer.apply import complete
from services.writer.crm.demo import DemoWriter
from services.writer.deps import ByCrm, WebDeps, WorkerDeps
from services.writer.drafts import carry_out_decisions
from services.writer.expiry import expire
from services.writer.facts import Sources
from services.writer.policy_watch import require_policy
from services.writer.signing import decision_keys, load_signer
from services.writer.tables import changes, metadata, outbox, proposals
from shared.access import Person
from shared.bell import Bell
from shared.bus.envelope import Envelope, decode, traceparent
from shared.crm.demo import DemoReader
from shared.db import open_database, reading, writing
from shared.domain import ids
from shared.domain.classification import Classification, ClassificationSchema, Outcome, Urgency
from shared.domain.event import Event, EventKind, Sender
from shared.domain.ledger import LedgerEntry, LedgerEntrySchema, commitment
from shared.domain.proposal import (
    Evidence,
    FieldChange,
    Maker,
    Proposal,
    ProposalKind,
)
from shared.domain.record import RecordRef
from shared.domain.schema import dump
from shared.domain.topics import TOPICS, Topic
from shared.keys import load_private, make_key
from shared.office import add_working
from shared.outbox import UnitOfWork
from shared.people import People
from shared.proof import Checkpoint, VerifierKey, leaf_hash
from tests.databases import fresh_database
from tests.fakes.crm_fixtures import READ, WRITE, Crm, running_crm

CONTACT = RecordRef(crm="demo", type="contacts", id="1001")
START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # A Monday.
OLD_PHONE = "+12025550101"
NEW_PHONE = "+12025550199"
MAIL = "My new number is +12025550199, please use it."
POLICY_HEAD = """
[office]
zone = "UTC"
"""


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@dataclass
class Log:
    """A ledger in memory that answers each intent with a receipt, as audit does."""

    private: Any
    entries: list[LedgerEntry] = field(default_factory=list)

    @property
    def vkey(self) -> VerifierKey:
        return VerifierKey(name="log.test", public_key=self.private.public_key().public_bytes_raw())

    def receipt(self, envelope: Envelope) -> dict[str, Any]:
        salt = bytes([len(self.entries) % 256]) * 32
        self.entries.append(
            LedgerEntry(
                seq=len(self.entries),
                at=envelope.at,
                topic=str(envelope.topic),
                actor=envelope.actor,
                subject=envelope.subject,
                chain=envelope.chain,
                message_id=envelope.id,
                cause=envelope.cause,
                commitment=commitment(salt, envelope.body),
            )
        )
        leaves = [leaf_hash(entry.leaf()) for entry in self.entries]
        frontier, nodes = Frontier().append(leaves)
        known = {(level, index): node for level, index, node in nodes}
        size = len(leaves)
        path = inclusion_path(lambda level, index: known[level, index], size - 1, size)
        note = Checkpoint(origin="log.test", size=size, root=frontier.root()).text()
        return {
            "change_id": envelope.body["id"],
            "entry": dump(LedgerEntrySchema, self.entries[-1]),
            "salt": salt.hex(),
            "proof": [node.hex() for node in path],
            "checkpoint": sign_note(note, "log.test", self.private),
        }


@dataclass
class World:
    folder: Path
    crm: Crm
    clock: Clock
    people: People
    web: WebDeps
    worker: WorkerDeps
    log: Log
    told: list[Envelope] = field(default_factory=list)
    handled: set[str] = field(default_factory=set)
    holds_receipts: bool = False
    held: list[Envelope] = field(default_factory=list)

    def person(self, name: str) -> Person:
        account = self.people.get(name)
        assert account is not None
        return Person(
            id=account.id,
            name=account.name,
            roles=frozenset(account.roles),
            aliases=account.aliases,
            auth_level="password",
            auth_time=self.clock.now - timedelta(minutes=5),
        )

    def envelope(self, topic: Topic, body: dict[str, Any], chain: str, **more: Any) -> Envelope:
        return Envelope(
            id=more.get("id") or ids.fresh(),
            topic=topic,
            schema=TOPICS[topic].version,
            chain=chain,
            cause=more.get("cause"),
            actor=more.get("actor", "service:test"),
            subject=more.get("subject", f"event/{chain}"),
            at=self.clock.now,
            traceparent=traceparent(chain),
            body=body,
        )

    def hear(self, envelope: Envelope) -> None:
        """What the worker loop does with one message."""
        if envelope.id in self.handled:
            return
        effect = handlers.HANDLERS[envelope.topic](envelope, self.worker)
        with self.worker.unit_of_work.begin(cause=envelope) as unit:
            effect(unit)
        self.handled.add(envelope.id)

    def classify(self, answer: Classification) -> None:
        body = dump(ClassificationSchema, answer)
        self.hear(self.envelope(Topic.EVENT_CLASSIFIED, body, answer.event.id))

    def outgoing(self) -> list[Envelope]:
        with writing(self.worker.engine) as db:
            waiting = outbox.unsent(db)
            if waiting:
                outbox.mark_sent(db, [message.id for message in waiting], self.clock.now)
        found = [decode(message.text) for message in waiting]
        self.told += found
        return found

    def pump(self) -> None:
        """Carry messages until nothing moves any more."""
        while (
            found := [*self.held, *self.outgoing()]
            if not self.holds_receipts
            else (self.outgoing())
        ):
            self.held = []
            for envelope in found:
                self._deliver(envelope)

    def _deliver(self, envelope: Envelope) -> None:
        if envelope.topic is Topic.CHANGE_INTENDED:
            if self.holds_receipts:
                self.held.append(envelope)
                return
            body = self.log.receipt(envelope)
            self.hear(
                self.envelope(
                    Topic.RECEIPT_ISSUED, body, envelope.chain, id=f"receipt-{envelope.id}"
                )
            )
        elif envelope.topic in handlers.HANDLERS:
            self.hear(envelope)

    def complete(self) -> None:
        complete(self.worker)
        self.pump()

    def expire(self) -> None:
        expire(self.worker)
        self.pump()

    def promote_drafts(self) -> None:
        carry_out_decisions(self.worker)
        self.pump()

    def topics(self) -> list[str]:
        return [str(envelope.topic) for envelope in self.told]

    def last(self, topic: Topic) -> dict[str, Any]:
        return dict([e for e in self.told if e.topic is topic][-1].body)

    def proposal(self, *changes_: FieldChange, **more: Any) -> Proposal:
        fields = changes_ or (phone_change(),)
        event_id = more.pop("event_id", None) or ids.fresh()
        record = more.pop("record", CONTACT)
        with reading(self.worker.engine) as db:
            from services.writer.policy_store import in_force

            policy = in_force(db).policy
        values = {
            "id": ids.proposal_id(event_id, str(record), 1),
            "event_id": event_id,
            "kind": ProposalKind.UPDATE,
            "record": record,
            "title": "Dana Miller",
            "fields": tuple(sorted(fields, key=lambda one: one.field)),
            "maker": Maker(kind="rules", name="rules", version="1"),
            "policy": policy.version,
            "source_sha256": "0" * 64,
            "created_at": self.clock.now,
            "expires_at": add_working(policy.office, self.clock.now, 16 * 60),
        }
        return Proposal(**{**values, **more})

    def answer(self, *found: Proposal, **more: Any) -> Classification:
        event_id = found[0].event_id if found else more.pop("event_id", ids.fresh())
        event = more.pop("event", None) or mail(event_id, self.clock.now)
        values = {
            "event": event,
            "outcome": Outcome.PROPOSED if found else Outcome.A_PERSON_MUST_LOOK,
            "route": "inbox",
            "urgency": Urgency.NORMAL,
            "summary": "A customer tells us a new number.",
            "reason": "A contact detail was found.",
            "maker": Maker(kind="rules", name="rules", version="1"),
            "policy": "p",
            "proposals": found,
        }
        return Classification(**{**values, **more})

    def propose(self, *changes_: FieldChange, **more: Any) -> Proposal:
        """A pending card, of an event a second later than the one before."""
        self.clock.forward(seconds=1)
        found = self.proposal(*changes_, **more)
        self.classify(self.answer(found))
        return found

    def digest(self, card: str) -> str:
        return cards.card(self.web, self.person("ada"), card).card_digest

    def approve(self, card: str, who: str = "ada", **fields: Any) -> Any:
        choices = {name: schemas.Choice(**choice) for name, choice in fields.items()}
        form = schemas.Approve(card_digest=self.digest(card), fields=choices, confirmed=True)
        return acts.approve(self.web, self.person(who), card, form)

    def state(self, card: str) -> str:
        with reading(self.worker.engine) as db:
            return str(db.scalar(select(proposals.c.state).where(proposals.c.id == card)))

    def change(self, card: str) -> Any:
        with reading(self.worker.engine) as db:
            query = select(changes).where(changes.c.proposal_id == card)
            return db.execute(query.order_by(changes.c.intended_at.desc())).first()

    def in_crm(self, name: str = "phone", contact: str = "1001") -> Any:
        return self.crm.get(f"/api/contacts/{contact}")["fields"][name]

    def effects(self, change_id: str) -> list[dict[str, Any]]:
        return list(self.crm.get(f"/api/changes?change_id={change_id}")["changes"])

    def edit_by_hand(self, name: str, value: Any, contact: str = "1001") -> None:
        """A person works in the CRM itself."""
        from services.demo_crm.store import PERSON, Author

        self.crm.app.store.update("contacts", contact, {name: value}, Author(name=PERSON))


def phone_change(after: Any = NEW_PHONE, before: Any = OLD_PHONE) -> FieldChange:
    start = MAIL.index(NEW_PHONE)
    evidence = Evidence(part="body", start=start, end=start + len(NEW_PHONE), quote=NEW_PHONE)
    return FieldChange(field="phone", before=before, after=after, evidence=evidence, confidence=900)


def title_change(after: str = "Head baker") -> FieldChange:
    return FieldChange(field="job_title", before="Owner", after=after, confidence=700)


def mail(event_id: str, at: datetime, **more: Any) -> Event:
    values = {
        "id": event_id,
        "source": "postmark",
        "endpoint": "default",
        "type": "mail.received",
        "kind": EventKind.MAIL,
        "received_at": at,
        "raw_sha256": "0" * 64,
        "dedup_key": event_id,
        "subject": "New number",
        "sender": Sender(name="Dana Miller", email="dana.miller@example.com"),
        "parts": {"subject": "New number", "body": MAIL},
    }
    return Event(**{**values, **more})


def policy_text(*, two_person: Sequence[str] = (), **rules: str) -> str:
    """A policy over the demo CRM's contacts; ``rules`` are extra lines by field."""
    fields = {"phone": "phone", "job_title": "text", "company": "text", "email": "email"}
    text = POLICY_HEAD + "[two_person]\ncooling_off_minutes = 15\n"
    for name, kind in fields.items():
        mode = "two_person" if name in two_person else "review"
        text += (
            f'[fields.demo.contacts.{name}]\nmode = "{mode}"\nstage = "live"\ntype = "{kind}"\n'
            f'max_length = 100\nexpiry_hours = 16\nreason = "For the tests."\n{rules.get(name, "")}\n'
        )
    for name in ("first_name", "last_name", "email"):
        kind = fields.get(name, "text")
        text += (
            f'[fields.demo.drafts.{name}]\nmode = "review"\nstage = "live"\ntype = "{kind}"\n'
            f'max_length = 100\nexpiry_hours = 16\nreason = "For the tests."\n'
        )
    return text


@contextmanager
def running_world(
    folder: Path,
    *,
    policy: str | None = None,
    people: Sequence[tuple[str, tuple[str, ...]]] = (
        ("ada", ("approver",)),
        ("ben", ("approver",)),
    ),
    write_timeout: float = 10.0,
    connect: Callable[[Any, Clock], tuple[dict[str, Any], dict[str, Any]]] | None = None,
    vendors: Mapping[str, str] | None = None,
    sandboxes: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """``connect`` gives readers and writers of another CRM for an engine and a clock.

    ``sandboxes`` names by live account the one that stands in for it.
    """
    clock = Clock()
    (folder / "policy.toml").write_text(policy or policy_text())
    keys = folder / "keys"
    keys.mkdir()
    make_key(keys, "decisions")
    make_key(keys, "checkpoints")
    log = Log(private=load_private(keys / "checkpoints.ed25519"))
    accounts = People(folder / "people.toml", clock=clock)
    for name, roles in people:
        accounts.add(name.capitalize(), roles=roles)
    engine = open_database(fresh_database(folder, "writer"))
    metadata.create_all(engine)
    units = UnitOfWork(engine=engine, outbox=outbox, clock=clock, bell=Bell(folder=folder))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        crm = stack.enter_context(running_crm(folder))
        others = connect(engine, clock) if connect else ({}, {})
        demo = DemoReader(crm.url, READ, timeout=2.0, clock=clock)
        linked: Any = ByCrm({"demo": demo, **others[0]})
        worker = WorkerDeps(
            engine=engine,
            outbox=outbox,
            unit_of_work=units,
            clock=clock,
            sources=Sources(
                people=accounts.all,
                decision_keys=decision_keys(keys),
                log_keys=lambda: (log.vkey,),
                sandboxes=sandboxes or {},
            ),
            readers=linked,
            writers=ByCrm({"demo": DemoWriter(crm.url, WRITE, timeout=write_timeout), **others[1]}),
            policy_file=folder / "policy.toml",
            vendors=vendors or {},
        )
        web = WebDeps(
            engine=engine,
            outbox=outbox,
            unit_of_work=units,
            clock=clock,
            people=accounts.all,
            readers=linked,
            signer=load_signer(keys),
            sandboxes=sandboxes or {},
        )
        require_policy(worker)
        yield World(
            folder=folder,
            crm=crm,
            clock=clock,
            people=accounts,
            web=web,
            worker=worker,
            log=log,
        )
