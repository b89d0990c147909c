"""Exchanges, queues and bindings, generated from the topic table; named nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kombu.entity import Exchange, Queue, binding

from shared.domain.topics import AUDIT, SERVICES, consumed_by

EVENTS = "countersign"
DEAD = "countersign.dead"
DELAY = "countersign.delay"
MAX_ATTEMPTS = 6
DELIVERY_LIMIT = 5


@dataclass(frozen=True, kw_only=True)
class Delay:
    """One waiting room: ``name`` is part of the queue's name, ``milliseconds`` its TTL."""

    name: str
    milliseconds: int


DELAYS = (
    Delay(name="10s", milliseconds=10_000),
    Delay(name="1m", milliseconds=60_000),
    Delay(name="10m", milliseconds=600_000),
)


def work_queues() -> tuple[str, ...]:
    """One work queue for each service that consumes, by the service's name."""
    return tuple(name for name in SERVICES if consumed_by(name))


def delay_for(attempt: int) -> Delay:
    """The waiting room after the ``attempt``-th try, counted from 1."""
    return DELAYS[min(attempt, len(DELAYS)) - 1]


def parked(queue: str) -> str:
    """Where the dead letters of a queue rest."""
    return f"{queue}.parked"


def delayed(queue: str, delay: str) -> str:
    """Where messages of a queue wait for ``delay``, the name of one."""
    return f"{queue}.in.{delay}"


def events_exchange() -> Exchange:
    return Exchange(EVENTS, type="topic", durable=True)


def dead_exchange() -> Exchange:
    """A topic exchange, though nothing has a pattern: only there RabbitMQ limits routing keys."""
    return Exchange(DEAD, type="topic", durable=True)


def delay_exchange() -> Exchange:
    return Exchange(DELAY, type="topic", durable=True)


def queue_named(name: str) -> Queue:
    """The work queue of a service, to declare or to consume."""
    bindings = ("#",) if name == AUDIT else tuple(map(str, consumed_by(name)))
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return _bound(name, events_exchange(), bindings, arguments)


def parked_queue(name: str) -> Queue:
    """The dead letters of a work queue: no time limit, a person empties it."""
    arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    return _bound(parked(name), dead_exchange(), (name,), arguments)


def delay_queue(name: str, delay: Delay) -> Queue:
    """One waiting room of a work queue. Mixed delays in one queue would block at its head."""
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": delay.milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    key = f"{delay.name}.{name}"
    return _bound(delayed(name, delay.name), delay_exchange(), (key,), arguments)


def all_queues() -> list[Queue]:
    """Every queue, parked ones first: a dead letter must have somewhere to go."""
    names = work_queues()
    return [
        *(parked_queue(name) for name in names),
        *(delay_queue(name, delay) for name in names for delay in DELAYS),
        *(queue_named(name) for name in names),
    ]


def declare(connection: Any) -> None:
    """Make everything that is not there; other arguments than before are an error."""
    with connection.channel() as channel:
        for exchange in (dead_exchange(), delay_exchange(), events_exchange()):
            exchange.bind(channel).declare()
        for queue in all_queues():
            queue.bind(channel).declare()


def _bound(
    name: str, exchange: Exchange, keys: tuple[str, ...], arguments: dict[str, Any]
) -> Queue:
    bindings = [binding(exchange, routing_key=key) for key in keys]
    return Queue(name, bindings=bindings, durable=True, queue_arguments=arguments)
