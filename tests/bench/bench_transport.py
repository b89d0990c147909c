"""Measures the embedded broker: `python -m tests.bench.bench_transport` prints JSON."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue

from shared.bus import transports

BODY = b"x" * 1024
PREFETCH = 50
SMALL = 500
LARGE = 20_000
PINGS = 200


def measure() -> dict[str, float]:
    """Rates per second and latencies in milliseconds, of 1 KiB messages in a fresh bus file."""
    transports.register()
    with tempfile.TemporaryDirectory() as folder:
        url = f"durable+sqlite:///{folder}/bus.db"
        with Connection(url) as connection:
            _queue().bind(connection.channel()).declare()
            figures = {
                "put_full_per_s": _rate(1_000, lambda n: _put(connection, n)),
                "put_batch_per_s": _rate(10_000, lambda n: _put_in_batches(connection, n)),
            }
            _queue().bind(connection.channel()).purge()
            for waiting in (SMALL, LARGE):
                _put_in_batches(connection, waiting)
                figures[f"get_ack_at_{waiting}_per_s"] = _rate(SMALL, lambda n: _take(url, n))
                _put_in_batches(connection, SMALL)
                figures[f"get_ack_one_by_one_at_{waiting}_per_s"] = _rate(
                    SMALL, lambda n: _take(url, n, together=1)
                )
                _queue().bind(connection.channel()).purge()
        figures |= _latencies(url)
    return {name: round(value, 2) for name, value in figures.items()}


def _queue() -> Queue:
    exchange = Exchange("bench", "topic", durable=True)
    arguments = {
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "bench.parked",
    }
    return Queue("bench", exchange, routing_key="#", queue_arguments=arguments)


def _rate(count: int, action: Any) -> float:
    started = time.perf_counter()
    action(count)
    return count / (time.perf_counter() - started)


def _publish(producer: Producer, body: bytes = BODY) -> None:
    producer.publish(
        body,
        exchange="bench",
        routing_key="bench.made",
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        mandatory=True,
    )


def _put(connection: Connection, count: int) -> None:
    producer = Producer(connection.channel())
    for _ in range(count):
        _publish(producer)


def _put_in_batches(connection: Connection, count: int) -> None:
    producer = Producer(connection.channel())
    with producer.batch(max_size=500):
        for _ in range(count):
            _publish(producer)


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
            _publish(producer, str(time.monotonic()).encode())
    found = sorted(times.get(timeout=30) for _ in range(PINGS))
    receiver.join()
    return {"latency_p50_ms": statistics.median(found), "latency_p99_ms": found[PINGS * 99 // 100]}


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


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    print()
