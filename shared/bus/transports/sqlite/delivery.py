"""What a channel has leased: waiting in its buffer, or in a handler's hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from amqp.exceptions import PreconditionFailed
from kombu.message import Message
from kombu.utils import json

from shared.bus.transports.batching import HEADERS
from shared.bus.transports.sqlite.messages import Claim, Stored

# A consumer without a prefetch limit still leases in portions.
PORTION: Final = 100
# A handler that hangs lets its message go after this time.
LONGEST_SECONDS: Final = 600.0


@dataclass(kw_only=True, slots=True)
class Subscription:
    """One consumer of one queue. ``prefetch`` 0 means no limit; ``outstanding`` is its use."""

    tag: str
    queue: str
    no_ack: bool
    callback: Callable[[Message], Any]
    prefetch: int
    outstanding: int = 0

    @property
    def room(self) -> int:
        """How many messages may be leased now."""
        return max(0, self.prefetch - self.outstanding) if self.prefetch else PORTION


@dataclass(kw_only=True, slots=True)
class Delivery:
    """A leased message. The times are seconds of the monotonic clock."""

    tag: int
    stored: Stored
    subscription: Subscription | None
    leased_at: float
    lease_end: float
    is_handed: bool = False

    @property
    def claim(self) -> Claim:
        return Claim(id=self.stored.id, deliveries=self.stored.deliveries)

    def renewed_until(self, now: float, lease_seconds: float) -> float:
        """The new end of the lease, which never passes the longest time."""
        return min(now + lease_seconds, self.leased_at + LONGEST_SECONDS)

    def message(self, channel: Any) -> Message:
        """As kombu hands it to a consumer; the headers are RabbitMQ's."""
        stored = self.stored
        properties = json.loads(stored.properties)
        headers = properties.get(HEADERS) or {}
        if stored.deliveries > 1:
            headers["x-delivery-count"] = stored.deliveries - 1
        return Message(
            body=stored.body,
            channel=channel,
            delivery_tag=self.tag,
            content_type=properties.get("content_type"),
            content_encoding=properties.get("content_encoding"),
            headers=headers,
            properties=properties,
            delivery_info={
                "consumer_tag": self.subscription.tag if self.subscription else "",
                "delivery_tag": self.tag,
                "redelivered": stored.deliveries > 1,
                "exchange": stored.exchange,
                "routing_key": stored.routing_key,
            },
        )


class Deliveries:
    """The leases of one channel by delivery tag. Callers hold the store's lock."""

    def __init__(self) -> None:
        self._by_tag: dict[int, Delivery] = {}
        self._buffer: deque[Delivery] = deque()
        self._tags = count(1)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be handed over."""
        return not self._buffer

    def add(
        self,
        stored: Stored,
        subscription: Subscription | None,
        *,
        leased_at: float,
        lease_end: float,
    ) -> Delivery:
        """Keep a new lease; without a subscription it is handed over at once."""
        delivery = Delivery(
            tag=next(self._tags),
            stored=stored,
            subscription=subscription,
            leased_at=leased_at,
            lease_end=lease_end,
            is_handed=subscription is None,
        )
        self._by_tag[delivery.tag] = delivery
        if subscription is not None:
            subscription.outstanding += 1
            self._buffer.append(delivery)
        return delivery

    def hand_over(self, now: float) -> Delivery | None:
        """The next message for a handler. One whose lease has ended may be someone else's."""
        while self._buffer:
            delivery = self._buffer.popleft()
            if delivery.lease_end > now:
                delivery.is_handed = True
                return delivery
            self.forget([delivery])
        return None

    def handed(self, tag: int, *, multiple: bool) -> list[Delivery]:
        """What an acknowledgement speaks of. Raises `PreconditionFailed` for an unknown tag."""
        if multiple:
            return [d for d in self.all() if d.is_handed and (tag == 0 or d.tag <= tag)]
        if tag not in self._by_tag:
            raise PreconditionFailed(f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        return [self._by_tag[tag]]

    def buffered(self, subscription: Subscription) -> list[Delivery]:
        return [delivery for delivery in self._buffer if delivery.subscription is subscription]

    def all(self) -> list[Delivery]:
        return list(self._by_tag.values())

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """These are settled, or lost."""
        for delivery in deliveries:
            if self._by_tag.pop(delivery.tag, None) is None:
                continue
            if not delivery.is_handed and delivery in self._buffer:
                self._buffer.remove(delivery)
            if delivery.subscription is not None:
                delivery.subscription.outstanding -= 1
