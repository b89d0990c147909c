"""What every broker of ours does, as cases; a subclass hands in the fixtures `broker` and `connection`."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import pytest
from amqp.exceptions import ChannelError, NotFound, RecoverableConnectionError
from kombu import Connection, Consumer, Producer

from shared.bus.transports import PublishError
from tests.contracts import broker_actors
from tests.contracts.broker import (
    DELAYS,
    DELIVERY_LIMIT,
    SPAWN,
    Broker,
    ids,
    publish,
    take,
    waiting,
)


def drain(connection: Connection, *, quiet_seconds: float = 0.3) -> None:
    """Deliver until nothing has come for a while."""
    while True:
        try:
            connection.drain_events(timeout=quiet_seconds)
        except socket.timeout:  # noqa: UP041 - kombu's documented name
            return


def reopen(connection: Connection) -> None:
    """Lose every channel and come back."""
    connection.close()
    connection.connect()


class PublisherCases:
    def test_an_unroutable_message_raises_and_is_named(self, broker, connection):
        producer = Producer(connection.channel())
        with pytest.raises(PublishError) as caught:
            publish(producer, broker, "m1", key="nobody.listens")
        assert caught.value.messages == ("m1",)

    def test_a_message_for_a_queue_that_is_not_there_raises(self, broker, connection):
        producer = Producer(connection.channel())
        with pytest.raises(PublishError):
            publish(producer, broker, "m1", exchange="", key=broker.name("missing"))

    def test_a_batch_names_exactly_the_refused_messages_and_the_others_are_in(
        self, broker, connection
    ):
        channel = connection.channel()
        producer = Producer(channel)
        with pytest.raises(PublishError) as caught:
            with channel.batch():
                for number in range(6):
                    publish(
                        producer, broker, f"m{number}", key="work.a" if number % 2 else "nobody"
                    )
        assert caught.value.messages == ("m0", "m2", "m4")
        assert ids(take(connection, broker.work(), 3)) == ["m1", "m3", "m5"]

    def test_a_batch_arrives_whole_and_in_order(self, broker, connection):
        channel = connection.channel()
        sent = [f"m{number}" for number in range(250)]
        with channel.batch():
            for message_id in sent:
                publish(Producer(channel), broker, message_id)
        assert ids(take(connection, broker.work(), 250)) == sent

    def test_the_batch_of_a_kombu_producer_works_too(self, broker, connection):
        producer = Producer(connection.channel())
        with producer.batch(max_size=20):
            for number in range(50):
                publish(producer, broker, f"m{number}")
        assert waiting(connection, broker.work()) == 50

    def test_a_confirmed_message_survives_the_publishers_death(self, broker, connection):
        tell = SPAWN.Queue()
        child = SPAWN.Process(target=broker_actors.produce, args=(broker, tell, ["m1", "m2"]))
        child.start()
        told = [tell.get(timeout=20), tell.get(timeout=20)]
        broker.kill(child)
        assert ids(take(connection, broker.work(), 2)) == told

    def test_one_publish_reaches_every_bound_queue_once(self, broker, connection):
        broker.everything().bind(connection.channel()).declare()
        publish(Producer(connection.channel()), broker, "m1")
        publish(Producer(connection.channel()), broker, "m2", key="other")
        assert ids(take(connection, broker.work(), 2, seconds=0.5)) == ["m1"]
        assert ids(take(connection, broker.everything(), 3, seconds=0.5)) == ["m1", "m2"]

    @pytest.mark.parametrize(
        ("pattern", "key", "taken"),
        [
            ("a.*", "a.b", True),
            ("a.*", "a", False),
            ("a.*", "a.b.c", False),
            ("a.#", "a", True),
            ("a.#", "a.b.c", True),
            ("#.c", "a.b.c", True),
            ("a.#.c", "a.c", True),
            ("*.b.*", "a.b.c", True),
            ("*.b.*", "a.c.b", False),
            ("a.b", "a.b", True),
            ("a.b", "a-b", False),
        ],
    )
    def test_wildcards_in_bindings(self, broker, connection, pattern, key, taken):
        channel = connection.channel()
        queue = broker.everything()
        queue.bind(channel).queue_declare()
        queue.bind(channel).bind_to(broker.events(), routing_key=pattern)
        publish(Producer(channel), broker, "m1", key=key, mandatory=False)
        assert len(take(connection, queue, 1, seconds=1 if taken else 0.3)) == taken

    def test_body_headers_and_properties_arrive_as_they_were_sent(self, broker, connection):
        headers = {"attempt": 2, "correlation": "c-1", "error": "ünï"}
        publish(Producer(connection.channel()), broker, "m1", headers=headers)
        (message,) = take(connection, broker.work())
        assert bytes(message.body) == b'{"id": "m1"}'
        assert message.content_type == "application/json"
        assert message.content_encoding == "utf-8"
        assert message.properties["message_id"] == "m1"
        assert message.properties["delivery_mode"] == 2
        assert message.headers == headers
        assert message.delivery_info["exchange"] == broker.name("events")
        assert message.delivery_info["routing_key"] == "work.made"

    def test_threads_may_publish_and_acknowledge(self, broker, connection):
        channel = connection.channel()
        numbers = range(40)
        _in_threads(numbers, lambda n: publish(Producer(channel), broker, f"m{n}"))
        messages = take(connection, broker.work(), 40)
        assert sorted(ids(messages)) == sorted(f"m{n}" for n in numbers)
        _in_threads(messages, lambda message: message.ack())
        reopen(connection)
        assert waiting(connection, broker.work()) == 0

    def test_a_connection_is_opened_anew_after_a_fork(self, broker, connection):
        connection.connect()
        publish(Producer(connection.channel()), broker, "parent")
        inherited = connection.channel()
        child = os.fork()
        if child == 0:
            # Nothing of the test run may go on in the child, whatever happens here.
            try:
                with pytest.raises(RecoverableConnectionError):
                    publish(Producer(inherited), broker, "never")
                publish(Producer(connection.channel()), broker, "child")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        publish(Producer(inherited), broker, "parent again")
        assert ids(take(connection, broker.work(), 4, seconds=1)) == [
            "parent",
            "child",
            "parent again",
        ]


class ConsumerCases:
    def test_prefetch_is_honoured(self, broker, connection):
        _publish_many(connection, broker, 10)
        held: list[Any] = []
        with _consumer(connection, broker, held.append, prefetch=3):
            drain(connection)
            assert len(held) == 3
            held[0].ack()
            drain(connection)
            assert len(held) == 4

    def test_two_consumers_get_each_message_once(self, broker, connection):
        _publish_many(connection, broker, 30)
        seen: list[list[str]] = [[], []]
        with Connection(broker.url) as other:
            connections = (connection, other)
            consumers = [
                _consumer(each, broker, _acknowledging(found), prefetch=1)
                for each, found in zip(connections, seen, strict=True)
            ]
            with consumers[0], consumers[1]:
                for _ in range(15):
                    for each in connections:
                        each.drain_events(timeout=5)
        assert sorted(seen[0] + seen[1]) == sorted(f"m{n}" for n in range(30))
        assert len(seen[0]) == len(seen[1]) == 15

    def test_what_was_not_acknowledged_comes_again_and_says_so(self, broker, connection):
        _publish_many(connection, broker, 1)
        for earlier in range(DELIVERY_LIMIT + 1):
            (message,) = take(connection, broker.work())
            assert message.delivery_info["redelivered"] is (earlier > 0)
            assert message.headers.get("x-delivery-count", 0) == earlier
            reopen(connection)

    def test_an_acknowledgement_on_a_lost_channel_raises_and_changes_nothing(
        self, broker, connection
    ):
        _publish_many(connection, broker, 1)
        (lost,) = take(connection, broker.work())
        reopen(connection)
        (again,) = take(connection, broker.work())
        with pytest.raises(RecoverableConnectionError):
            lost.ack()
        again.ack()
        reopen(connection)
        assert take(connection, broker.work(), seconds=0.3) == []

    def test_acknowledging_many_at_once(self, broker, connection):
        _publish_many(connection, broker, 20)
        channel = connection.channel()
        held: list[Any] = []
        consumer = _consumer(connection, broker, held.append, prefetch=20, channel=channel)
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

    def test_what_cannot_be_decoded_goes_to_the_decode_error_path(self, broker, connection):
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

    def test_a_handler_that_publishes_is_not_entered_again(self, broker, connection):
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

        _publish_many(connection, broker, 5)
        with _consumer(connection, broker, handle, prefetch=10):
            drain(connection)
        assert len(depths) == 34
        assert set(depths) == {1}

    def test_a_waiting_consumer_is_told_at_once(self, broker, connection):
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

        with _consumer(connection, broker, handle, prefetch=1):
            thread = threading.Thread(target=ping)
            thread.start()
            for _ in range(20):
                connection.drain_events(timeout=5)
            thread.join()
        assert sorted(delays)[10] < 0.1

    def test_a_killed_consumers_message_comes_again(self, broker, connection):
        _publish_many(connection, broker, 1)
        assert _hang_and_kill(broker, prefetch=1) == "m0"
        (message,) = take(connection, broker.work())
        assert message.delivery_info["redelivered"]

    def test_many_processes_handle_each_message_once(self, broker, connection):
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
    def test_a_rejected_message_is_parked_with_its_reason(self, broker, connection):
        _publish_many(connection, broker, 1)
        (message,) = take(connection, broker.work())
        message.reject()
        (parked,) = take(connection, broker.parked())
        assert parked.properties["message_id"] == "m0"
        assert parked.headers["x-first-death-reason"] == "rejected"
        death = parked.headers["x-death"][0]
        assert (death["reason"], death["queue"]) == ("rejected", broker.name("work"))
        assert (death["exchange"], death["count"]) == (broker.name("events"), 1)
        assert death["routing-keys"] == ["work.made"]

    def test_a_message_given_back_too_often_is_parked(self, broker, connection):
        _publish_many(connection, broker, 1)
        for _ in range(DELIVERY_LIMIT + 1):
            (message,) = take(connection, broker.work())
            message.requeue()
        (parked,) = take(connection, broker.parked())
        assert parked.headers["x-death"][0]["reason"] == "delivery_limit"
        assert take(connection, broker.work(), seconds=0.3) == []

    def test_a_message_that_kills_its_consumer_is_parked_and_no_innocent_one(
        self, broker, connection
    ):
        _publish_many(connection, broker, 3)
        for _ in range(DELIVERY_LIMIT + 1):
            assert _hang_and_kill(broker, prefetch=1) == "m0"
        assert ids(take(connection, broker.parked())) == ["m0"]
        assert ids(take(connection, broker.work(), 3, seconds=1)) == ["m1", "m2"]

    def test_delayed_messages_return_in_the_order_of_their_times(self, broker, connection):
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

        with _consumer(connection, broker, handle, prefetch=1):
            connection.drain_events(timeout=5)
            connection.drain_events(timeout=5)
        (first, first_after), (second, second_after) = found
        assert (first, second) == ("soon", "late")
        assert short / 1000 <= first_after < long / 1000
        assert long / 1000 <= second_after < 5

    def test_a_message_may_bring_its_own_expiration(self, broker, connection):
        publish(Producer(connection.channel()), broker, "m1", expiration=0.1)
        (parked,) = take(connection, broker.parked())
        assert parked.headers["x-death"][0]["reason"] == "expired"
        assert "expiration" not in parked.properties


class DeclarationCases:
    def test_declaring_again_changes_nothing(self, broker, connection):
        _publish_many(connection, broker, 2)
        broker.declare(connection)
        assert waiting(connection, broker.work()) == 2

    def test_declaring_a_queue_otherwise_is_an_error(self, broker, connection):
        other = broker.work()
        other.queue_arguments = {**other.queue_arguments, "x-delivery-limit": 9}
        with pytest.raises(ChannelError) as caught:
            other.bind(connection.channel()).queue_declare()
        assert caught.value.code == 406

    def test_declaring_an_exchange_otherwise_is_an_error(self, broker, connection):
        other = broker.events()
        other.type = "direct"
        with pytest.raises(ChannelError) as caught:
            other.bind(connection.channel()).declare()
        assert caught.value.code == 406

    def test_looking_for_what_is_not_there_is_an_error(self, broker, connection):
        queue, exchange = broker.everything(), broker.events()
        exchange.name = broker.name("missing")
        with pytest.raises(NotFound):
            queue.bind(connection.channel()).queue_declare(passive=True)
        with pytest.raises(NotFound):
            exchange.bind(connection.channel()).declare(passive=True)
        with pytest.raises(NotFound):
            queue.bind(connection.channel()).consume("tag", callback=print)

    def test_an_unbound_queue_gets_nothing_more(self, broker, connection):
        channel = connection.channel()
        broker.work().bind(channel).unbind_from(broker.events(), routing_key="work.#")
        with pytest.raises(PublishError):
            publish(Producer(channel), broker, "m1")

    def test_purging_deletes_what_waits(self, broker, connection):
        _publish_many(connection, broker, 3)
        broker.work().bind(connection.channel()).purge()
        assert waiting(connection, broker.work()) == 0

    def test_a_deleted_queue_is_gone(self, broker, connection):
        _publish_many(connection, broker, 3)
        broker.work().bind(connection.channel()).delete()
        with pytest.raises(NotFound):
            waiting(connection, broker.work())


class BrokerCases(PublisherCases, ConsumerCases, DeadLetterCases, DeclarationCases):
    """Everything, for one broker."""


def _publish_many(connection: Connection, broker: Broker, count: int) -> None:
    channel = connection.channel()
    with channel.batch():
        for number in range(count):
            publish(Producer(channel), broker, f"m{number}")


def _consumer(
    connection: Connection, broker: Broker, handle: Any, *, prefetch: int, channel: Any = None
) -> Consumer:
    return Consumer(
        channel or connection.channel(),
        [broker.work()],
        on_message=handle,
        prefetch_count=prefetch,
        auto_declare=False,
    )


def _acknowledging(found: list[str]) -> Any:
    def handle(message: Any) -> None:
        found.append(message.properties["message_id"])
        message.ack()

    return handle


def _hang_and_kill(broker: Broker, *, prefetch: int) -> str:
    """Let a process take a message and kill it; returns the message's id."""
    tell = SPAWN.Queue()
    child = SPAWN.Process(target=broker_actors.hang_on_first, args=(broker, tell, prefetch))
    child.start()
    message_id = str(tell.get(timeout=20))
    broker.kill(child)
    return message_id


def _in_threads(items: Any, action: Any) -> None:
    threads = [threading.Thread(target=action, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
