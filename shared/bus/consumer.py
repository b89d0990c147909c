"""Consuming: batches of messages in hand from one work queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.messaging import Consumer as KombuConsumer

from shared.bus.connection import connect, translated
from shared.bus.delivery import Delivery
from shared.bus.topology import queue_named


class Consumer:
    """Hands over up to ``prefetch`` messages at a time; what is not settled comes again."""

    def __init__(self, broker_url: str, queue: str, *, prefetch: int) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._waiting: list[Delivery] = []
        self._connection = connect(broker_url)
        with translated():
            self._channel = self._connection.channel()
            self._consumer = KombuConsumer(
                self._channel,
                queues=[queue_named(queue)],
                on_message=self._receive,
                prefetch_count=prefetch,
                auto_declare=False,
            )
            self._consumer.consume()
            self._link = self._connection.connection

    @property
    def is_open(self) -> bool:
        """Whether what was handed over can still be acknowledged."""
        return bool(self._connection.connected) and not self._channel.closed

    def next_batch(self, timeout: float) -> list[Delivery]:
        """What is there now, up to the prefetch; waits ``timeout`` seconds for the first.

        Raises `BrokerUnavailable` once the connection is gone: another consumer is needed.
        """
        with translated():
            with _quiet_timeouts():
                if not self._waiting:
                    self._drain(timeout)
                while len(self._waiting) < self._prefetch:
                    self._drain(0)
        batch, self._waiting = self._waiting[: self._prefetch], self._waiting[self._prefetch :]
        return batch

    def close(self) -> None:
        """Stop; what was fetched and not settled goes back to the queue."""
        with translated(ignore_lost_channel=True):
            self._consumer.cancel()
            self._connection.release()

    def _drain(self, timeout: float) -> None:
        # Kombu's own `drain_events` would open another connection, which subscribes to nothing,
        # in place of one that ended between two batches, and wait there for ever.
        self._connection.transport.drain_events(self._link, timeout=timeout)

    def _receive(self, message: Any) -> None:
        self._waiting.append(delivery_of(message, self._queue))


def delivery_of(message: Any, queue: str) -> Delivery:
    """Our view of a kombu message; undecodable bytes become text that is no envelope."""
    body = message.body
    text = body if isinstance(body, str) else bytes(body).decode("utf-8", errors="replace")
    attempt = message.headers.get("attempt", 0)
    return Delivery(
        message=message,
        queue=queue,
        text=text,
        message_id=str(message.properties.get("message_id") or message.delivery_tag),
        attempt=attempt if isinstance(attempt, int) else 0,
        is_repeated=bool((message.delivery_info or {}).get("redelivered")),
    )


@contextmanager
def _quiet_timeouts() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        return
