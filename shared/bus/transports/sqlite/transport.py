"""The transport that kombu finds behind ``durable+sqlite:////path/bus.db``."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sqlite3
import threading
import time
import weakref
from itertools import count
from pathlib import Path
from typing import Any, Final

from amqp.exceptions import ConnectionError as AMQPConnectionError

from shared.bus import wake
from shared.bus.transports.driven import DrivenTransport
from shared.bus.transports.sqlite.channel import Channel
from shared.bus.transports.sqlite.delivery import Delivery, Subscription
from shared.bus.transports.sqlite.store import Outlook, Store
from shared.bus.transports.sqlite.transaction import LONGEST_LEASE
from shared.errors import ConfigurationError

LEASE_SECONDS: Final = 15.0
# How long to wait at most without a wake-up, and at least between two looks.
IDLE_SECONDS: Final = 0.5
BREATH_SECONDS: Final = 0.002


class Connection:
    """An open bus file: its channels, and the loop that delivers messages."""

    def __init__(self, client: Any, path: Path, lease_seconds: float) -> None:
        self.client = client
        self.lease_seconds = lease_seconds
        self.owner = f"{os.getpid()}.{secrets.token_hex(4)}"
        self.channels: list[Channel] = []
        self.store = Store(path)
        self._channel_ids = count(1)
        self._listeners: dict[str, wake.Listener] = {}
        self._is_waiting = False
        self._patience = IDLE_SECONDS
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """False after `close`, and in a forked child: kombu then makes a new connection."""
        return self.store.is_usable

    def channel(self) -> Channel:
        channel = Channel(self, next(self._channel_ids))
        self.channels.append(channel)
        return channel

    def remove(self, channel: Channel) -> None:
        with contextlib.suppress(ValueError):
            self.channels.remove(channel)
        self.listen()

    def close(self) -> None:
        """Give back every delivery and close the file; in a forked child only forget."""
        self._ended.set()
        try:
            for channel in list(self.channels):
                channel.close()
        finally:
            for listener in self._listeners.values():
                listener.close()
            self._listeners.clear()
            self.store.close()

    def drain_events(self, timeout: float | None = None) -> None:
        """Hand one message to its consumer. Raises `socket.timeout` when none came."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # Set before looking: room that another thread makes during the look is not missed.
            self._is_waiting = True
            found = self._next()
            if found is None:
                self._wait(deadline)
                continue
            self._is_waiting = False
            if self._deliver(*found):
                return

    def wake_drain(self) -> None:
        """Another thread made room: the waiting one may fetch again."""
        if self._is_waiting:
            for listener in list(self._listeners.values())[:1]:
                listener.wake()

    def listen(self) -> None:
        """Have one listener for each queue that is consumed."""
        if not self.connected:
            return
        with self.store.lock:
            wanted = {s.queue for channel in self.channels for s in channel.subscriptions.values()}
            for queue in self._listeners.keys() - wanted:
                self._listeners.pop(queue).close()
            for queue in wanted - self._listeners.keys():
                self._listeners[queue] = wake.Listener(self.store.wake_folder, queue)

    def _next(self) -> tuple[Channel, Delivery] | None:
        if (buffered := self._hand_over()) is not None:
            return buffered
        hungry = self._hungry()
        outlook = self.store.look([subscription.queue for _, subscription in hungry])
        self._patience = _patience(outlook)
        if outlook.is_ready or self._patience <= 0:
            self._fetch(hungry)
        return self._hand_over()

    def _hand_over(self) -> tuple[Channel, Delivery] | None:
        now = time.monotonic()
        with self.store.lock:
            for channel in self.channels:
                if (delivery := channel.deliveries.hand_over(now)) is not None:
                    return channel, delivery
        return None

    def _hungry(self) -> list[tuple[Channel, Subscription]]:
        with self.store.lock:
            return [
                (channel, subscription)
                for channel in self.channels
                for subscription in channel.subscriptions.values()
                if subscription.room
            ]

    def _fetch(self, hungry: list[tuple[Channel, Subscription]]) -> None:
        """Fill every free prefetch window in one transaction."""
        now = time.monotonic()
        lease_end = now + self.lease_seconds
        with self.store.lock:
            with self.store.transaction(durable=False) as transaction:
                # What has expired must not be delivered, so a sweep with a rest comes first.
                is_swept = transaction.sweep()
                leased = [
                    (channel, subscription, stored)
                    for channel, subscription in (hungry if is_swept else [])
                    for stored in transaction.lease(
                        subscription.queue, channel.owner, lease_end, subscription.room
                    )
                ]
            for channel, subscription, stored in leased:
                channel.deliveries.add(stored, subscription, leased_at=now, lease_end=lease_end)
        if leased:
            self.keep_renewing()

    def _deliver(self, channel: Channel, delivery: Delivery) -> bool:
        subscription = delivery.subscription
        assert subscription is not None, "only basic_get leases without a subscription"
        message = delivery.message(channel)
        if subscription.no_ack and channel.write([], [delivery])[1]:
            return False
        subscription.callback(message)
        return True

    def _wait(self, deadline: float | None) -> None:
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            self._is_waiting = False
            raise socket.timeout  # noqa: UP041 - kombu's documented name
        patience = max(BREATH_SECONDS, self._patience)
        remaining = patience if deadline is None else min(patience, deadline - now)
        wake.wait_for_any(list(self._listeners.values()), remaining)

    def keep_renewing(self) -> None:
        """Start the thread that renews leases, once there are any."""
        if self._renewer is None:
            arguments = (weakref.ref(self), self._ended, self.lease_seconds / 3)
            self._renewer = threading.Thread(target=_renew, args=arguments, daemon=True)
            self._renewer.start()

    def renew(self) -> None:
        """Renew every lease that has used a third of its time."""
        now = time.monotonic()
        with self.store.lock:
            due = [
                (channel, delivery)
                for channel in self.channels
                for delivery in channel.deliveries.all()
                if now < delivery.lease_end < now + self.lease_seconds * 0.7
            ]
            if not due:
                return
            with self.store.transaction(durable=False) as transaction:
                for channel, delivery in due:
                    lease_end = delivery.renewed_until(now, self.lease_seconds)
                    transaction.renew(channel.owner, [delivery.claim], lease_end)
            for _, delivery in due:
                delivery.lease_end = delivery.renewed_until(now, self.lease_seconds)


class Transport(DrivenTransport):
    """What kombu asks of a transport. ``transport_options``: ``lease`` in seconds."""

    can_parse_url = True
    driver_type = "sqlite"
    driver_name = "sqlite3"
    implements = DrivenTransport.implements.extend(
        asynchronous=False,
        batch_publish=True,
        exchange_type=frozenset({"direct", "fanout", "topic"}),
        heartbeats=False,
    )

    def driver_version(self) -> str:
        return sqlite3.sqlite_version

    def establish_connection(self) -> Connection:
        """Raises `RecoverableConnectionError`, or `ConfigurationError` for a useless path."""
        lease = float(
            (getattr(self.client, "transport_options", None) or {}).get("lease", LEASE_SECONDS)
        )
        if not 0 < lease <= LONGEST_LEASE:
            raise ConfigurationError(f"a lease lasts at most {LONGEST_LEASE:.0f} seconds")
        return Connection(self.client, _path(self.client), lease)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:  # noqa: ARG002 - kombu's signature
        return f"durable+{uri}"


def _path(client: Any) -> Path:
    """In kombu's fields: ``sqlite:////path`` as host name, or the path alone as virtual host."""
    text = str(client.hostname or client.virtual_host)
    path = Path(text.removeprefix("sqlite:///"))
    if not path.is_absolute():
        raise ConfigurationError("the bus file needs a full path: durable+sqlite:////path/bus.db")
    return path


def _patience(outlook: Outlook) -> float:
    """Seconds until something can happen without a wake-up; 0 or less: now."""
    now = time.monotonic()
    waits = [IDLE_SECONDS]
    if outlook.expiry is not None:
        waits.append(outlook.expiry - time.time())
    if outlook.first_lease_end is not None:
        waits.append(outlook.first_lease_end - now)
    if outlook.last_lease_end is not None and outlook.last_lease_end > now + LONGEST_LEASE:
        return 0.0
    return min(waits)


def _renew(connection: weakref.ref[Connection], ended: threading.Event, seconds: float) -> None:
    """Until the connection is closed or forgotten; a failed try leaves time for another."""
    while not ended.wait(seconds):
        alive = connection()
        if alive is None:
            return
        with contextlib.suppress(AMQPConnectionError):
            alive.renew()
        del alive
