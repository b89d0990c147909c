"""The half of a kombu transport that both of ours share: a connection drives itself."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import ChannelError, RecoverableChannelError, RecoverableConnectionError
from amqp.exceptions import ConnectionError as AMQPConnectionError
from kombu.transport import base


class DrivenTransport(base.Transport):
    """Hands on to the connection, which opens channels, delivers, and says whether it lives."""

    connection_errors = (AMQPConnectionError,)
    channel_errors = (ChannelError,)
    recoverable_connection_errors = (RecoverableConnectionError,)
    recoverable_channel_errors = (RecoverableChannelError,)

    def create_channel(self, connection: Any) -> Any:
        return connection.channel()

    def drain_events(self, connection: Any, **options: Any) -> None:
        connection.drain_events(**options)

    def verify_connection(self, connection: Any) -> bool:
        return bool(connection.connected)

    def close_connection(self, connection: Any) -> None:
        connection.close()
