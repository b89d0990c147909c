"""How much waits in each queue: asked of whichever broker there is."""

from __future__ import annotations

from amqp.exceptions import NotFound
from kombu.entity import Queue

from shared.bus.connection import Connection, connect, translated
from shared.bus.topology import all_queues
from shared.bus.transports.sqlite import depths as embedded
from shared.bus.transports.sqlite import file_of


def depths(broker_url: str) -> dict[str, tuple[int, float | None]]:
    """Queue → messages waiting (embedded: or in hand), and the age of the oldest in seconds.

    RabbitMQ does not tell ages without handing messages out: ``None``. Raises `BrokerUnavailable`.
    """
    if (file := file_of(broker_url)) is not None:
        return embedded.depths(file)
    connection = connect(broker_url)
    try:
        return {queue.name: (_waiting(connection, queue), None) for queue in all_queues()}
    finally:
        connection.release()


def _waiting(connection: Connection, queue: Queue) -> int:
    """0 where the queue is not declared yet, which is what readiness is there to say."""
    with translated():
        try:
            with connection.channel() as channel:
                bound = queue.bind(channel)
                return int(bound.queue_declare(passive=True).message_count)
        except NotFound:
            return 0
