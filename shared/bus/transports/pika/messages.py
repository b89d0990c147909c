"""A message as pika has it, and as kombu has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kombu.message import Message
from pika.spec import BasicProperties

from shared.bus.transports.batching import HEADERS, Outgoing

# AMQP's basic properties but the headers, under pika's names, which are kombu's too.
NAMES: Final = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
DELIVERIES: Final = "x-delivery-count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message with its address."""

    exchange: str
    routing_key: str
    mandatory: bool
    message_id: str
    body: bytes
    properties: BasicProperties


def publication(
    message: Outgoing, *, exchange: str, routing_key: str, mandatory: bool
) -> Publication:
    given = message.properties
    values = {name: given[name] for name in NAMES if given.get(name) is not None}
    return Publication(
        exchange=exchange,
        routing_key=routing_key,
        mandatory=mandatory,
        message_id=str(given.get("message_id") or ""),
        body=message.body,
        properties=BasicProperties(headers=given.get(HEADERS) or None, **values),
    )


def delivered(
    channel: Any, method: Any, properties: BasicProperties, body: bytes, consumer_tag: str
) -> Message:
    """As kombu hands it to a consumer; ``method`` is a ``Basic.Deliver`` or ``Basic.GetOk``."""
    values = {name: getattr(properties, name) for name in NAMES}
    known = {name: value for name, value in values.items() if value is not None}
    headers = dict(properties.headers or {})
    if not headers.get(DELIVERIES, 1):
        del headers[DELIVERIES]  # Only what comes again says so, as with the embedded broker.
    return Message(
        body=body,
        channel=channel,
        delivery_tag=method.delivery_tag,
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=headers,
        properties={**known, HEADERS: headers},
        delivery_info={
            "consumer_tag": consumer_tag,
            "delivery_tag": method.delivery_tag,
            "redelivered": method.redelivered,
            "exchange": method.exchange,
            "routing_key": method.routing_key,
        },
    )
