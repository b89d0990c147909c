"""What every broker of ours does, as cases; a subclass gives fixtures `broker` and `connection`."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from amqp.exceptions import ChannelError, NotFound, RecoverableConnectionError
from kombu import Connection, Producer

from shared.bus.transports import PublishError
from tests.contracts import broker_actors
from tests.contracts.broker import SPAWN, Broker, ids, publish, publish_many, reopen, take, waiting
from tests.contracts.consumer_cases import ConsumerCases, DeadLetterCases


class PublisherCases:
    def test_an_unroutable_message_raises_and_is_named(
        self, broker: Broker, connection: Connection
    ) -> None:
        producer = Producer(connection.channel())
        with pytest.raises(PublishError) as caught:
            publish(producer, broker, "m1", key="nobody.listens")
        assert caught.value.messages == ("m1",)

    def test_a_message_for_a_queue_that_is_not_there_raises(
        self, broker: Broker, connection: Connection
    ) -> None:
        producer = Producer(connection.channel())
        with pytest.raises(PublishError):
            publish(producer, broker, "m1", exchange="", key=broker.name("missing"))

    def test_a_batch_names_exactly_the_refused_messages_and_the_others_are_in(
        self, broker: Broker, connection: Connection
    ) -> None:
        channel = connection.channel()
        producer = Producer(channel)

        def publish_all() -> None:
            with channel.batch():
                for number in range(6):
                    key = "work.a" if number % 2 else "nobody"
                    publish(producer, broker, f"m{number}", key=key)

        with pytest.raises(PublishError) as caught:
            publish_all()
        assert caught.value.messages == ("m0", "m2", "m4")
        assert ids(take(connection, broker.work(), 3)) == ["m1", "m3", "m5"]

    def test_a_batch_arrives_whole_and_in_order(
        self, broker: Broker, connection: Connection
    ) -> None:
        channel = connection.channel()
        sent = [f"m{number}" for number in range(250)]
        with channel.batch():
            for message_id in sent:
                publish(Producer(channel), broker, message_id)
        assert ids(take(connection, broker.work(), 250)) == sent

    def test_the_batch_of_a_kombu_producer_works_too(
        self, broker: Broker, connection: Connection
    ) -> None:
        producer = Producer(connection.channel())
        with producer.batch(max_size=20):
            for number in range(50):
                publish(producer, broker, f"m{number}")
        assert waiting(connection, broker.work()) == 50

    def test_a_confirmed_message_survives_the_publishers_death(
        self, broker: Broker, connection: Connection
    ) -> None:
        tell = SPAWN.Queue()
        child = SPAWN.Process(target=broker_actors.produce, args=(broker, tell, ["m1", "m2"]))
        child.start()
        told = [tell.get(timeout=20), tell.get(timeout=20)]
        broker.kill(child)
        assert ids(take(connection, broker.work(), 2)) == told

    def test_one_publish_reaches_every_bound_queue_once(
        self, broker: Broker, connection: Connection
    ) -> None:
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
    def test_wildcards_in_bindings(
        self, broker: Broker, connection: Connection, pattern: str, key: str, taken: bool
    ) -> None:
        channel = connection.channel()
        queue = broker.everything()
        queue.bind(channel).queue_declare()
        queue.bind(channel).bind_to(broker.events(), routing_key=pattern)
        publish(Producer(channel), broker, "m1", key=key, mandatory=False)
        assert len(take(connection, queue, 1, seconds=1 if taken else 0.3)) == taken

    def test_body_headers_and_properties_arrive_as_they_were_sent(
        self, broker: Broker, connection: Connection
    ) -> None:
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

    def test_threads_may_publish_and_acknowledge(
        self, broker: Broker, connection: Connection
    ) -> None:
        channel = connection.channel()
        numbers = range(40)
        in_threads(numbers, lambda n: publish(Producer(channel), broker, f"m{n}"))
        messages = take(connection, broker.work(), 40)
        assert sorted(ids(messages)) == sorted(f"m{n}" for n in numbers)
        in_threads(messages, lambda message: message.ack())
        reopen(connection)
        assert waiting(connection, broker.work()) == 0

    def test_a_connection_is_opened_anew_after_a_fork(
        self, broker: Broker, connection: Connection
    ) -> None:
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


class DeclarationCases:
    def test_declaring_again_changes_nothing(self, broker: Broker, connection: Connection) -> None:
        publish_many(connection, broker, 2)
        broker.declare(connection)
        assert waiting(connection, broker.work()) == 2

    def test_declaring_a_queue_otherwise_is_an_error(
        self, broker: Broker, connection: Connection
    ) -> None:
        other = broker.work()
        other.queue_arguments = {**other.queue_arguments, "x-delivery-limit": 9}
        with pytest.raises(ChannelError) as caught:
            other.bind(connection.channel()).queue_declare()
        assert caught.value.code == 406

    def test_declaring_an_exchange_otherwise_is_an_error(
        self, broker: Broker, connection: Connection
    ) -> None:
        other = broker.events()
        other.type = "direct"
        with pytest.raises(ChannelError) as caught:
            other.bind(connection.channel()).declare()
        assert caught.value.code == 406

    def test_looking_for_what_is_not_there_is_an_error(
        self, broker: Broker, connection: Connection
    ) -> None:
        queue, exchange = broker.everything(), broker.events()
        exchange.name = broker.name("missing")
        with pytest.raises(NotFound):
            queue.bind(connection.channel()).queue_declare(passive=True)
        with pytest.raises(NotFound):
            exchange.bind(connection.channel()).declare(passive=True)
        with pytest.raises(NotFound):
            queue.bind(connection.channel()).consume("tag", callback=print)

    def test_an_unbound_queue_gets_nothing_more(
        self, broker: Broker, connection: Connection
    ) -> None:
        channel = connection.channel()
        broker.work().bind(channel).unbind_from(broker.events(), routing_key="work.#")
        with pytest.raises(PublishError):
            publish(Producer(channel), broker, "m1")

    def test_purging_deletes_what_waits(self, broker: Broker, connection: Connection) -> None:
        publish_many(connection, broker, 3)
        broker.work().bind(connection.channel()).purge()
        assert waiting(connection, broker.work()) == 0

    def test_a_deleted_queue_is_gone(self, broker: Broker, connection: Connection) -> None:
        publish_many(connection, broker, 3)
        broker.work().bind(connection.channel()).delete()
        with pytest.raises(NotFound):
            waiting(connection, broker.work())


class BrokerCases(PublisherCases, ConsumerCases, DeadLetterCases, DeclarationCases):
    """Everything, for one broker."""


def in_threads(items: Any, action: Any) -> None:
    threads = [threading.Thread(target=action, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
