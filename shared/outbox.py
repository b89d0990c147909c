"""State and message in one commit: the outbox and inbox tables of a service, and its relay.

A message is written beside the state change it tells of; the relay publishes it afterwards, in
order, and marks it only when the broker has confirmed. A repeat has the same id, so whoever gets
it twice acts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    select,
    update,
)

from shared.bell import Bell
from shared.bus.envelope import Envelope, body_of, encode, traceparent
from shared.db import asking, insert_new, writing
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import TOPICS, Topic
from shared.faultpoints import reached

BATCH = 200
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message ready for the broker; ``text`` is the encoded envelope."""

    id: str
    topic: str
    text: str


class Sends(Protocol):
    """What a relay needs of the broker: `shared.bus.publisher.Publisher`, or a test's own."""

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Publish and wait for all confirms; returns the ids the broker refused.

        Raises `BrokerUnavailable` when the outcome is unknown: send the same ids again.
        """


class Outbox:
    """The two tables of one service, and what is asked of them."""

    def __init__(self, metadata: MetaData, service: str) -> None:
        self.service = service
        self.outbox = Table(
            "outbox",
            metadata,
            Column("seq", Integer, primary_key=True, autoincrement=True),
            Column("message_id", String, nullable=False, unique=True),
            Column("topic", String, nullable=False),
            Column("chain", String, nullable=False, index=True),
            Column("body", Text),
            Column("created_at", String, nullable=False),
            Column("sent_at", String, index=True),
            sqlite_autoincrement=True,
        )
        self.inbox = Table(
            "inbox",
            metadata,
            Column("message_id", String, primary_key=True),
            Column("handled_at", String, nullable=False, index=True),
        )
        # Asked with every batch: building a statement costs more than running it.
        out, seen = self.outbox.c, self.inbox.c.message_id
        self._handled = select(seen).where(seen.in_(bindparam("ids", expanding=True)))
        self._handle = self.inbox.insert().inline()
        self._unsent = (
            select(out.message_id, out.topic, out.body)
            .where(out.sent_at.is_(None))
            .order_by(out.seq)
            .limit(bindparam("most"))
        )
        self._sent = (
            update(self.outbox)
            .where(out.message_id == bindparam("id_"))
            .values(sent_at=bindparam("at_"), body=None)
        )

    def add(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """Write the messages into the open transaction; a repeat of an id is ignored."""
        insert_new(
            connection,
            self.outbox,
            [
                {
                    "message_id": envelope.id,
                    "topic": str(envelope.topic),
                    "chain": envelope.chain,
                    "body": encode(envelope),
                    "created_at": rfc3339(envelope.at),
                }
                for envelope in envelopes
            ],
        )

    def handled(self, connection: Connection, message_ids: Sequence[str]) -> set[str]:
        """Which of these messages have had their effect already."""
        return set(connection.scalars(self._handled, {"ids": message_ids}))

    def mark_handled(
        self, connection: Connection, message_ids: Sequence[str], at: datetime
    ) -> None:
        handled_at = rfc3339(at)
        rows = [{"message_id": id_, "handled_at": handled_at} for id_ in message_ids]
        connection.execute(self._handle, rows)

    def forget(self, connection: Connection, chains: Sequence[str]) -> None:
        """After an erasure: what was sent keeps no body. What was not has to go out first."""
        is_theirs = self.outbox.c.chain.in_(chains) & self.outbox.c.sent_at.is_not(None)
        connection.execute(update(self.outbox).where(is_theirs).values(body=None))

    def unsent(self, connection: Connection, limit: int = BATCH) -> list[Outgoing]:
        """The oldest messages that are not confirmed yet, in order."""
        rows = connection.execute(self._unsent, {"most": limit})
        return [Outgoing(id=row[0], topic=row[1], text=row[2]) for row in rows]

    def mark_sent(self, connection: Connection, message_ids: Sequence[str], at: datetime) -> None:
        """Personal data leaves the outbox with the message: the body is nulled."""
        sent_at = rfc3339(at)
        connection.execute(self._sent, [{"id_": id_, "at_": sent_at} for id_ in message_ids])

    def waiting(self, connection: Connection) -> int:
        """How many messages wait for the broker."""
        query = select(func.count()).where(self.outbox.c.sent_at.is_(None))
        return connection.scalar(query) or 0

    def prune(self, connection: Connection, before: datetime) -> None:
        """Forget handled and sent ids older than any retry or replay path (30 days)."""
        limit = rfc3339(before)
        connection.execute(self.inbox.delete().where(self.inbox.c.handled_at < limit))
        connection.execute(self.outbox.delete().where(self.outbox.c.sent_at < limit))


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One open write transaction and the messages that commit with it."""

    db: Connection
    service: str
    bell: Bell
    now: datetime
    cause: Envelope | None = None
    envelopes: list[Envelope] = field(default_factory=list)
    endings: list[Callable[[Unit], None]] = field(default_factory=list)
    facts: dict[Any, Any] = field(default_factory=dict)

    def once(self, read: Callable[[Connection], T]) -> T:
        """What ``read`` finds: for all units of a transaction that change none of it."""
        if read not in self.facts:
            self.facts[read] = read(self.db)
        found: T = self.facts[read]
        return found

    def publish(
        self,
        topic: Topic,
        noun: Any,
        *,
        subject: str,
        chain: str | None = None,
        actor: str | None = None,
        key: str = "",
    ) -> Envelope:
        """Queue a message for this commit. ``key`` tells apart several of one topic and subject.

        Without a cause a message is told apart by its chain, subject and ``key`` alone, so a
        caller that starts something twice on purpose hands in a key. Raises `BadPayload`.
        """
        chain = chain if chain is not None else (self.cause.chain if self.cause else subject)
        cause = self.cause.id if self.cause else None
        envelope = Envelope(
            id=ids.message_id(cause or chain, str(topic), f"{subject}#{key}"),
            topic=topic,
            schema=TOPICS[topic].version,
            chain=chain,
            cause=cause,
            actor=actor or f"service:{self.service}",
            subject=subject,
            at=self.now,
            traceparent=traceparent(chain),
            body=body_of(topic, noun),
        )
        self.envelopes.append(envelope)
        return envelope

    def ring(self, loop: str) -> None:
        """Wake a loop of this service's worker when this has committed."""
        self.bell.ring(self.db, f"{self.service}.{loop}")

    def before_commit(self, action: Callable[[Unit], None]) -> None:
        """Run ``action`` once, last in this transaction, however many messages ask for it."""
        if action not in self.endings:
            self.endings.append(action)


@dataclass(frozen=True, kw_only=True)
class UnitOfWork:
    """Opens units. ``bell`` wakes the relay at each commit that has messages."""

    engine: Engine
    outbox: Outbox
    clock: Callable[[], datetime]
    bell: Bell

    @contextmanager
    def begin(self, *, cause: Envelope | None = None) -> Iterator[Unit]:
        """One transaction: what is written and what is told commit together or not at all."""
        with self.batch() as unit_for:
            yield unit_for(cause)

    @contextmanager
    def batch(self) -> Iterator[Callable[[Envelope | None], Unit]]:
        """One transaction for several causes: call the yielded function once for each."""
        units: list[Unit] = []
        endings: list[Callable[[Unit], None]] = []
        facts: dict[Any, Any] = {}
        now = self.clock()
        with writing(self.engine) as connection:

            def unit_for(cause: Envelope | None) -> Unit:
                unit = Unit(
                    db=connection,
                    service=self.outbox.service,
                    bell=self.bell,
                    now=now,
                    cause=cause,
                    endings=endings,
                    facts=facts,
                )
                units.append(unit)
                return unit

            yield unit_for
            for action in endings:
                action(unit_for(None))
            envelopes = [envelope for unit in units for envelope in unit.envelopes]
            self.outbox.add(connection, envelopes)
            if envelopes:
                unit_for(None).ring("relay")
            reached("outbox.before_commit")
        reached("outbox.committed")


@dataclass(frozen=True, kw_only=True)
class Relay:
    """Carries the outbox to the broker, in order, until nothing waits."""

    engine: Engine
    outbox: Outbox
    publisher: Sends
    clock: Callable[[], datetime]

    def drain(self) -> int:
        """Send all that waits; returns how many were confirmed. Raises `BrokerUnavailable`."""
        sent = 0
        while messages := self._next():
            reached("relay.before_publish")
            refused = self.publisher.send(messages)
            reached("relay.after_publish")
            confirmed = [m.id for m in messages if m.id not in refused]
            if confirmed:
                with writing(self.engine) as connection:
                    self.outbox.mark_sent(connection, confirmed, self.clock())
                reached("relay.marked")
            sent += len(confirmed)
            # More of them ring again. An unroutable one is a defect of ours: keep it, alarm, do
            # not spin.
            if len(confirmed) < BATCH:
                break
        return sent

    def _next(self) -> list[Outgoing]:
        with asking(self.engine) as connection:
            return self.outbox.unsent(connection)
