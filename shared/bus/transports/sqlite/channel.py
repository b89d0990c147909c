"""The AMQP operations that kombu asks of a channel, on a bus file."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError
from kombu.message import Message

from shared.bus.transports.batching import BatchingChannel, Outgoing
from shared.bus.transports.refusal import LeaseLost
from shared.bus.transports.sqlite import declarations
from shared.bus.transports.sqlite.declaring import DeclaringChannel
from shared.bus.transports.sqlite.delivery import Deliveries, Delivery, Subscription
from shared.bus.transports.sqlite.messages import Publication, publication

if TYPE_CHECKING:
    from shared.bus.transports.sqlite.store import Store
    from shared.bus.transports.sqlite.transport import Connection


class Channel(BatchingChannel[Publication, Delivery], DeclaringChannel):
    """Publishes and settles from any thread; deliveries come through `Connection.drain_events`.

    A channel does not outlive its connection: afterwards every call raises
    `RecoverableConnectionError`, and what it had leased is in the queue again.
    """

    def __init__(self, connection: Connection, channel_id: int) -> None:
        self.connection = connection
        self.channel_id = channel_id
        self.closed = False
        self.owner = f"{connection.owner}.{channel_id}"
        self.no_ack_consumers: set[str] = set()  # type: ignore[assignment]  # None in kombu's base
        self.deliveries = Deliveries()
        self.subscriptions: dict[str, Subscription] = {}
        self._prefetch = 0
        self.local = threading.local()

    @property
    def store(self) -> Store:
        """The bus file. Raises `RecoverableConnectionError` once the channel is closed."""
        if self.closed:
            raise RecoverableConnectionError("the channel is closed")
        return self.connection.store

    def publication(
        self, message: Outgoing, *, exchange: str, routing_key: str, mandatory: bool
    ) -> Publication:
        return publication(message, exchange=exchange, routing_key=routing_key, mandatory=mandatory)

    def write(
        self, publications: Sequence[Publication], acknowledged: Sequence[Delivery]
    ) -> tuple[list[str], int]:
        """One transaction; returns the refused message ids and how many leases were lost."""
        claims = [delivery.claim for delivery in acknowledged]
        try:
            with self.store.transaction(durable=bool(publications)) as transaction:
                refused = [
                    publication.message_id
                    for publication in publications
                    if not transaction.put(publication) and publication.mandatory
                ]
                settled = transaction.acknowledge(self.owner, claims) if claims else 0
        finally:
            self._forget(acknowledged)
        return refused, len(claims) - settled

    def basic_qos(
        self,
        prefetch_size: int = 0,  # noqa: ARG002 - AMQP's signature
        prefetch_count: int = 0,
        apply_global: bool = False,
    ) -> None:
        """The limit of each consumer that subscribes from now on, or (global) already has."""
        self._prefetch = prefetch_count
        for subscription in self.subscriptions.values() if apply_global else ():
            subscription.prefetch = prefetch_count

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,
        consumer_tag: str = "",
        *,
        callback: Callable[[Message], Any],
        **_: Any,
    ) -> str:
        """Subscribe; returns the consumer tag. Raises `NotFound` where there is no such queue."""
        with self.store.transaction(durable=False) as transaction:
            declarations.require_queue(transaction.db, queue)
        tag = consumer_tag or f"ctag-{uuid.uuid4()}"
        with self.store.lock:
            self.subscriptions[tag] = Subscription(
                tag=tag,
                queue=queue,
                no_ack=bool(no_ack),
                callback=callback,
                prefetch=self._prefetch,
            )
            if no_ack:
                self.no_ack_consumers.add(tag)
        self.connection.listen()
        return tag

    def basic_cancel(self, consumer_tag: str, **_: Any) -> None:
        """Unsubscribe; what was fetched and not handed over goes back uncounted."""
        if self.closed:
            return
        with self.store.lock:
            self.no_ack_consumers.discard(consumer_tag)
            subscription = self.subscriptions.pop(consumer_tag, None)
            buffered = self.deliveries.buffered(subscription) if subscription else []
        self.connection.listen()
        self.give_back(buffered)

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Message | None:
        """One message, or None. Raises `NotFound` where there is no such queue."""
        now = time.monotonic()
        lease_end = now + self.connection.lease_seconds
        is_swept = False
        while not is_swept:
            with self.store.transaction(durable=False) as transaction:
                declarations.require_queue(transaction.db, queue)
                is_swept = transaction.sweep()
                leased = transaction.lease(queue, self.owner, lease_end, 1) if is_swept else []
        if not leased:
            return None
        with self.store.lock:
            delivery = self.deliveries.add(leased[0], None, leased_at=now, lease_end=lease_end)
        self.connection.keep_renewing()
        if no_ack:
            self.write([], [delivery])
        return delivery.message(self)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Delete the message, or note it in the open batch of this thread.

        Raises `LeaseLost` where the message is no longer ours.
        """
        with self.store.lock:
            deliveries = self.deliveries.handed(delivery_tag, multiple=multiple)
        self.acknowledge(deliveries)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Give the message back, which counts, or send it to the dead letters."""
        with self.store.lock:
            (delivery,) = self.deliveries.handed(delivery_tag, multiple=False)
        try:
            with self.store.transaction(durable=False) as transaction:
                if requeue:
                    kept = transaction.give_back(self.owner, delivery.claim, counted=True)
                else:
                    kept = transaction.reject(self.owner, delivery.claim)
        finally:
            self._forget([delivery])
        if not kept:
            raise LeaseLost("the rejection came too late")

    def basic_recover(self, requeue: bool = True) -> None:  # noqa: ARG002 - AMQP's signature
        """Give back everything that was handed over and is not settled."""
        with self.store.lock:
            deliveries = self.deliveries.handed(0, multiple=True)
        self.give_back(deliveries)

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Back to the queue. Only those that reached a handler count against the limit."""
        if not deliveries:
            return
        try:
            with self.store.transaction(durable=False) as transaction:
                for delivery in deliveries:
                    transaction.give_back(self.owner, delivery.claim, counted=delivery.is_handed)
        finally:
            self._forget(deliveries)

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        with self.connection.store.lock:
            self.deliveries.forget(deliveries)
        self.connection.wake_drain()

    def close(self) -> None:
        """Give back everything and end the channel."""
        if self.closed:
            return
        try:
            if self.connection.connected:
                self.give_back(self.deliveries.all())
        finally:
            self.closed = True
            self.subscriptions.clear()
            self.connection.remove(self)
