"""Publishing: always durable, mandatory and confirmed; a missing confirm is an unknown outcome."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kombu.messaging import Producer

from shared.bus.connection import Connection, connect, is_blocked, translated
from shared.bus.topology import DEAD, DELAY, EVENTS, Delay
from shared.bus.transports import PublishError
from shared.bus.waiting import Waiting
from shared.errors import BrokerUnavailable, Unavailable
from shared.outbox import Outgoing

CONTENT_TYPE = "application/json"
BLOCKED = "the broker takes nothing at present: a memory or disk alarm"


class Publisher:
    """One connection for publishing, reopened after any error. Safe from several threads."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._problem: str | None = None

    @property
    def broker_url(self) -> str:
        return self._url

    def problem(self) -> str | None:
        """Why nothing could be published the last time, if so; a reason for readiness."""
        return self._problem

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Publish all as one batch; returns the ids that the broker refused.

        Raises `BrokerUnavailable` when the outcome is unknown: send the same ids again.
        """
        try:
            with self._batch() as producer:
                for message in messages:
                    _publish(producer, EVENTS, message.topic, message.id, message.text, {})
        except PublishError as error:
            return set(error.messages)
        return set()

    def park(self, queue: str, message_id: str, text: str, reason: str) -> None:
        """To the dead letters of ``queue``, with the reason."""
        self._one(DEAD, queue, message_id, text, {"error": reason})

    def retry(self, queue: str, message_id: str, text: str, attempt: int, delay: Delay) -> None:
        """Back to ``queue`` after ``delay``."""
        self._one(DELAY, f"{delay.name}.{queue}", message_id, text, {"attempt": attempt})

    def put(self, messages: Sequence[Waiting]) -> None:
        """Bring messages back to the places where they waited, as one batch."""
        with self._batch() as producer:
            for message in messages:
                exchange, key, headers = message.address()
                _publish(producer, exchange, key, message.message_id, message.text, headers)

    def acknowledge(self, messages: Sequence[Any]) -> None:
        """Acknowledge in one go, on the channel that delivered. A lost channel is no error:
        the broker has given the messages back, and the inbox absorbs the repeat.
        """
        if not messages:
            return
        with translated(ignore_lost_channel=True):
            with messages[0].channel.batch():
                for message in messages:
                    message.ack()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _one(
        self, exchange: str, key: str, message_id: str, text: str, headers: dict[str, Any]
    ) -> None:
        with self._batch() as producer:
            _publish(producer, exchange, key, message_id, text, headers)

    @contextmanager
    def _batch(self) -> Iterator[Producer]:
        with self._lock, self._judged(), translated():
            try:
                producer = self._ready()
                with producer.channel.batch():
                    yield producer
            except PublishError:
                raise
            except Exception as error:
                is_refusing = self._connection is not None and is_blocked(self._connection)
                self._drop()
                if is_refusing:
                    raise BrokerUnavailable(BLOCKED) from error
                raise

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Remember how it went."""
        try:
            yield
        except Unavailable as error:
            self._problem = str(error)
            raise
        self._problem = None

    def _ready(self) -> Producer:
        if self._producer is None:
            self._connection = connect(self._url)
            self._producer = Producer(self._connection.channel())
        return self._producer

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()


def _publish(
    producer: Producer,
    exchange: str,
    key: str,
    message_id: str,
    text: str,
    headers: dict[str, Any],
) -> None:
    producer.publish(
        text.encode(),
        exchange=exchange,
        routing_key=key,
        headers=headers,
        message_id=message_id,
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
        delivery_mode=2,
        mandatory=True,
        retry=False,
    )
