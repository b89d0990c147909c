"""A broker without memory or disk takes nothing: nobody hangs, nothing is lost, and it is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from kombu import Connection

from shared.bus import transports
from shared.bus.consumer import Consumer
from shared.bus.publisher import Publisher
from shared.bus.topology import declare, queue_named
from shared.errors import BrokerUnavailable
from shared.outbox import Outgoing
from tests.contracts.broker import ids, take
from tests.contracts.own_rabbitmq import Node, own_node
from tests.product import eventually

ALARMS = {
    "memory": (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")),
}
CONFIRM_SECONDS = 1.5


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    transports.register()
    with own_node(tmp_path_factory.mktemp("rabbitmq")) as node:
        with Connection(node.url) as connection:
            declare(connection)
        yield node


def events(prefix: str, count: int) -> list[Outgoing]:
    return [Outgoing(id=f"{prefix}{n}", topic="event.received", text="{}") for n in range(count)]


def test_an_alarm_is_an_unknown_outcome_and_afterwards_everything_is_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.transports.pika.transport.CONFIRM_SECONDS", CONFIRM_SECONDS)
    for kind, (raise_alarm, clear) in ALARMS.items():
        publisher = Publisher(node.url)
        assert publisher.send(events(f"{kind}-before-", 5)) == set()
        assert publisher.problem() is None
        consumer = Consumer(node.url, "classifier", prefetch=20)
        in_hand = eventually(lambda: consumer.next_batch(1))  # noqa: B023 - called at once
        node.control(*raise_alarm)
        try:
            refused_in = _refused(publisher, events(f"{kind}-during-", 5))
            threads = threading.active_count()
            assert refused_in < CONFIRM_SECONDS + 3
            assert (
                publisher.problem() == "the broker takes nothing at present: a memory or disk alarm"
            )
            # Again and again, as a relay does: no connection is left behind, blocked for ever.
            _refused(publisher, events(f"{kind}-during-", 5))
            assert threading.active_count() <= threads
            publisher.acknowledge([delivery.message for delivery in in_hand])
            consumer.close()
            with Connection(node.url) as looking:
                left = ids(take(looking, queue_named("classifier"), 30, seconds=1))
            done = {delivery.message_id for delivery in in_hand}
            assert done
            assert not done & set(left), "acknowledged, and there again"
        finally:
            node.control(*clear)
        eventually(lambda: _sent(publisher, events(f"{kind}-during-", 5)))  # noqa: B023 - as above
        assert publisher.problem() is None
        publisher.close()
        with Connection(node.url) as connection:
            found = take(connection, queue_named("classifier"), 40, seconds=2)
            wanted = {
                one.id for one in (*events(f"{kind}-before-", 5), *events(f"{kind}-during-", 5))
            }
            assert set(ids(found)) == wanted - done
            for message in found:
                message.ack()


def _refused(publisher: Publisher, messages: list[Outgoing]) -> float:
    """The seconds until the publisher says that the outcome is unknown."""
    begin = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="alarm"):
        publisher.send(messages)
    return time.monotonic() - begin


def _sent(publisher: Publisher, messages: list[Outgoing]) -> bool:
    try:
        return publisher.send(messages) == set()
    except BrokerUnavailable:
        return False
