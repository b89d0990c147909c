"""The AMQP operations that kombu asks of a channel, on a bus file."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amqp.exceptions import PreconditionFailed, RecoverableConnectionError
from amqp.protocol import queue_declare_ok_t
from kombu.message import Message
from kombu.transport.base import StdChannel, to_rabbitmq_queue_arguments

from shared.bus.transports.refusal import LeaseLost, PublishError
from shared.bus.transports.sqlite import declarations
from shared.bus.transports.sqlite.batch import Batch
from shared.bus.transports.sqlite.delivery import Delivery, Deliveries, Subscription
from shared.bus.transports.sqlite.messages import HEADERS, Outgoing, Publication, publication

if TYPE_CHECKING:
    from shared.bus.transports.sqlite.transport import Connection
    from shared.bus.transports.sqlite.transaction import Transaction


class Channel(StdChannel):
    """Publish and settle from any thread; deliveries come through `Connection.drain_events`.

    A channel does not outlive its connection: afterwards every call raises
    `RecoverableConnectionError`, and what it had leased is in the queue again.
    """

    def __init__(self, connection: Connection, channel_id: int) -> None:
        self.connection = connection
        self.channel_id = channel_id
        self.closed = False
        self.no_ack_consumers: set[str] = set()
        self.deliveries = Deliveries(owner=f"{connection.owner}.{channel_id}")
        self._local = threading.local()
"""
