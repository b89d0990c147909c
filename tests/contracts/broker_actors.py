"""Producers and consumers that the contract cases run, and kill, as processes of their own."""

from __future__ import annotations

import socket
import time
from typing import Any

from kombu import Connection, Consumer, Producer

from shared.bus import transports
from tests.contracts.broker import Broker, publish


def produce(broker: Broker, tell: Any, message_ids: list[str]) -> None:
    """Publish one after the other, tell each id after its confirm, then hang."""
    _produce(broker, tell, message_ids)
    time.sleep(60)


def produce_and_end(broker: Broker, tell: Any, message_ids: list[str]) -> None:
    _produce(broker, tell, message_ids)


def _produce(broker: Broker, tell: Any, message_ids: list[str]) -> None:
    transports.register()
    with Connection(broker.url) as connection:
        producer = Producer(connection.channel())
        for message_id in message_ids:
            publish(producer, broker, message_id)
            tell.put(message_id)


def hang_on_first(broker: Broker, tell: Any, prefetch: int) -> None:
    """Take a message, tell its id, and never settle it."""

    def hang(message: Any) -> None:
        tell.put(message.properties["message_id"])
        time.sleep(60)

    transports.register()
    with Connection(broker.url) as connection:
        options = {"prefetch_count": prefetch, "on_message": hang, "auto_declare": False}
        with Consumer(connection.channel(), [broker.work()], **options):
            while True:
                connection.drain_events(timeout=30)


def consume(broker: Broker, tell: Any, quiet_seconds: float) -> None:
    """Tell and acknowledge everything, until nothing came for a while."""

    def handle(message: Any) -> None:
        tell.put(message.properties["message_id"])
        message.ack()

    transports.register()
    with Connection(broker.url) as connection:
        options = {"prefetch_count": 10, "on_message": handle, "auto_declare": False}
        with Consumer(connection.channel(), [broker.work()], **options):
            try:
                while True:
                    connection.drain_events(timeout=quiet_seconds)
            except socket.timeout:  # noqa: UP041 - kombu's documented name
                tell.put(None)
