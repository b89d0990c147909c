"""Dead letters: looking at them, sending one on its way again, dropping one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from shared.bus.connection import connect, translated
from shared.bus.consumer import delivery_of
from shared.bus.delivery import Delivery
from shared.bus.publisher import Publisher
from shared.bus.topology import DELAYS, parked_queue, work_queues
from shared.bus.transports.sqlite import file_of
from shared.bus.transports.sqlite.schema import cut_log
from shared.bus.waiting import why_parked
from shared.errors import StoreUnavailable

LOOKS, PAUSE = 4, 0.5
CUTS, CUT_PAUSE = 100, 0.1
UNKNOWN = "?"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One dead letter: the queue it was meant for and why it rests.

    What its text does not tell, as where it is no envelope, is ``?``.
    """

    queue: str
    delivery: Delivery
    reason: str

    @property
    def message_id(self) -> str:
        return self.delivery.message_id

    @property
    def topic(self) -> str:
        return self._said("topic")

    @property
    def chain(self) -> str:
        return self._said("chain")

    @property
    def at(self) -> str:
        """When it was first sent."""
        return self._said("at")

    def _said(self, key: str) -> str:
        return str(self._envelope.get(key, UNKNOWN))

    @cached_property
    def _envelope(self) -> dict[str, Any]:
        try:
            found = json.loads(self.delivery.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def letters(broker_url: str, queues: Iterable[str] | None = None) -> Iterator[Letter]:
    """Every dead letter, held while the caller looks at it and put back unless acknowledged.

    Meanwhile nobody else sees those that are held. Raises `BrokerUnavailable`.
    """
    connection = connect(broker_url)
    try:
        with translated():
            channel = connection.channel()
            for name in queues or work_queues():
                yield from _letters_of(channel, name)
    finally:
        connection.release()


def _letters_of(channel: Any, name: str) -> Iterator[Letter]:
    bound = parked_queue(name).bind(channel)
    while (message := bound.get(no_ack=False)) is not None:
        reason = why_parked(message.headers)
        yield Letter(queue=name, delivery=delivery_of(message, name), reason=reason)


def release(publisher: Publisher, queue: str, message_id: str) -> bool:
    """Back to its queue through the shortest waiting room, under its old id; whether it was there.

    Published, confirmed, then acknowledged: a crash between doubles it, which the inbox absorbs.
    """

    def send_on(delivery: Delivery) -> None:
        publisher.retry(queue, delivery.message_id, delivery.text, 0, DELAYS[0])

    return _take(publisher, queue, message_id, send_on)


def discard(publisher: Publisher, queue: str, message_id: str) -> bool:
    """Gone; whether it was there."""
    return _take(publisher, queue, message_id, lambda _: None)


def forget(
    publisher: Publisher, chains: Collection[str], queues: Iterable[str] | None = None
) -> None:
    """Take away what tells of these chains, also from the disk.

    Raises `BrokerUnavailable` or `StoreUnavailable`; it may be done again.
    """
    for letter in letters(publisher.broker_url, queues):
        if letter.chain in chains:
            publisher.acknowledge([letter.delivery.message])
    _cut_log(publisher.broker_url)


def _cut_log(broker_url: str) -> None:
    """The embedded broker's file forgets what was taken; RabbitMQ drops its segments by itself."""
    if (file := file_of(broker_url)) is None:
        return
    for _ in range(CUTS):
        if cut_log(file):
            return
        time.sleep(CUT_PAUSE)
    raise StoreUnavailable("the broker's file is busy: erase again to finish")


def _take(publisher: Publisher, queue: str, message_id: str, act: Any) -> bool:
    """Somebody who looks at the letters holds them for a moment: look again."""
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE)
        for letter in letters(publisher.broker_url, [queue]):
            if letter.message_id == message_id:
                act(letter.delivery)
                publisher.acknowledge([letter.delivery.message])
                return True
    return False


def first_letters(
    broker_url: str,
    most: int,
    *,
    queue: str = "",
    wanted: Callable[[Letter], bool] = lambda _: True,
) -> list[Letter]:
    """Up to ``most`` of those that are ``wanted``, of one queue or of all.

    Those that are passed over do not count towards ``most``. Raises `BrokerUnavailable`.
    """
    queues = [name for name in work_queues() if queue in {"", name}]
    found = letters(broker_url, queues) if queues else iter(())
    return list(islice(filter(wanted, found), most))
