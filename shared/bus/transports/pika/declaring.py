"""The part of a channel that declares, binds, counts and deletes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amqp.protocol import queue_declare_ok_t
from kombu.transport.base import StdChannel


class DeclaringChannel(StdChannel):
    """Exchanges and queues as AMQP's ``exchange`` and ``queue`` classes.

    Every call raises `NotFound`, `PreconditionFailed` or `AccessRefused` as the broker says, and
    the channel is closed then.
    """

    def call(self, method: str, **arguments: Any) -> Any:
        """A method of pika's channel that answers through its ``callback``."""
        raise NotImplementedError

    def exchange_declare(
        self,
        exchange: str,
        type: str = "direct",  # noqa: A002 - AMQP's name
        durable: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        passive: bool = False,
        **_: Any,
    ) -> None:
        self.call(
            "exchange_declare",
            exchange=exchange,
            exchange_type=type,
            passive=passive,
            durable=durable,
            auto_delete=auto_delete,
            arguments=dict(arguments or {}),
        )

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """Returns the name, and how many messages are ready and how many consumers there are."""
        answer = self.call(
            "queue_declare",
            queue=queue,
            passive=passive,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            arguments=dict(arguments or {}),
        ).method
        return queue_declare_ok_t(answer.queue, answer.message_count, answer.consumer_count)

    def queue_bind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self.call(
            "queue_bind",
            queue=queue,
            exchange=exchange,
            routing_key=routing_key,
            arguments=dict(arguments or {}),
        )

    def queue_unbind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        self.call("queue_unbind", queue=queue, exchange=exchange, routing_key=routing_key)

    def queue_purge(self, queue: str, **_: Any) -> int:
        return int(self.call("queue_purge", queue=queue).method.message_count)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any
    ) -> int:
        answer = self.call("queue_delete", queue=queue, if_unused=if_unused, if_empty=if_empty)
        return int(answer.method.message_count)

    def exchange_delete(self, exchange: str, if_unused: bool = False, **_: Any) -> None:
        self.call("exchange_delete", exchange=exchange, if_unused=if_unused)
