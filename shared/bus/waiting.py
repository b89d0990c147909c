"""Messages that wait at a broker, in a form that any broker of ours takes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.bus.topology import DEAD, DELAY, DELAYS, delayed, parked, work_queues

READY, PARKED = "ready", "parked"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One message of one work queue. ``place`` is ready, parked, or the name of a delay.

    ``attempt`` counts the tries so far, ``reason`` says why it is parked.
    """

    queue: str
    place: str
    message_id: str
    text: str
    attempt: int = 0
    reason: str = ""

    def address(self) -> tuple[str, str, dict[str, Any]]:
        """Exchange, routing key and headers that bring it to the same place again."""
        tries = {"attempt": self.attempt} if self.attempt else {}
        if self.place == READY:
            return "", self.queue, tries
        if self.place == PARKED:
            return DEAD, self.queue, {"error": self.reason, **tries}
        return DELAY, f"{self.place}.{self.queue}", tries


def queue_of(message: Waiting) -> str:
    """The name of the queue in which it waits."""
    return _queues(message.queue)[message.place]


def place_of(name: str) -> tuple[str, str] | None:
    """Work queue and place that a queue's name means; ``None`` for a queue that is not ours."""
    for queue in work_queues():
        for place, found in _queues(queue).items():
            if found == name:
                return queue, place
    return None


def why_parked(headers: Mapping[str, Any]) -> str:
    """What stands with a dead letter: our own words, or the broker's account of its deaths."""
    deaths = headers.get("x-death") or [{}]
    died = f"the process died while handling it ({deaths[0].get('reason', 'unknown')})"
    return str(headers.get("error") or died)


def _queues(queue: str) -> dict[str, str]:
    """Name by place."""
    waits = {delay.name: delayed(queue, delay.name) for delay in DELAYS}
    return {READY: queue, PARKED: parked(queue), **waits}
