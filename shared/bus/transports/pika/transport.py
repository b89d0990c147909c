"""The transport that kombu finds behind ``pika://`` and ``pikas://``."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import pika
from amqp.exceptions import (
    ConsumerCancelled,
    RecoverableConnectionError,
)

from shared.bus.transports.driven import DrivenTransport
from shared.bus.transports.pika.channel import Channel
from shared.bus.transports.pika.link import Link
from shared.bus.transports.pika.messages import delivered

HEARTBEAT_SECONDS: Final = 10
CONNECT_SECONDS: Final = 10.0
CONFIRM_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A delivery on its way from the loop's thread to the one that drains."""

    channel: Channel
    method: Any
    properties: Any
    body: bytes


class Connection:
    """An open connection: its channels, and what was delivered and waits for `drain_events`."""

    def __init__(self, client: Any, parameters: Any, confirm_seconds: float) -> None:
        self.client = client
        self.confirm_seconds = confirm_seconds
        self._waiting: deque[Arrival | Exception] = deque()
        self._news = threading.Condition()
        seconds = float(client.connect_timeout or CONNECT_SECONDS)
        self.link = Link(parameters, seconds, self._put)

    @property
    def connected(self) -> bool:
        """False after `close`, and in a forked child: kombu then makes a new connection."""
        return self.link.is_usable

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes nothing at present (memory or disk alarm)."""
        return self.link.is_blocked

    def channel(self) -> Channel:
        return Channel(self)

    def close(self) -> None:
        self.link.close()

    def drain_events(self, timeout: float | None = None) -> None:
        """Hand what has arrived to its consumers, one message at least.

        Raises `socket.timeout` when none came, `RecoverableConnectionError` when the connection
        is gone. A consumer that raises leaves the rest for the next call.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        is_handed = False
        while not is_handed:
            for _ in range(self._await(deadline)):
                is_handed = self._hand_over() or is_handed

    def _await(self, deadline: float | None) -> int:
        """How many arrivals there are; waits for the first."""
        with self._news:
            while not self._waiting:
                if not self.connected:
                    raise RecoverableConnectionError("the connection to the broker is closed")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise socket.timeout  # noqa: UP041 - kombu's documented name
                self._news.wait(left)
            return len(self._waiting)

    def _hand_over(self) -> bool:
        """Whether a consumer got the next message. Raises the news that is an error."""
        with self._news:
            if not self._waiting:
                return False  # A consumer was cancelled meanwhile, and took out what was its own.
            arrival = self._waiting.popleft()
        if isinstance(arrival, Exception):
            raise arrival
        channel, tag = arrival.channel, arrival.method.consumer_tag
        callback = channel.callbacks.get(tag)
        # What came on a channel that has ended is in its queue again.
        if callback is None or channel.closed:
            return False
        callback(delivered(channel, arrival.method, arrival.properties, arrival.body, tag))
        return True

    def take_out(self, channel: Channel, consumer_tag: str) -> list[int]:
        """The delivery tags of what waits here for a consumer; it does not any more."""
        with self._news:
            taken = [
                one
                for one in self._waiting
                if isinstance(one, Arrival)
                and one.channel is channel
                and one.method.consumer_tag == consumer_tag
            ]
            for one in taken:
                self._waiting.remove(one)
        return [one.method.delivery_tag for one in taken]

    # From here on everything runs in the loop's thread.

    def arrived(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """Whoever waits is woken once for all that the broker sent together."""
        arrival = Arrival(channel=channel, method=method, properties=properties, body=body)
        with self._news:
            self._waiting.append(arrival)
            if len(self._waiting) == 1:
                self.link.pika.ioloop.add_callback_threadsafe(self._wake)

    def cancelled(self, channel: Channel, consumer_tag: str) -> None:
        """The broker has ended a subscription: its queue is gone."""
        if channel.callbacks.pop(consumer_tag, None) is not None:
            self._put(ConsumerCancelled(consumer_tag))

    def channel_ended(self, channel: Channel, error: Exception) -> None:
        """Somebody waits for messages of this channel for ever, unless told."""
        if channel.callbacks:
            self._put(error)

    def _put(self, error: Exception) -> None:
        with self._news:
            self._waiting.append(error)
        self._wake()

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()


class Transport(DrivenTransport):
    """What kombu asks of a transport. ``transport_options``: ``confirm_timeout`` in seconds."""

    can_parse_url = False
    default_port: Any = 5672
    driver_type = "amqp"
    driver_name = "pika"
    implements = DrivenTransport.implements.extend(
        asynchronous=False,
        batch_publish=True,
        exchange_type=frozenset({"direct", "fanout", "topic", "headers"}),
        heartbeats=False,  # The loop's thread sends them; kombu has nothing to do.
    )
    is_tls = False

    @property
    def default_connection_params(self) -> dict[str, Any]:
        return {
            "userid": "guest",
            "password": "guest",
            "port": self.default_port,
            "hostname": "127.0.0.1",
        }

    def driver_version(self) -> str:
        return str(pika.__version__)

    def establish_connection(self) -> Connection:
        """Raises `RecoverableConnectionError`, or `ConfigurationError` for a refused user."""
        client: Any = self.client
        options = client.transport_options or {}
        seconds = float(options.get("confirm_timeout", CONFIRM_SECONDS))
        return Connection(client, self._parameters(client, seconds), seconds)

    def _parameters(self, client: Any, confirm_seconds: float) -> Any:
        given = self.default_connection_params
        host = client.hostname or given["hostname"]
        user, password = client.userid or given["userid"], client.password or given["password"]
        return pika.ConnectionParameters(
            host="127.0.0.1" if host == "localhost" else host,
            port=int(client.port or self.default_port),
            virtual_host=client.virtual_host or "/",
            credentials=pika.PlainCredentials(user, password),
            heartbeat=int(client.heartbeat or HEARTBEAT_SECONDS),
            socket_timeout=float(client.connect_timeout or CONNECT_SECONDS),
            # A broker that takes nothing does not answer to a close either: nobody waits for it.
            blocked_connection_timeout=confirm_seconds,
            ssl_options=self._tls(client.ssl, host),
        )

    def _tls(self, given: Any, host: str) -> Any:
        """The system's authorities, or those of ``SSL_CERT_FILE``; always checked."""
        if not self.is_tls and not given:
            return None
        files = given if isinstance(given, dict) else {}
        context = ssl.create_default_context(cafile=files.get("ca_certs"))
        if files.get("certfile"):
            context.load_cert_chain(files["certfile"], files.get("keyfile"))
        return pika.SSLOptions(context, host)


class TLSTransport(Transport):
    """``pikas://``."""

    default_port = 5671
    is_tls = True
