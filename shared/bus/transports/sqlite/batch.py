"""Publishing and acknowledging many messages in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import ConnectionError as BrokerConnectionError

from shared.bus.transports.refusal import LeaseLost, PublishError
from shared.bus.transports.sqlite.messages import Outgoing, Publication, publication

if TYPE_CHECKING:
    from shared.bus.transports.sqlite.channel import Channel
    from shared.bus.transports.sqlite.delivery import Delivery

LARGEST: Final = 500


class Batch:
    """Collects what one thread publishes and acknowledges; written by `flush`.

    This is also the session that `kombu.Producer.batch` asks for. When more than ``max_size``
    come together they are written in portions; refusals are reported by `flush` alone, so that
    one unroutable message does not keep the others from being sent.
    """

    def __init__(self, channel: Channel, max_size: int = LARGEST) -> None:
        self.channel = channel
        self._max_size = min(max_size, LARGEST)
        self._publications: list[Publication] = []
        self._acknowledged: list[Delivery] = []
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
            publication(message, exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        )
        self._write_if_full()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledged.extend(deliveries)
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
