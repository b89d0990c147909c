"""The cases of consuming, redelivery, delays and dead letters."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu import Connection, Consumer, Producer

from tests.contracts import broker_actors
from tests.contracts.broker import (
    DELAYS,
    DELIVERY_LIMIT,
    SPAWN,
    Broker,
    drain,
    ids,
    publish,
    publish_many,
    reopen,
    take,
)


class ConsumerCases:
    def test_prefetch_is_honoured(self, broker: Broker, connection: Connection) -> None:
        publish_many(connection, broker, 10)
        held: list[Any] = []
        with consumer_of(connection, broker, held.append, prefetch=3):
            drain(connection)
            assert len(held) == 3
            held[0].ack()
            drain(connection)
            assert len(held) == 4

    def test_two_consumers_get_each_message_once(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 30)
        seen: list[list[str]] = [[], []]
        with Connection(broker.url) as other:
            connections = (connection, other)
            consumers = [
                consumer_of(each, broker, acknowledging(found), prefetch=1)
                for each, found in zip(connections, seen, strict=True)
            ]
            with consumers[0], consumers[1]:
                for _ in range(15):
                    for each in connections:
                        each.drain_events(timeout=5)
        assert sorted(seen[0] + seen[1]) == sorted(f"m{n}" for n in range(30))
        assert len(seen[0]) == len(seen[1]) == 15

    def test_what_was_not_acknowledged_comes_again_and_says_so(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 1)
        for earlier in range(DELIVERY_LIMIT + 1):
            (message,) = take(connection, broker.work())
            assert message.delivery_info["redelivered"] is (earlier > 0)
            assert message.headers.get("x-delivery-count", 0) == earlier
            reopen(connection)

    def test_an_acknowledgement_on_a_lost_channel_raises_and_changes_nothing(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 1)
        (lost,) = take(connection, broker.work())
        reopen(connection)
        (again,) = take(connection, broker.work())
        with pytest.raises(RecoverableConnectionError):
            lost.ack()
        again.ack()
        reopen(connection)
        assert take(connection, broker.work(), seconds=0.3) == []

    def test_acknowledging_many_at_once(self, broker: Broker, connection: Connection) -> None:
        publish_many(connection, broker, 20)
        channel = connection.channel()
        held: list[Any] = []
        consumer = consumer_of(connection, broker, held.append, prefetch=20, channel=channel)
        with consumer:
            drain(connection)
            with channel.batch():
                for message in held[:10]:
                    message.ack()
            held[14].ack(multiple=True)
        reopen(connection)
        assert ids(take(connection, broker.work(), 6, seconds=1)) == [
            f"m{number}" for number in range(15, 20)
        ]

    def test_what_cannot_be_decoded_goes_to_the_decode_error_path(
        self, broker: Broker, connection: Connection
    ) -> None:
        producer = Producer(connection.channel())
        address = {"exchange": broker.name("events"), "routing_key": "work.made"}
        more = {"content_type": "application/json", "content_encoding": "utf-8"}
        producer.publish(b'{"half', message_id="m1", mandatory=True, **address, **more)
        refused: list[str] = []

        def park(message: Any, error: Exception) -> None:
            refused.append(message.properties["message_id"])
            message.reject()

        queues = [broker.work()]
        options = {"callbacks": [lambda *_: None], "on_decode_error": park, "auto_declare": False}
        with Consumer(connection.channel(), queues, **options):
            drain(connection)
        assert refused == ["m1"]
        assert ids(take(connection, broker.parked())) == ["m1"]

    def test_a_handler_that_publishes_is_not_entered_again(
        self, broker: Broker, connection: Connection
    ) -> None:
        depths: list[int] = []
        depth = 0

        def handle(message: Any) -> None:
            nonlocal depth
            depth += 1
            depths.append(depth)
            if len(depths) < 30:
                publish(Producer(message.channel), broker, f"next {len(depths)}")
            message.ack()
            depth -= 1

        publish_many(connection, broker, 5)
        with consumer_of(connection, broker, handle, prefetch=10):
            drain(connection)
        assert len(depths) == 34
        assert set(depths) == {1}

    def test_a_waiting_consumer_is_told_at_once(
        self, broker: Broker, connection: Connection
    ) -> None:
        delays: list[float] = []

        def handle(message: Any) -> None:
            delays.append(time.monotonic() - float(message.headers["at"]))
            message.ack()

        def ping() -> None:
            with Connection(broker.url) as other:
                producer = Producer(other.channel())
                for number in range(20):
                    time.sleep(0.05)
                    headers = {"at": str(time.monotonic())}
                    publish(producer, broker, f"m{number}", headers=headers)

        with consumer_of(connection, broker, handle, prefetch=1):
            thread = threading.Thread(target=ping)
            thread.start()
            for _ in range(20):
                connection.drain_events(timeout=5)
            thread.join()
        assert sorted(delays)[10] < 0.1

    def test_a_killed_consumers_message_comes_again(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 1)
        assert hang_and_kill(broker, prefetch=1) == "m0"
        (message,) = take(connection, broker.work())
        assert message.delivery_info["redelivered"]

    def test_many_processes_handle_each_message_once(
        self, broker: Broker, connection: Connection
    ) -> None:
        told, handled = SPAWN.Queue(), SPAWN.Queue()
        sent = [[f"{who}-{number}" for number in range(75)] for who in range(4)]
        processes = [
            SPAWN.Process(target=broker_actors.produce_and_end, args=(broker, told, names))
            for names in sent
        ]
        processes += [
            SPAWN.Process(target=broker_actors.consume, args=(broker, handled, 3.0))
            for _ in range(4)
        ]
        for process in processes:
            process.start()
        found: list[str] = []
        ended = 0
        while ended < 4:
            message_id = handled.get(timeout=60)
            if message_id is None:
                ended += 1
            else:
                found.append(message_id)
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert sorted(found) == sorted(name for names in sent for name in names)


class DeadLetterCases:
    def test_a_rejected_message_is_parked_with_its_reason(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 1)
        (message,) = take(connection, broker.work())
        message.reject()
        (parked,) = take(connection, broker.parked())
        assert parked.properties["message_id"] == "m0"
        assert parked.headers["x-first-death-reason"] == "rejected"
        death = parked.headers["x-death"][0]
        assert (death["reason"], death["queue"]) == ("rejected", broker.name("work"))
        assert (death["exchange"], death["count"]) == (broker.name("events"), 1)
        assert death["routing-keys"] == ["work.made"]

    def test_a_message_given_back_too_often_is_parked(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 1)
        for _ in range(DELIVERY_LIMIT + 1):
            (message,) = take(connection, broker.work())
            message.requeue()
        (parked,) = take(connection, broker.parked())
        assert parked.headers["x-death"][0]["reason"] == "delivery_limit"
        assert take(connection, broker.work(), seconds=0.3) == []

    def test_a_message_that_kills_its_consumer_is_parked_and_no_innocent_one(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish_many(connection, broker, 3)
        for _ in range(DELIVERY_LIMIT + 1):
            assert hang_and_kill(broker, prefetch=1) == "m0"
        assert ids(take(connection, broker.parked())) == ["m0"]
        assert ids(take(connection, broker.work(), 3, seconds=1)) == ["m1", "m2"]

    def test_delayed_messages_return_in_the_order_of_their_times(
        self, broker: Broker, connection: Connection
    ) -> None:
        short, long = DELAYS
        producer = Producer(connection.channel())
        started = time.monotonic()
        for message_id, delay in (("late", long), ("soon", short)):
            room = broker.waiting_room(delay).name
            publish(producer, broker, message_id, exchange="", key=room)
        found: list[tuple[str, float]] = []

        def handle(message: Any) -> None:
            found.append((message.properties["message_id"], time.monotonic() - started))
            assert message.headers["x-death"][0]["reason"] == "expired"
            message.ack()

        with consumer_of(connection, broker, handle, prefetch=1):
            connection.drain_events(timeout=5)
            connection.drain_events(timeout=5)
        (first, first_after), (second, second_after) = found
        assert (first, second) == ("soon", "late")
        assert short / 1000 <= first_after < long / 1000
        assert long / 1000 <= second_after < 5

    def test_a_message_may_bring_its_own_expiration(
        self, broker: Broker, connection: Connection
    ) -> None:
        publish(Producer(connection.channel()), broker, "m1", expiration=0.1)
        (parked,) = take(connection, broker.parked())
        assert parked.headers["x-death"][0]["reason"] == "expired"
        assert "expiration" not in parked.properties


def consumer_of(
    connection: Connection, broker: Broker, handle: Any, *, prefetch: int, channel: Any = None
) -> Consumer:
    return Consumer(
        channel or connection.channel(),
        [broker.work()],
        on_message=handle,
        prefetch_count=prefetch,
        auto_declare=False,
    )


def acknowledging(found: list[str]) -> Any:
    def handle(message: Any) -> None:
        found.append(message.properties["message_id"])
        message.ack()

    return handle


def hang_and_kill(broker: Broker, *, prefetch: int) -> str:
    """Let a process take a message and kill it; returns the message's id."""
    tell = SPAWN.Queue()
    child = SPAWN.Process(target=broker_actors.hang_on_first, args=(broker, tell, prefetch))
    child.start()
    message_id = str(tell.get(timeout=20))
    broker.kill(child)
    return message_id
