"""What both transports raise when the broker will not take a message, or an acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence

from amqp.exceptions import ChannelError


class PublishError(ChannelError):
    """The broker refused these messages; the others of the same batch are in.

    ``messages`` names exactly the refused ones by message id. 312 is AMQP's NO_ROUTE.
    """

    code = 312

    def __init__(self, messages: Sequence[str]) -> None:
        self.messages = tuple(messages)
        super().__init__(f"NO_ROUTE - refused: {', '.join(self.messages)}")


class LeaseLost(ChannelError):
    """An acknowledgement came too late: the message is, or may be, in someone else's hand."""
