"""P11 and the targets of the messaging design on a real RabbitMQ, each beside its baseline."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kombu import Connection, Consumer, Producer

from services.ingest.store import metadata, outbox
from shared.bus.connection import connect
from shared.bus.publisher import Publisher
from shared.bus.topology import declare
from shared.db import writing
from shared.domain.schema import now
from shared.outbox import Relay
from tests.bench import publishers
from tests.bench.column import EMBEDDED, IS_DISTRIBUTED, distributed, rabbitmq, server_pids
from tests.bench.facts import foreign
from tests.bench.publishers import RawSocket, by_bare_pika, by_ours, over_pika, over_pyamqp, rate
from tests.bench.result import Found, kept, share
from tests.bench.scale import ROUNDS, pick

MANY, FEW = pick(1_000, 10_000, 50_000), pick(30, 300, 1_000)
WAITING = pick(500, 4_000, 20_000)
PREFETCH = 50
Side = Callable[[int], None]


@contextmanager
def bench_queue() -> Iterator[str]:
    """A fresh virtual host with the queue that is measured."""
    with rabbitmq() as url:
        with over_pika(url) as connection:
            publishers.queue().bind(connection.channel()).declare()
        yield url


def _interleaved(sides: Sequence[tuple[str, Side, int]], url: str) -> dict[str, float]:
    """Rates a second in the order A B … B A; after each side the queue holds exactly its messages."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    with foreign(server_pids) as others:
        for name, send, count in [*sides, *reversed(sides)]:
            found[name].append(rate(send, count))
            assert _purge(url) == count, f"{name} lost or doubled messages"
    return {name: sum(rates) / len(rates) for name, rates in found.items()} | others


def _purge(url: str) -> int:
    with over_pika(url) as connection:
        return int(publishers.queue().bind(connection.channel()).purge())


def p11_publishing() -> Found:
    """Pipelined confirms against one confirm each, a bare socket, and bare pika."""
    rounds = []
    with bench_queue() as url, ExitStack() as stack:
        mine = stack.enter_context(over_pika(url))
        raw = RawSocket(url)
        stack.callback(raw.close)
        sides = (
            ("batch", by_ours(mine, batch=500), MANY),
            ("single", by_ours(mine, batch=1), FEW),
            ("pika", by_bare_pika(url), MANY),
            ("raw", raw.send, MANY),
        )
        for _, send, _ in sides:
            send(100)
        _purge(url)
        rounds = [_with_ratios(_interleaved(sides, url)) for _ in range(ROUNDS)]
    found = kept(rounds)
    figures = (
        found.least("P11", "confirms pipelined ÷ one by one, quorum", "to_single", 10),
        found.least("P11", "confirms pipelined ÷ raw socket", "to_raw", 0.35),
        found.least("M8", "batch of 500 ÷ bare pika, quorum", "to_pika", 0.6),
        found.least("M8", "batch of 500, messages a second", "batch", None),
    )
    return Found(figures=figures, rounds=rounds)


def _with_ratios(row: dict[str, float]) -> dict[str, float]:
    ratios = {f"to_{name}": row["batch"] / row[name] for name in ("single", "pika", "raw")}
    return row | ratios


def lone_publish() -> Found:
    """One confirmed publish at a time: our transport and kombu's, in turn."""
    rounds = []
    with bench_queue() as url, over_pika(url) as mine, over_pyamqp(url) as theirs:
        sides = {"ours": Producer(mine.channel()), "pyamqp": Producer(theirs.channel())}
        for _ in range(ROUNDS):
            times: dict[str, list[float]] = {name: [] for name in sides}
            with foreign(server_pids) as others:
                for turn in range(FEW + 20):
                    order = list(sides) if turn % 2 else list(sides)[::-1]
                    for name in order:
                        begin = time.perf_counter()
                        publishers.publish(sides[name])
                        times[name].append((time.perf_counter() - begin) * 1000)
            row = {f"{name}_p50": share(taken[20:], 0.5) for name, taken in times.items()}
            row["p99"] = share(times["ours"][20:], 0.99)
            rounds.append({**row, "ratio": row["ours_p50"] / row["pyamqp_p50"], **others})
        assert _purge(url) == ROUNDS * (FEW + 20) * 2
    found = kept(rounds)
    figures = (
        found.most("M8", "lone confirmed publish, p50 ÷ pyamqp", "ratio", 1.4),
        found.most("M8", "lone confirmed publish, p99, ms", "p99", 10),
    )
    return Found(figures=figures, rounds=rounds)


def consuming() -> Found:
    """Consume and acknowledge with prefetch 50: our transport and kombu's, interleaved."""
    rounds = []
    with bench_queue() as url:
        with over_pika(url) as filling:
            fill = by_ours(filling, batch=500)
            for _ in range(ROUNDS):
                taken: dict[str, list[float]] = {"ours": [], "pyamqp": []}
                with foreign(server_pids) as others:
                    for name in ("ours", "pyamqp", "pyamqp", "ours"):
                        fill(MANY)
                        opened = over_pika(url) if name == "ours" else over_pyamqp(url)
                        taken[name].append(_consume(opened, MANY))
                        assert _purge(url) == 0
                rates = {name: sum(found) / 2 for name, found in taken.items()}
                rounds.append({**rates, "ratio": rates["ours"] / rates["pyamqp"], **others})
    found = kept(rounds)
    figures = (
        found.least("M8", "consume and ack, prefetch 50, ÷ pyamqp", "ratio", 0.9),
        found.least("M8", "consumed and acknowledged a second", "ours", None),
    )
    return Found(figures=figures, rounds=rounds)


def _consume(connection: Connection, count: int) -> float:
    left = count

    def handle(message: Any) -> None:
        nonlocal left
        message.ack()
        left -= 1

    with connection:
        queues = [publishers.queue()]
        options = {"prefetch_count": PREFETCH, "on_message": handle, "auto_declare": False}
        with Consumer(connection.channel(), queues, **options):
            begin = time.perf_counter()
            while left:
                connection.drain_events(timeout=30)
            return count / (time.perf_counter() - begin)


def relaying() -> Found:
    """Outbox to broker, the database included: every row is confirmed and marked as sent."""
    rounds = []
    with ExitStack() as stack:
        column = stack.enter_context(distributed()) if IS_DISTRIBUTED else EMBEDDED
        url = column.environ.get("BROKER_URL") or stack.enter_context(rabbitmq())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = column.engine(folder, "ingest")
        stack.callback(engine.dispose)
        metadata.create_all(engine)
        with connect(url) as connection:
            declare(connection)
        publisher = Publisher(url)
        stack.callback(publisher.close)
        relay = Relay(engine=engine, outbox=outbox, publisher=publisher, clock=now)
        for number in range(ROUNDS):
            _fill_outbox(engine, number)
            with foreign(server_pids) as others:
                begin = time.perf_counter()
                assert relay.drain() == WAITING
                seconds = time.perf_counter() - begin
            rounds.append({"rate": WAITING / seconds, **others})
    found = kept(rounds)
    figure = found.least("M8", "relay, outbox to broker, messages a second", "rate", 2000)
    return Found(figures=(figure,), rounds=rounds)


def _fill_outbox(engine: Any, number: int) -> None:
    with writing(engine) as db:
        db.execute(
            outbox.outbox.insert(),
            [
                {
                    "message_id": f"m-{number}-{place}",
                    "topic": "event.received",
                    "chain": "c",
                    "body": "x" * 1024,
                    "created_at": "2026-11-23T09:00:00.000Z",
                }
                for place in range(WAITING)
            ],
        )
