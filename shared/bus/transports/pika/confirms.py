"""Which messages of a channel the broker has confirmed, refused, or not spoken of yet."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field


@dataclass(eq=False, kw_only=True)
class Window:
    """Messages that wait for their confirms together; ``done`` gets the refused message ids."""

    open: int
    done: Future[list[str]] = field(default_factory=Future)
    refused: list[str] = field(default_factory=list)

    def settle(self, refused: str | None) -> None:
        self.open -= 1
        if refused is not None:
            self.refused.append(refused)
        if self.open == 0 and not self.done.done():
            self.done.set_result(self.refused)


@dataclass(kw_only=True)
class _Unconfirmed:
    address: tuple[str, str, str]
    window: Window
    is_returned: bool = False


class Confirms:
    """By delivery tag, counted as the broker counts: from 1, one for each publish of the channel.

    Used by the loop's thread alone.
    """

    def __init__(self) -> None:
        self._last = 0
        self._unconfirmed: OrderedDict[int, _Unconfirmed] = OrderedDict()

    def published(self, window: Window, *, exchange: str, routing_key: str, id_: str) -> None:
        self._last += 1
        address = (exchange, routing_key, id_)
        self._unconfirmed[self._last] = _Unconfirmed(address=address, window=window)

    def returned(self, *, exchange: str, routing_key: str, id_: str) -> None:
        """A return carries no tag. It comes before its confirm, and messages of one id and
        address are one message to us, so the first that fits is the right one.
        """
        address = (exchange, routing_key, id_)
        for message in self._unconfirmed.values():
            if message.address == address and not message.is_returned:
                message.is_returned = True
                return

    def confirmed(self, tag: int, *, multiple: bool, is_taken: bool) -> None:
        """The broker's ack (``is_taken``) or nack, for one message or for all up to it."""
        for number in self._meant(tag, multiple=multiple):
            message = self._unconfirmed.pop(number)
            is_refused = message.is_returned or not is_taken
            message.window.settle(message.address[2] if is_refused else None)

    def fail(self, error: Exception) -> None:
        """The channel is gone: what became of these nobody knows."""
        for message in self._unconfirmed.values():
            with contextlib.suppress(InvalidStateError):  # Another of its window was first.
                message.window.done.set_exception(error)
        self._unconfirmed.clear()

    def _meant(self, tag: int, *, multiple: bool) -> list[int]:
        if not multiple:
            return [tag] if tag in self._unconfirmed else []
        meant = []
        for number in self._unconfirmed:  # In the order of their tags.
            if number > tag:
                break
            meant.append(number)
        return meant
