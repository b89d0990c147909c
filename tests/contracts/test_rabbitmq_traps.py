"""What an AMQP client gets wrong when a broker is slow, gone or far away: ours does not."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from amqp.exceptions import RecoverableConnectionError
from click.testing import CliRunner
from kombu import Connection, Consumer, Producer

from services.dead import dead, replay
from services.installation import Installation, RunSettings
from shared.bus import transports
from shared.bus.consumer import Consumer as ProductConsumer
from shared.bus.depths import depths
from shared.bus.envelope import decode
from shared.bus.publisher import Publisher
from shared.bus.topology import declare, queue_named
from shared.dead_letters import redrive
from shared.errors import BrokerUnavailable
from shared.outbox import Outgoing
from tests.contracts.broker import Broker, drain, ids, publish, publish_many, take
from tests.contracts.rabbitmq import Host, seen_by_itself, virtual_host
from tests.faults.proxy import Proxy
from tests.product import eventually


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    transports.register()
    with virtual_host() as host:
        with Connection(host.url) as connection:
            declare(connection)
        yield host


@pytest.fixture
def broker(host: Host) -> Iterator[Broker]:
    broker = Broker(url=host.url, prefix=f"t{uuid.uuid4().hex[:8]}", after_kill=seen_by_itself)
    with Connection(broker.url) as connection:
        broker.declare(connection)
    yield broker
    with Connection(broker.url) as connection:
        broker.delete(connection)


@pytest.fixture
def proxy(host: Host) -> Iterator[Proxy]:
    address = urlsplit(host.url)
    with Proxy((str(address.hostname), int(address.port or 0))) as proxy:
        yield proxy


def through(proxy: Proxy, host: Host) -> str:
    address = urlsplit(host.url)
    return f"pika://{address.username}:{address.password}@127.0.0.1:{proxy.port}{address.path}"


def events(count: int) -> list[Outgoing]:
    return [Outgoing(id=f"m{n}", topic="event.received", text="{}") for n in range(count)]


def test_a_handler_may_take_longer_than_two_heartbeats(broker: Broker) -> None:
    handled: list[str] = []

    def handle(message: Any) -> None:
        time.sleep(5)
        message.ack()
        handled.append(message.properties["message_id"])

    with Connection(broker.url, heartbeat=2) as connection:
        publish_many(connection, broker, 1)
        with Consumer(connection.channel(), [broker.work()], on_message=handle, auto_declare=False):
            connection.drain_events(timeout=5)
            drain(connection)
    assert handled == ["m0"]


def test_an_idle_publisher_is_still_connected_after_many_heartbeats(broker: Broker) -> None:
    with Connection(broker.url, heartbeat=1) as connection:
        producer = Producer(connection.channel())
        time.sleep(4)
        publish(producer, broker, "m1")
        assert ids(take(connection, broker.work())) == ["m1"]


def test_a_missing_confirm_is_an_unknown_outcome_and_the_same_ids_go_again(
    host: Host, proxy: Proxy
) -> None:
    options = {"confirm_timeout": 1}
    with Connection(through(proxy, host), transport_options=options) as connection:
        channel = connection.channel()
        proxy.hang()
        begin = time.monotonic()
        with pytest.raises(RecoverableConnectionError):
            with channel.batch():
                for number in range(20):
                    Producer(channel).publish(
                        b"{}",
                        exchange="countersign",
                        routing_key="event.received",
                        message_id=f"m{number}",
                        mandatory=True,
                    )
        assert time.monotonic() - begin < 3
        proxy.cut()
    publisher = Publisher(host.url)
    assert publisher.send(events(20)) == set()
    publisher.close()
    with Connection(host.url) as connection:
        found = take(connection, queue_named("classifier"), 41, seconds=2)
        assert {str(message.properties["message_id"]) for message in found} == {
            f"m{number}" for number in range(20)
        }
        for message in found:
            message.ack()


def test_a_publisher_comes_back_by_itself_after_a_cut(host: Host, proxy: Proxy) -> None:
    publisher = Publisher(through(proxy, host))
    assert publisher.send(events(1)) == set()
    proxy.cut()
    with pytest.raises(BrokerUnavailable):
        for _ in range(3):  # The first may still be written into a socket that is half closed.
            publisher.send(events(1))
    assert publisher.send(events(1)) == set()
    publisher.close()


def test_a_consumer_that_waits_hears_that_its_connection_is_gone(host: Host, proxy: Proxy) -> None:
    consumer = ProductConsumer(through(proxy, host), "classifier", prefetch=1)
    while consumer.next_batch(1):
        """What other tests have left."""
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(consumer.next_batch, 60)
        time.sleep(0.2)
        proxy.cut()
        with pytest.raises(BrokerUnavailable):
            waiting.result(10)


def test_a_consumer_whose_connection_ended_while_it_worked_hears_of_it(
    host: Host, proxy: Proxy
) -> None:
    consumer = ProductConsumer(through(proxy, host), "classifier", prefetch=1)
    proxy.cut()
    eventually(lambda: not consumer.is_open)
    with pytest.raises(BrokerUnavailable):
        consumer.next_batch(1)


def test_a_waiting_consumer_is_handed_a_message_at_once_and_nobody_rings(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ring(*_: object) -> None:
        raise AssertionError("the broker pushes: no wake-up is needed")

    monkeypatch.setattr("shared.bus.wake.notify", ring)
    monkeypatch.setattr("shared.bus.wake.Listener.__init__", ring)
    consumer, publisher = ProductConsumer(host.url, "classifier", prefetch=1), Publisher(host.url)
    publisher.send(events(1))
    while batch := consumer.next_batch(1):  # What other tests have left, too.
        publisher.acknowledge([delivery.message for delivery in batch])
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(consumer.next_batch, 60)
        time.sleep(0.5)
        begin = time.monotonic()
        assert publisher.send([Outgoing(id="at-once", topic="event.received", text="{}")]) == set()
        [delivery] = waiting.result(60)
        assert time.monotonic() - begin < 10
    assert delivery.message_id == "at-once"
    publisher.acknowledge([delivery.message])
    consumer.close()
    publisher.close()


def test_dead_letters_are_listed_shown_and_sent_again(host: Host, tmp_path: Path) -> None:
    home = Installation(root=tmp_path, run=RunSettings(broker_url=host.url))
    publisher = Publisher(host.url)
    publisher.park("writer", "m-dead", '{"topic": "event.classified"}', "BadPayload: no reason")
    publisher.close()
    run = CliRunner()
    for _ in range(2):  # Looking takes nothing away.
        listed = run.invoke(dead, ["list"], obj=home).output
        assert "m-dead" in listed
        assert "BadPayload: no reason" in listed
        assert "1 dead letters" in listed
    assert "event.classified" in run.invoke(dead, ["show", "m-dead"], obj=home).output
    assert "would send" in run.invoke(replay, ["m-dead", "--dry-run"], obj=home).output
    assert run.invoke(replay, ["--queue", "writer"], obj=home).exit_code == 0
    with Connection(host.url) as connection:
        [told] = take(connection, queue_named("writer"))
        told.ack()
    publisher = Publisher(host.url)
    worker = SimpleNamespace(
        outbox=SimpleNamespace(service="writer"), relay=SimpleNamespace(publisher=publisher)
    )
    redrive(decode(told.body), worker)
    publisher.close()
    assert run.invoke(dead, ["list"], obj=home).output == "No dead letters.\n"
    found = depths(host.url)
    assert (found["writer.parked"], found["writer.in.10s"]) == ((0, None), (1, None))


def test_a_broker_that_is_not_there_is_said_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(RecoverableConnectionError):
        Connection("pika://127.0.0.1:1").connect()
    assert time.monotonic() - begin < 5
