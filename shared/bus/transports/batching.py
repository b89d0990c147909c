"""Publishing and acknowledging many messages at once: what the channels of both brokers share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from kombu.exceptions import ConnectionError as BrokerConnectionError
from kombu.transport.base import to_rabbitmq_queue_arguments

from shared.bus.transports.refusal import LeaseLost, PublishError

LARGEST: Final = 500
# Kept beside the body rather than among the headers that the publisher chose.
HEADERS: Final = "application_headers"

Publication = TypeVar("Publication")
Claim = TypeVar("Claim")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """What kombu hands back to `basic_publish`; ``properties`` are AMQP's basic ones."""

    body: bytes
    properties: dict[str, Any]


class BatchingChannel(Generic[Publication, Claim]):
    """A transport gives `publication`, `write` and `give_back`; everything here goes through them.

    ``local`` is a `threading.local`: each thread has a batch of its own.
    """

    local: threading.local

    def publication(
        self, message: Outgoing, *, exchange: str, routing_key: str, mandatory: bool
    ) -> Publication:
        """A message with its address, ready to be written."""
        raise NotImplementedError

    def write(
        self, publications: Sequence[Publication], acknowledged: Sequence[Claim]
    ) -> tuple[list[str], int]:
        """All of it, durably; returns the refused message ids and how many leases were lost."""
        raise NotImplementedError

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Back to the queue: the batch that would have acknowledged them was given up."""
        raise NotImplementedError

    def prepare_queue_arguments(
        self, arguments: Mapping[str, Any], **options: Any
    ) -> Mapping[str, Any]:
        prepared: Mapping[str, Any] = to_rabbitmq_queue_arguments(arguments, **options)
        return prepared

    def prepare_message(
        self,
        body: bytes | str,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> Outgoing:
        return Outgoing(
            body=body.encode() if isinstance(body, str) else bytes(body),
            properties={
                **(properties or {}),
                "content_type": content_type,
                "content_encoding": content_encoding,
                "priority": priority or 0,
                HEADERS: dict(headers or {}),
            },
        )

    def basic_publish(self, message: Outgoing, **address: Any) -> None:
        """Write the message durably, or add it to the open batch of this thread.

        Raises `PublishError` where it is mandatory and no queue takes it, `NotFound` where
        there is no such exchange.
        """
        open_batch = self.open_batch()
        batch = open_batch or Batch(self)
        batch.publish(message, **address)
        if open_batch is None:
            batch.flush()

    def acknowledge(self, claims: Sequence[Claim]) -> None:
        """Acknowledge now, or with the open batch of this thread."""
        open_batch = self.open_batch()
        batch = open_batch or Batch(self)
        batch.acknowledge(claims)
        if open_batch is None:
            batch.flush()

    def create_publish_batch(self, max_size: int) -> Batch[Publication, Claim]:
        """The session behind `kombu.Producer.batch`."""
        return Batch(self, max_size)

    @contextmanager
    def batch(self, max_size: int = LARGEST) -> Iterator[Batch[Publication, Claim]]:
        """What this thread publishes and acknowledges inside is written together.

        A second batch inside joins the first. An exception discards all of it.
        """
        if (outer := self.open_batch()) is not None:
            yield outer
            return
        batch = self.local.batch = Batch(self, max_size)
        try:
            yield batch
        except BaseException:
            self.local.batch = None
            batch.discard()
            raise
        self.local.batch = None
        batch.flush()

    def open_batch(self) -> Batch[Publication, Claim] | None:
        return getattr(self.local, "batch", None)


class Batch(Generic[Publication, Claim]):
    """Collects what one thread publishes and acknowledges; written by `flush`.

    This is also the session that `kombu.Producer.batch` asks for. When more than ``max_size``
    come together they are written in portions; refusals are reported by `flush` alone, so that
    one unroutable message does not keep the others from being sent.
    """

    def __init__(
        self, channel: BatchingChannel[Publication, Claim], max_size: int = LARGEST
    ) -> None:
        self.channel = channel
        self._max_size = min(max_size, LARGEST)
        self._publications: list[Publication] = []
        self._acknowledged: list[Claim] = []
        self._refused: list[str] = []
        self._lost = 0

    def publish(
        self,
        message: Outgoing,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        **_: Any,
    ) -> None:
        self._publications.append(
            self.channel.publication(
                message, exchange=exchange, routing_key=routing_key, mandatory=mandatory
            )
        )
        self._write_if_full()

    def acknowledge(self, claims: Sequence[Claim]) -> None:
        self._acknowledged.extend(claims)
        self._write_if_full()

    def flush(self) -> None:
        """Write what is left. Raises `PublishError` or `LeaseLost`; all else is in then."""
        self._write()
        refused, self._refused = self._refused, []
        lost, self._lost = self._lost, 0
        if refused:
            raise PublishError(refused)
        if lost:
            raise LeaseLost(f"{lost} acknowledgements came too late")

    def discard(self) -> None:
        """Write nothing. What was acknowledged here is delivered again."""
        acknowledged, self._acknowledged, self._publications = self._acknowledged, [], []
        # A lost connection gives its deliveries back by itself.
        with contextlib.suppress(BrokerConnectionError):
            self.channel.give_back(acknowledged)

    def close(self) -> None:
        """Nothing is kept open between two writes; kombu calls this last."""

    def _write_if_full(self) -> None:
        if len(self._publications) + len(self._acknowledged) >= self._max_size:
            self._write()

    def _write(self) -> None:
        publications, self._publications = self._publications, []
        acknowledged, self._acknowledged = self._acknowledged, []
        if publications or acknowledged:
            refused, lost = self.channel.write(publications, acknowledged)
            self._refused += refused
            self._lost += lost
