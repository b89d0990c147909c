"""Five ways to put confirmed 1 KiB messages into a quorum queue, ours and the baselines."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
from kombu import Connection, Exchange, Producer, Queue
from pika import frame, spec

from shared.bus import transports

BODY = b"x" * 1024
QUEUE = "bench"
WINDOW = 500
Publish = Callable[[int], None]


def queue() -> Queue:
    """Durable, replicated, with the arguments of our work queues that touch publishing."""
    arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    exchange = Exchange("bench", "topic", durable=True)
    return Queue(QUEUE, exchange, routing_key="#", queue_arguments=arguments)


def publish(producer: Producer, body: bytes = BODY) -> None:
    """As our publisher does."""
    producer.publish(
        body,
        exchange="bench",
        routing_key="bench.made",
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        mandatory=True,
    )


def over_pika(url: str) -> Connection:
    """A connection of our transport."""
    transports.register()
    return Connection(url)


def by_ours(connection: Connection, *, batch: int) -> Publish:
    producer = Producer(connection.channel())

    def send(count: int) -> None:
        if batch == 1:
            for _ in range(count):
                publish(producer)
            return
        with producer.batch(max_size=batch):
            for _ in range(count):
                publish(producer)

    return send


def over_pyamqp(url: str) -> Connection:
    """kombu's own transport, with every publish confirmed."""
    address = url.replace("pika://", "pyamqp://", 1)
    return Connection(address, transport_options={"confirm_publish": True})


def by_bare_pika(url: str) -> Publish:
    """pika's ``SelectConnection`` with nothing around it: at most `WINDOW` unconfirmed."""
    parameters = pika.URLParameters(url.replace("pika://", "amqp://", 1))
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")

    def send(count: int) -> None:
        state = {"sent": 0, "confirmed": 0}

        def fill(channel: Any) -> None:
            while state["sent"] < count and state["sent"] - state["confirmed"] < WINDOW:
                channel.basic_publish("bench", "bench.made", BODY, properties, mandatory=True)
                state["sent"] += 1

        def confirmed(channel: Any, method: Any) -> None:
            assert isinstance(method.method, spec.Basic.Ack), method
            tag = method.method.delivery_tag
            state["confirmed"] = tag if method.method.multiple else state["confirmed"] + 1
            if state["confirmed"] >= count:
                channel.connection.close()
            else:
                fill(channel)

        def opened(channel: Any) -> None:
            channel.confirm_delivery(
                lambda method: confirmed(channel, method), callback=lambda _: fill(channel)
            )

        connection = pika.SelectConnection(
            parameters,
            on_open_callback=lambda c: c.channel(on_open_callback=opened),
            on_close_callback=lambda c, _: c.ioloop.stop(),
        )
        connection.ioloop.start()
        assert state["confirmed"] >= count

    return send


class RawSocket:
    """Publishes frames made once, and reads acknowledgements: the floor of any client."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._tag = 0
        self._shake_hands(unquote(address.path[1:]), address.username, address.password)
        properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        self._message = b"".join(
            part.marshal()
            for part in (
                frame.Method(1, spec.Basic.Publish(0, "bench", "bench.made", mandatory=True)),
                frame.Header(1, len(BODY), properties),
                frame.Body(1, BODY),
            )
        )

    def send(self, count: int) -> None:
        first, sent = self._tag, 0
        while self._tag - first < count:
            room = min(count - sent, WINDOW - (sent - (self._tag - first)))
            if room > 0:
                self._socket.sendall(self._message * room)
                sent += room
            self._read_acknowledgement()

    def close(self) -> None:
        self._socket.close()

    def _read_acknowledgement(self) -> None:
        method = self._read().method
        assert isinstance(method, spec.Basic.Ack), method
        self._tag = method.delivery_tag if method.multiple else self._tag + 1

    def _shake_hands(self, vhost: str, user: str | None, password: str | None) -> None:
        self._socket.sendall(frame.ProtocolHeader().marshal())
        self._read()
        login = f"\0{user}\0{password}"
        self._tell(0, spec.Connection.StartOk({}, "PLAIN", login, "en_US"))
        tune = self._read().method
        self._tell(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._ask(0, spec.Connection.Open(vhost))
        self._ask(1, spec.Channel.Open())
        self._ask(1, spec.Confirm.Select())

    def _ask(self, channel: int, method: Any) -> None:
        self._tell(channel, method)
        self._read()

    def _tell(self, channel: int, method: Any) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _read(self) -> Any:
        while True:
            used, found = frame.decode_frame(self._buffer)
            if found is not None:
                self._buffer = self._buffer[used:]
                return found
            got = self._socket.recv(65536)
            assert got, "the broker closed the connection"
            self._buffer += got


def rate(publish_many: Publish, count: int) -> float:
    """Confirmed messages a second."""
    begin = time.perf_counter()
    publish_many(count)
    return count / (time.perf_counter() - begin)
