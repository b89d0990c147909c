"""pika's errors in the words that kombu knows: those of py-amqp."""

from __future__ import annotations

from amqp.exceptions import RecoverableConnectionError, error_for_code
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from shared.errors import ConfigurationError


def of_channel(reason: BaseException) -> Exception:
    """Why a channel ended: a refusal by its AMQP code, anything else may be tried again."""
    if isinstance(reason, ChannelClosedByBroker):
        error: Exception = error_for_code(
            reason.reply_code, reason.reply_text, (0, 0), RecoverableConnectionError
        )
        return error
    lost: Exception = RecoverableConnectionError(f"the channel is closed: {_words(reason)}")
    return lost


def of_connection(reason: BaseException) -> Exception:
    """Why there is no connection (any more). A wrong password does not become right by waiting."""
    if isinstance(reason, ProbableAuthenticationError):
        return ConfigurationError("the broker refuses the user or the password of BROKER_URL")
    if isinstance(reason, ProbableAccessDeniedError):
        return ConfigurationError("the user of BROKER_URL may not use its virtual host")
    lost: Exception = RecoverableConnectionError(f"no connection to the broker: {_words(reason)}")
    return lost


def _words(reason: BaseException) -> str:
    if isinstance(reason, AMQPError):
        return f"{type(reason).__name__} {reason.args[:2]}"
    return type(reason).__name__
