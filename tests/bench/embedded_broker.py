"""The targets of the messaging design on the embedded broker: rates of 1 KiB messages, wake-up."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue

from shared.bus import transports
from tests.bench.facts import foreign
from tests.bench.publishers import publish, rate
from tests.bench.result import Found, kept, share
from tests.bench.scale import ROUNDS, pick

PREFETCH = 50
SMALL, LARGE = 500, pick(2_000, 100_000, 100_000)
PINGS = pick(20, 200, 500)
GOALS = {
    "put": ("SQLite put, each durable, a second", 500),
    "batch": ("SQLite put in batches, a second", 5_000),
    "few": (f"SQLite get and ack, {SMALL:,} waiting, a second", 2_000),
    "many": (f"SQLite get and ack, {LARGE:,} waiting, a second", 2_000),
    "single": (f"the same one by one, {LARGE:,} waiting, a second", None),
}


def rates_and_latency() -> Found:
    """In a fresh bus file each round."""
    transports.register()
    rounds = [_round() for _ in range(ROUNDS)]
    found = kept(rounds)
    figures = [found.least("M8", what, key, goal) for key, (what, goal) in GOALS.items()]
    figures += [
        found.most("M8", "SQLite put to handler in another process, p99, ms", "p99", 100),
        found.most("M8", "the same, p50, ms", "p50", None),
    ]
    return Found(figures=tuple(figures), rounds=rounds)


def _round() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, foreign(list) as others:
        url = f"durable+sqlite:///{folder}/bus.db"
        with Connection(url) as connection:
            _queue().bind(connection.channel()).declare()
            row = {
                "put": rate(lambda n: _put(connection, n), pick(100, 1_000, 3_000)),
                "batch": rate(lambda n: _put_in_batches(connection, n), 10_000),
            }
            _purge(connection)
            for name, waiting in (("few", SMALL), ("many", LARGE)):
                _put_in_batches(connection, waiting)
                row[name] = rate(lambda n: _take(url, n), SMALL)
                _put_in_batches(connection, SMALL)
                row["single"] = rate(lambda n: _take(url, n, together=1), SMALL)
                assert _purge(connection) == waiting - SMALL, "messages were lost or doubled"
        row |= _latencies(url)
    return row | others


def _purge(connection: Connection) -> int:
    return int(_queue().bind(connection.channel()).purge())


def _queue() -> Queue:
    exchange = Exchange("bench", "topic", durable=True)
    arguments = {
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "bench.parked",
    }
    return Queue("bench", exchange, routing_key="#", queue_arguments=arguments)


def _put(connection: Connection, count: int) -> None:
    producer = Producer(connection.channel())
    for _ in range(count):
        publish(producer)


def _put_in_batches(connection: Connection, count: int) -> None:
    producer = Producer(connection.channel())
    with producer.batch(max_size=500):
        for _ in range(count):
            publish(producer)


def _take(url: str, count: int, *, together: int = PREFETCH) -> None:
    with Connection(url) as connection:
        channel = connection.channel()
        consumer = Consumer(
            channel, [_queue()], prefetch_count=PREFETCH, on_message=lambda message: message.ack()
        )
        consumer.consume()
        for _ in range(count // together):
            with channel.batch():
                for _ in range(together):
                    connection.drain_events(timeout=5)


def _latencies(url: str) -> dict[str, float]:
    """From before the put to the handler in another process, the receiver idle in between."""
    context = multiprocessing.get_context("spawn")
    times: Any = context.Queue()
    receiver = context.Process(target=_receive, args=(url, times))
    receiver.start()
    times.get(timeout=30)
    with Connection(url) as connection:
        producer = Producer(connection.channel())
        for _ in range(PINGS):
            time.sleep(0.01)
            publish(producer, str(time.monotonic()).encode())
    found = [times.get(timeout=30) for _ in range(PINGS)]
    receiver.join()
    return {"p50": share(found, 0.5), "p99": share(found, 0.99)}


def _receive(url: str, times: Any) -> None:
    transports.register()
    left = PINGS

    def handle(message: Any) -> None:
        nonlocal left
        times.put((time.monotonic() - float(message.body)) * 1000)
        message.ack()
        left -= 1

    with Connection(url) as connection:
        consumer = Consumer(connection, [_queue()], prefetch_count=1, on_message=handle)
        consumer.consume()
        times.put(None)
        while left:
            connection.drain_events(timeout=10)
