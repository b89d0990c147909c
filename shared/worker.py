"""The one loop that runs every worker: a batch of messages, one commit, then acknowledge."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import structlog

from shared.bus.consumer import Consumer
from shared.bus.delivery import Delivery, Settlement, settle
from shared.bus.envelope import Envelope
from shared.bus.publisher import Publisher
from shared.db import asking
from shared.domain.topics import Topic
from shared.errors import BadPayload, Rejected, Unavailable
from shared.faultpoints import reached
from shared.heartbeat import Heart
from shared.remembering import forget_all
from shared.service import Effect, Handler, Worker

log = structlog.get_logger()
POLL_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """A message whose slow work is done and whose effect waits for the commit."""

    delivery: Delivery
    envelope: Envelope
    effect: Effect


@dataclass(kw_only=True)
class Consuming:
    """Consumes the queue of one service until ``stop`` is set.

    ``deps`` is what the handlers get; it has ``engine``, ``outbox`` and ``unit_of_work``.
    """

    name: str
    worker: Worker
    deps: Any
    broker_url: str
    stop: threading.Event
    heart: Heart | None = None
    publisher: Publisher = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.broker_url)
        self._threads = ThreadPoolExecutor(self.worker.threads, self.name)

    def run(self) -> None:
        """Until told to stop; a broker that goes away is waited for, with growing pauses."""
        pause = FIRST_PAUSE
        while not self.stop.is_set():
            try:
                self._consume()
                pause = FIRST_PAUSE
            except Unavailable as error:
                log.warning("waiting for a dependency", service=self.name, error=str(error))
                self._beat(pause)
                self.stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self.publisher.close()
        self._threads.shutdown()
        if self.heart is not None:
            self.heart.stop()

    def _beat(self, pause: float = 0.0) -> None:
        if self.heart is not None:
            self.heart.beat(pause)

    def _consume(self) -> None:
        """What a dead process had in hand comes first, one at a time: of those only the message
        that kills counts towards the delivery limit, and none that lay beside it.
        """
        self._consume_until(lambda batch: not any(d.is_repeated for d in batch), prefetch=1)
        # What a service wires may ask for less: one at a time where a model is asked.
        prefetch = getattr(self.deps, "prefetch", self.worker.prefetch)
        self._consume_until(lambda _: False, prefetch=prefetch)

    def _consume_until(self, ends: Callable[[Sequence[Delivery]], bool], *, prefetch: int) -> None:
        """Until a batch ends it, or until told to stop."""
        consumer = Consumer(self.broker_url, self.name, prefetch=prefetch)
        try:
            while not self.stop.is_set():
                self._beat()
                if batch := consumer.next_batch(POLL_SECONDS):
                    self.handle(batch, consumer)
                if ends(batch):
                    return
        finally:
            consumer.close()

    def handle(self, batch: Sequence[Delivery], consumer: Consumer) -> None:
        """All of them, in order. Raises `BrokerUnavailable` when the consumer has lost them.

        Told to stop, it finishes what is in hand; the rest goes back when the consumer closes.
        """
        for together in self._portions(batch):
            self._handle_patiently(together, consumer)
            self._beat()
            if self.stop.is_set():
                return

    def _handle_patiently(self, batch: Sequence[Delivery], consumer: Consumer) -> None:
        """However long the database is away they stay in hand: given back, each try would count
        towards the delivery limit, which is for dead processes.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                self._handle_together(batch)
                return
            except Unavailable as error:
                if self.stop.is_set() or not consumer.is_open:
                    raise
                log.warning("waiting for a dependency", service=self.name, error=str(error))
            self.stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _portions(self, batch: Sequence[Delivery]) -> Iterator[list[Delivery]]:
        for is_alone, deliveries in groupby(batch, self._is_alone):
            if is_alone:
                yield from ([delivery] for delivery in deliveries)
            else:
                yield list(deliveries)

    def _is_alone(self, delivery: Delivery) -> bool:
        if not self.worker.alone:
            return False
        try:
            return delivery.envelope().topic in self.worker.alone
        except Rejected:
            return False

    def _handle_together(self, batch: Sequence[Delivery]) -> None:
        """Work, one commit, acknowledge."""
        fresh = self._fresh(batch)
        is_fresh = {id(delivery) for delivery in fresh}
        repeats = [Settlement(delivery=d) for d in batch if id(d) not in is_fresh]
        ends = list(self._side_by_side(fresh))
        done = [end for end in ends if isinstance(end, Done)]
        failed = [end for end in ends if isinstance(end, Settlement)]
        reached("worker.before_commit")
        failed += self._commit(done)
        self._record_failures(failed)
        reached("worker.before_ack")
        lost = {id(settlement.delivery) for settlement in failed}
        kept = [Settlement(delivery=d.delivery) for d in done if id(d.delivery) not in lost]
        settle([*repeats, *kept, *failed], self.publisher)
        reached("worker.after_ack")

    def _fresh(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """The first of each id that had no effect yet."""
        with asking(self.deps.engine) as connection:
            seen = self.deps.outbox.handled(connection, [d.message_id for d in batch])
        fresh = []
        for delivery in batch:
            if delivery.message_id not in seen:
                seen.add(delivery.message_id)
                fresh.append(delivery)
        return fresh

    def _side_by_side(self, fresh: Sequence[Delivery]) -> Iterable[Done | Settlement]:
        work = partial(self._work, deps=self.worker.for_batch(self.deps))
        if self.worker.threads == 1 or len(fresh) == 1:
            return map(work, fresh)
        return self._threads.map(work, fresh)

    def _work(self, delivery: Delivery, deps: Any) -> Done | Settlement:
        try:
            envelope = delivery.envelope()
            effect = self._handler(envelope.topic)(envelope, deps)
        except Exception as error:  # noqa: BLE001 - every end of a handler is settled.
            return Settlement(delivery=delivery, error=error)
        return Done(delivery=delivery, envelope=envelope, effect=effect)

    def _handler(self, topic: Topic) -> Handler:
        try:
            return self.worker.handlers[topic]
        except KeyError:
            raise BadPayload(f"{self.name} does not act on {topic}") from None

    def _commit(self, done: Sequence[Done]) -> list[Settlement]:
        """One transaction for all; if that fails, one for each, so that the guilty one is found."""
        try:
            self._commit_together(done)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - as above.
            if len(done) == 1:
                return [Settlement(delivery=done[0].delivery, error=error)]
            return [failure for one in done for failure in self._commit([one])]
        return []

    def _commit_together(self, done: Sequence[Done]) -> None:
        if not done:
            return
        with self.deps.unit_of_work.batch() as unit_for:
            for one in done:
                unit = unit_for(one.envelope)
                one.effect(unit)
            ids = [one.delivery.message_id for one in done]
            self.deps.outbox.mark_handled(unit.db, ids, unit.now)
        if any(one.envelope.topic is Topic.PERSON_ERASED for one in done):
            forget_all()

    def _record_failures(self, failed: Sequence[Settlement]) -> None:
        """Tell the log of each message that goes to the dead letters now."""
        final = [settlement for settlement in failed if settlement.is_final_failure()]
        if not final:
            return
        with self.deps.unit_of_work.batch() as unit_for:
            for settlement in final:
                self._tell(unit_for, settlement)

    def _tell(self, unit_for: Any, settlement: Settlement) -> None:
        delivery = settlement.delivery
        try:
            cause: Envelope | None = delivery.envelope()
        except Rejected:
            cause = None
        unit = unit_for(cause)
        subject = f"message/{delivery.message_id}"
        body = {
            "message_id": delivery.message_id,
            "queue": delivery.queue,
            "topic": str(cause.topic) if cause else "",
            "reason": settlement.reason(),
        }
        unit.publish(Topic.MESSAGE_PARKED, body, subject=subject)
