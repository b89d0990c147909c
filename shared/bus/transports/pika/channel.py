"""The AMQP operations that kombu asks of a channel, on RabbitMQ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError
from kombu.message import Message
from pika.spec import Basic

from shared.bus.transports.batching import BatchingChannel, Outgoing
from shared.bus.transports.pika import failures
from shared.bus.transports.pika.confirms import Confirms, Window
from shared.bus.transports.pika.declaring import DeclaringChannel
from shared.bus.transports.pika.link import fail
from shared.bus.transports.pika.messages import Publication, delivered, publication

if TYPE_CHECKING:
    from shared.bus.transports.pika.transport import Connection

# A delivery tag, and whether all up to it are meant.
Claim = tuple[int, bool]


class Channel(BatchingChannel[Publication, Claim], DeclaringChannel):
    """Publishes and settles from any thread; deliveries come through `Connection.drain_events`.

    Every publish is confirmed. A channel does not outlive its connection, nor an error of the
    broker: afterwards every call raises `RecoverableConnectionError`, and what it had delivered is
    in the queue again.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.no_ack_consumers: set[str] = set()  # type: ignore[assignment]  # None in kombu's base
        self.callbacks: dict[str, Callable[[Message], Any]] = {}
        self.local = threading.local()
        self._link = connection.link
        self._confirms = Confirms()
        self._answers: set[Future[Any]] = set()
        self._getting = threading.Lock()
        self._got: Future[Any] | None = None
        self._is_closed = False
        self._pika: Any = self._link.ask(self._open)
        self.channel_id = int(self._pika.channel_number)

    @property
    def closed(self) -> bool:
        return self._is_closed or not self._link.is_usable

    def _open(self, answer: Future[Any]) -> None:
        self._answers.add(answer)

        def opened(channel: Any) -> None:
            channel.add_on_close_callback(lambda _, reason: self._end(failures.of_channel(reason)))
            channel.add_on_return_callback(self._returned)
            channel.add_on_cancel_callback(self._cancelled)
            channel.add_callback(self._got_nothing, [Basic.GetEmpty], one_shot=False)
            channel.confirm_delivery(
                self._confirmed, callback=lambda _: self._answer(answer, channel)
            )

        self._link.pika.channel(on_open_callback=opened)

    def call(self, method: str, **arguments: Any) -> Any:
        def start(answer: Future[Any]) -> None:
            self._answers.add(answer)
            ask = getattr(self._pika, method)
            ask(**arguments, callback=lambda frame: self._answer(answer, frame))

        return self._ask(start)

    def publication(
        self, message: Outgoing, *, exchange: str, routing_key: str, mandatory: bool
    ) -> Publication:
        return publication(message, exchange=exchange, routing_key=routing_key, mandatory=mandatory)

    def write(
        self, publications: Sequence[Publication], acknowledged: Sequence[Claim]
    ) -> tuple[list[str], int]:
        """Publish and wait for all confirms, then acknowledge.

        Without a confirm in time `RecoverableConnectionError` is raised: the message may be in.
        """
        refused = self._publish(publications) if publications else []
        if acknowledged:
            self._settle(lambda: [self._pika.basic_ack(*claim) for claim in acknowledged])
        return refused, 0

    def _publish(self, publications: Sequence[Publication]) -> list[str]:
        def start(answer: Future[list[str]]) -> None:
            window = Window(open=len(publications), done=answer)
            for one in publications:
                self._confirms.published(
                    window, exchange=one.exchange, routing_key=one.routing_key, id_=one.message_id
                )
                self._pika.basic_publish(
                    one.exchange, one.routing_key, one.body, one.properties, one.mandatory
                )

        self._require_open()
        return self._link.ask(start, self.connection.confirm_seconds)

    def give_back(self, claims: Sequence[Claim]) -> None:
        if claims:
            self._settle(lambda: [self._pika.basic_nack(*claim, True) for claim in claims])

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Note it in the open batch of this thread, or acknowledge now."""
        self.acknowledge([(delivery_tag, multiple)])

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Give the message back, which counts, or send it to the dead letters."""
        self._settle(lambda: self._pika.basic_reject(delivery_tag, requeue))

    def basic_recover(self, requeue: bool = True) -> None:
        """Give back everything that was handed over and is not settled."""
        self.call("basic_recover", requeue=requeue)

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """The limit of each consumer that subscribes from now on."""
        self.call(
            "basic_qos",
            prefetch_size=prefetch_size,
            prefetch_count=prefetch_count,
            global_qos=apply_global,
        )

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,
        consumer_tag: str = "",
        *,
        callback: Callable[[Message], Any],
        exclusive: bool = False,
        **_: Any,
    ) -> str:
        """Subscribe; returns the consumer tag. Raises `NotFound` where there is no such queue."""
        tag = consumer_tag or f"ctag-{self.channel_id}.{id(callback)}.{len(self.callbacks)}"
        self.callbacks[tag] = callback
        if no_ack:
            self.no_ack_consumers.add(tag)
        self.call(
            "basic_consume",
            queue=queue,
            on_message_callback=self._delivered,
            auto_ack=bool(no_ack),
            exclusive=exclusive,
            consumer_tag=tag,
        )
        return tag

    def basic_cancel(self, consumer_tag: str, **_: Any) -> None:
        """Unsubscribe; what was fetched and not handed over goes back."""
        self.no_ack_consumers.discard(consumer_tag)
        if self.callbacks.pop(consumer_tag, None) is None or self.closed:
            return
        self.call("basic_cancel", consumer_tag=consumer_tag)
        self.give_back([(tag, False) for tag in self.connection.take_out(self, consumer_tag)])

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Message | None:
        """One message, or None. Raises `NotFound` where there is no such queue."""

        def start(answer: Future[Any]) -> None:
            self._answers.add(answer)
            self._got = answer
            self._pika.basic_get(queue, lambda _, *got: self._answer(answer, got), bool(no_ack))

        with self._getting:  # pika knows one such question at a time.
            got = self._ask(start)
        if got is None:
            return None
        method, properties, body = got
        return delivered(self, method, properties, body, "")

    def close(self) -> None:
        """Give back everything and end the channel."""
        if self.closed:
            return

        def start(answer: Future[None]) -> None:
            self._answers.add(answer)
            self._pika.add_on_close_callback(lambda *_: self._answer(answer, None))
            self._pika.close()

        self.callbacks.clear()
        try:
            self._ask(start)
        except RecoverableConnectionError:
            return  # It has ended meanwhile, which is all that was wanted.
        finally:
            self._is_closed = True

    def _ask(self, start: Callable[[Future[Any]], None]) -> Any:
        self._require_open()
        return self._link.ask(start)

    def _settle(self, action: Callable[[], Any]) -> None:
        """The broker does not answer to acknowledgements: written is all one can know."""

        def start(answer: Future[None]) -> None:
            action()
            answer.set_result(None)

        self._ask(start)

    def _require_open(self) -> None:
        if self.closed:
            raise RecoverableConnectionError("the channel is closed")

    # From here on everything runs in the loop's thread.

    def _answer(self, answer: Future[Any], value: Any) -> None:
        self._answers.discard(answer)
        if not answer.done():
            answer.set_result(value)

    def _delivered(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self.connection.arrived(self, method, properties, body)

    def _got_nothing(self, _: Any) -> None:
        if self._got is not None:
            self._answer(self._got, None)

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        self._confirms.confirmed(
            method.delivery_tag,
            multiple=method.multiple,
            is_taken=isinstance(method, Basic.Ack),
        )

    def _returned(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        self._confirms.returned(
            exchange=method.exchange,
            routing_key=method.routing_key,
            id_=properties.message_id or "",
        )

    def _cancelled(self, frame: Any) -> None:
        self.connection.cancelled(self, frame.method.consumer_tag)

    def _end(self, error: Exception) -> None:
        """The channel is gone: whoever waits for it hears why."""
        self._is_closed = True
        self._confirms.fail(error)
        for answer in list(self._answers):
            self._answers.discard(answer)
            fail(answer, error)
        self.connection.channel_ended(self, error)
