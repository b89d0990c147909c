"""What the contract cases need of a broker, and the small topology they use on it."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from kombu import Connection, Exchange, Producer, Queue
from kombu.message import Message

DELIVERY_LIMIT = 2
DELAYS = (200, 600)
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A broker under test. ``prefix`` keeps the names of two tests apart.

    ``after_kill`` does what follows the death of a process (its id is handed in) where the
    broker itself does not see it.
    """

    url: str
    prefix: str
    after_kill: Callable[[int], object]

    def name(self, last: str) -> str:
        return f"{self.prefix}.{last}"

    def events(self) -> Exchange:
        return Exchange(self.name("events"), "topic", durable=True)

    def work(self) -> Queue:
        """Takes ``work.#``; its dead letters go to `parked`."""
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.name("parked"),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return self._queue("work", arguments, self.events(), "work.#")

    def everything(self) -> Queue:
        return self._queue("everything", {}, self.events(), "#")

    def parked(self) -> Queue:
        return self._queue("parked", {"x-overflow": "reject-publish"})

    def waiting_room(self, milliseconds: int) -> Queue:
        """From here messages go to `work` after their time."""
        arguments = {
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.name("work"),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return self._queue(f"work.in.{milliseconds}", arguments)

    def declare(self, connection: Connection) -> None:
        rooms = [self.waiting_room(delay) for delay in DELAYS]
        with connection.channel() as channel:
            for queue in (self.parked(), *rooms, self.work()):
                queue.bind(channel).declare()

    def delete(self, connection: Connection) -> None:
        rooms = [self.waiting_room(delay) for delay in DELAYS]
        for queue in (self.work(), self.everything(), *rooms, self.parked()):
            with connection.channel() as channel:
                queue.bind(channel).delete()
        with connection.channel() as channel:
            self.events().bind(channel).delete()

    def kill(self, process: BaseProcess) -> None:
        """As `kill -9`, and what follows from it."""
        assert process.pid is not None
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.after_kill(process.pid)

    def _queue(
        self, last: str, arguments: dict[str, Any], exchange: Exchange | None = None, key: str = ""
    ) -> Queue:
        return Queue(
            self.name(last),
            exchange,
            routing_key=key or self.name(last),
            queue_arguments={"x-queue-type": "quorum", **arguments},
        )


def publish(
    producer: Producer, broker: Broker, message_id: str, *, key: str = "work.made", **more: Any
) -> None:
    """As our publisher does: durable, mandatory, with an id."""
    options = {
        "exchange": broker.name("events"),
        "routing_key": key,
        "message_id": message_id,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "mandatory": True,
    }
    producer.publish(b'{"id": "%s"}' % message_id.encode(), **(options | more))


def take(
    connection: Connection, queue: Queue, count: int = 1, *, seconds: float = 10
) -> list[Message]:
    """Get up to ``count`` messages one by one, unacknowledged, on one channel."""
    bound = queue.bind(connection.channel())
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        message = bound.get()
        if message is None:
            time.sleep(0.02)
        else:
            found.append(message)
    return found


def ids(messages: list[Message]) -> list[str]:
    return [str(message.properties["message_id"]) for message in messages]


def waiting(connection: Connection, queue: Queue) -> int:
    """How many messages are ready in the queue."""
    with connection.channel() as channel:
        return int(queue.bind(channel).queue_declare(passive=True).message_count)


def publish_many(connection: Connection, broker: Broker, count: int) -> None:
    channel = connection.channel()
    with channel.batch():
        for number in range(count):
            publish(Producer(channel), broker, f"m{number}")


def drain(connection: Connection, *, quiet_seconds: float = 0.3) -> None:
    """Deliver until nothing has come for a while."""
    while True:
        try:
            connection.drain_events(timeout=quiet_seconds)
        except socket.timeout:  # noqa: UP041 - kombu's documented name
            return


def reopen(connection: Connection) -> None:
    """Lose every channel and come back."""
    connection.close()
    connection.connect()
