"""The part of a channel that declares, binds, counts and deletes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from amqp.protocol import queue_declare_ok_t
from kombu.transport.base import StdChannel

from shared.bus.transports.sqlite import declarations
from shared.bus.transports.sqlite.store import Store


class DeclaringChannel(StdChannel):
    """Exchanges and queues as AMQP's ``exchange`` and ``queue`` classes."""

    @property
    def store(self) -> Store:
        """The bus file of an open channel."""
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
        """Raises `NotFound` (passive) or `PreconditionFailed` (declared otherwise before)."""
        with self.store.transaction(durable=True) as transaction:
            if passive:
                declarations.require_exchange(transaction.db, exchange)
                return
            declarations.declare_exchange(
                transaction.db,
                exchange,
                kind=type,
                durable=durable,
                auto_delete=auto_delete,
                arguments=arguments,
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
        """Returns the name and how many messages wait. Errors as in `exchange_declare`.

        Transient, exclusive and auto-delete queues are remembered as such and stay until they
        are deleted.
        """
        name = queue or f"amq.gen-{uuid.uuid4()}"
        with self.store.transaction(durable=True) as transaction:
            if passive:
                declarations.require_queue(transaction.db, name)
            else:
                declarations.declare_queue(
                    transaction.db,
                    name,
                    durable=durable,
                    exclusive=exclusive,
                    auto_delete=auto_delete,
                    arguments=arguments,
                )
            transaction.sweep()
            waiting = declarations.count_ready(transaction.db, name)
        return queue_declare_ok_t(name, waiting, 0)

    def queue_bind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        with self.store.transaction(durable=True) as transaction:
            declarations.bind(transaction.db, queue, exchange, routing_key)

    def queue_unbind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        with self.store.transaction(durable=True) as transaction:
            declarations.unbind(transaction.db, queue, exchange, routing_key)

    def queue_purge(self, queue: str, **_: Any) -> int:
        with self.store.transaction(durable=True) as transaction:
            declarations.require_queue(transaction.db, queue)
            return declarations.purge(transaction.db, queue)

    def queue_delete(self, queue: str, if_empty: bool = False, **_: Any) -> int:
        with self.store.transaction(durable=True) as transaction:
            return declarations.delete_queue(transaction.db, queue, if_empty=if_empty)

    def exchange_delete(self, exchange: str, if_unused: bool = False, **_: Any) -> None:
        with self.store.transaction(durable=True) as transaction:
            declarations.delete_exchange(transaction.db, exchange, if_unused=if_unused)
