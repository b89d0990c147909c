"""Broker connections by URL, with our transports registered and their errors translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import ChannelError, KombuError, OperationalError
from kombu.exceptions import ConnectionError as BrokerConnectionError

from shared.addresses import in_turn
from shared.bus import transports
from shared.errors import BrokerUnavailable, ConfigurationError

__all__ = ["Connection", "connect", "is_blocked", "require_broker", "translated"]


def connect(broker_url: str) -> Connection:
    """An open connection. Raises `BrokerUnavailable`, or `ConfigurationError` for a wrong URL."""
    *others, last = in_turn(broker_url)
    for url in others:
        with suppress(ConfigurationError):  # Refused: the one before may still be good.
            return _connect(url)
    return _connect(last)


def _connect(broker_url: str) -> Connection:
    transports.register()
    with translated():
        try:
            connection = Connection(broker_url)
        except KeyError as error:
            raise ConfigurationError("BROKER_URL names no broker that we know") from error
        return connection.connect() and connection


def require_broker(broker_url: str) -> None:
    """Open a connection and close it again. Raises `BrokerUnavailable`."""
    connect(broker_url).release()


@contextmanager
def translated(*, ignore_lost_channel: bool = False) -> Iterator[None]:
    """Kombu's errors as `BrokerUnavailable`."""
    try:
        yield
    except (
        OperationalError,
        BrokerConnectionError,
        ChannelError,
        KombuError,
        OSError,
    ) as error:
        if isinstance(error, transports.PublishError):
            raise
        if ignore_lost_channel:
            return
        raise BrokerUnavailable(f"the broker did not answer: {type(error).__name__}") from error


def is_blocked(connection: Connection) -> bool:
    """Whether the broker has said that it takes nothing at present (memory or disk alarm)."""
    # Kombu's `connection` would open another where this one is lost, by the address of then.
    return bool(connection.connected and getattr(connection.connection, "is_blocked", False))


def is_recoverable(error: Any) -> bool:
    """Whether a new connection may help."""
    return isinstance(error, BrokerUnavailable)
