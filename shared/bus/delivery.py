"""Settling: the one place that acknowledges a message, last, and only when all else is durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog

from shared.bus.envelope import Envelope, decode
from shared.bus.publisher import Publisher
from shared.bus.topology import MAX_ATTEMPTS, delay_for
from shared.errors import PipelineError, Unavailable
from shared.faultpoints import reached

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message in hand. ``attempt`` counts the tries before this one; ``is_repeated``: the
    broker has handed it out before, and got no answer.
    """

    message: Any
    queue: str
    text: str
    message_id: str
    attempt: int
    is_repeated: bool = False

    def envelope(self) -> Envelope:
        """Raises `BadPayload` where the text is no envelope."""
        return self._decoded

    @cached_property
    def _decoded(self) -> Envelope:
        return decode(self.text)


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """A delivery and how it ended: ``error`` is ``None`` where its effect is committed."""

    delivery: Delivery
    error: Exception | None = None

    def is_final_failure(self) -> bool:
        """Whether it goes to the dead letters now."""
        if self.error is None:
            return False
        if isinstance(self.error, Unavailable):
            return self.delivery.attempt + 1 >= MAX_ATTEMPTS
        return True

    def reason(self) -> str:
        """Why, in words that hold no personal data: only our own errors speak for themselves."""
        if isinstance(self.error, PipelineError):
            return f"{type(self.error).__name__}: {self.error}"
        return f"bug: {type(self.error).__name__}"


def settle(settlements: Sequence[Settlement], publisher: Publisher) -> None:
    """Retry later, dead-letter or nothing, each confirmed; then acknowledge the whole batch.

    Raises `BrokerUnavailable` when a confirm is missing: nothing is acknowledged then, and the
    messages come again.
    """
    for settlement in settlements:
        if settlement.error is not None:
            _send_on(settlement, publisher)
    if any(settlement.error is not None for settlement in settlements):
        reached("delivery.sent_on")
    publisher.acknowledge([settlement.delivery.message for settlement in settlements])


def _send_on(settlement: Settlement, publisher: Publisher) -> None:
    delivery, error = settlement.delivery, settlement.error
    if not isinstance(error, PipelineError):
        log.error("handler failed", message_id=delivery.message_id, exc_info=error)
    if settlement.is_final_failure():
        log.warning("parked", message_id=delivery.message_id, queue=delivery.queue)
        publisher.park(delivery.queue, delivery.message_id, delivery.text, settlement.reason())
    else:
        attempt = delivery.attempt + 1
        delay = delay_for(attempt)
        publisher.retry(delivery.queue, delivery.message_id, delivery.text, attempt, delay)
