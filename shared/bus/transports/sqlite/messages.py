"""The shapes a message has on its way: published, stored, leased."""

from __future__ import annotations

from dataclasses import dataclass

from kombu.utils import json

from shared.bus.transports.batching import HEADERS, Outgoing


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message with its address. ``expiration`` is in milliseconds, as in AMQP."""

    exchange: str
    routing_key: str
    mandatory: bool
    message_id: str
    body: bytes
    properties: str
    priority: int
    expiration: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A row of the table of messages. ``deliveries`` counts the one in progress."""

    id: int
    queue: str
    exchange: str
    routing_key: str
    deliveries: int
    properties: str
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One delivery of one message: both numbers must match, so that a claim which was lost
    cannot settle a later delivery to the same owner.
    """

    id: int
    deliveries: int


def publication(
    message: Outgoing, *, exchange: str, routing_key: str, mandatory: bool
) -> Publication:
    """Freeze a message for writing. Raises `TypeError` for a header that is not JSON."""
    expiration = message.properties.get("expiration")
    return Publication(
        exchange=exchange,
        routing_key=routing_key,
        mandatory=mandatory,
        message_id=str(message.properties.get("message_id") or ""),
        body=message.body,
        properties=json.dumps(message.properties),
        priority=int(message.properties.get("priority") or 0),
        expiration=None if expiration is None else int(expiration),
    )


def with_death(stored: Stored, *, reason: str, seconds: float) -> str:
    """The properties with one more ``x-death``, as RabbitMQ writes it.

    https://www.rabbitmq.com/docs/dlx#effects
    """
    properties = json.loads(stored.properties)
    headers = properties.setdefault(HEADERS, {})
    earlier = headers.get("x-death", [])
    same = [d for d in earlier if d["queue"] == stored.queue and d["reason"] == reason]
    death = {
        "count": 1 + (same[0]["count"] if same else 0),
        "reason": reason,
        "queue": stored.queue,
        "time": int(seconds),
        "exchange": stored.exchange,
        "routing-keys": [stored.routing_key],
    }
    # An expired message must not expire again where it goes.
    if (expiration := properties.pop("expiration", None)) is not None:
        death["original-expiration"] = expiration
    headers["x-death"] = [death, *(d for d in earlier if d not in same)]
    headers.setdefault("x-first-death-reason", reason)
    headers.setdefault("x-first-death-queue", stored.queue)
    headers.setdefault("x-first-death-exchange", stored.exchange)
    return str(json.dumps(properties))
