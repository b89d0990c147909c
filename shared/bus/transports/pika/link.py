"""The thread that owns a connection: only it touches pika, everybody else asks it and waits.

So heartbeats go on while a handler works, any thread may publish and acknowledge, and no handler
is entered twice.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as TooLate
from typing import Any, Final, TypeVar

import structlog
from amqp.exceptions import RecoverableConnectionError
from pika import SelectConnection
from pika.connection import Parameters
from pika.exceptions import ConnectionWrongStateError

from shared.bus.transports.pika import failures

log = structlog.get_logger()
T = TypeVar("T")
# For everything but confirms: declaring, subscribing, opening and closing.
ANSWER_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0


class Link:
    """An open connection. Raises what `failures.of_connection` says where there is none.

    ``on_end`` is called once, in the loop's thread, when the connection has ended.
    """

    def __init__(
        self, parameters: Parameters, seconds: float, on_end: Callable[[Exception], None]
    ) -> None:
        self._parameters = parameters
        self._on_end = on_end
        self._pid = os.getpid()
        self._error: Exception | None = None
        self._opened: Future[None] = Future()
        self._asked: set[Future[Any]] = set()
        self.is_blocked = False
        self.pika: Any = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        try:
            self._opened.result(seconds)
        except TooLate as error:
            self.close()
            raise RecoverableConnectionError("the broker did not answer in time") from error

    @property
    def is_usable(self) -> bool:
        """False once it has ended, and in a forked child: the thread is the parent's."""
        return self._error is None and self._pid == os.getpid() and self._thread.is_alive()

    def ask(self, start: Callable[[Future[T]], None], seconds: float = ANSWER_SECONDS) -> T:
        """Run ``start`` in the loop's thread and wait until the future it is given has a result.

        Raises what the future was given, `RecoverableConnectionError` without an answer in time.
        """
        answer: Future[T] = Future()
        self._asked.add(answer)
        try:
            self.tell(lambda: _guarded(start, answer))
            return answer.result(seconds)
        except TooLate as error:
            raise RecoverableConnectionError("the broker did not answer in time") from error
        finally:
            self._asked.discard(answer)

    def tell(self, action: Callable[[], None]) -> None:
        """Run ``action`` in the loop's thread. Raises `RecoverableConnectionError`."""
        if not self.is_usable:
            raise RecoverableConnectionError("the connection to the broker is closed")
        try:
            self.pika.ioloop.add_callback_threadsafe(action)
        except OSError as error:  # It ended this very moment.
            raise RecoverableConnectionError("the connection to the broker is closed") from error

    def close(self) -> None:
        """End the connection and its thread; in a forked child there is nothing to end."""
        if self._pid != os.getpid():
            return
        with contextlib.suppress(RecoverableConnectionError):
            self.tell(self._close)
        self._thread.join(END_SECONDS)

    def _close(self) -> None:
        try:
            self.pika.close()
        except ConnectionWrongStateError:
            self.pika.ioloop.stop()  # It never opened, or is ending already.

    def _run(self) -> None:
        try:
            self.pika = SelectConnection(
                self._parameters,
                on_open_callback=lambda _: self._opened.set_result(None),
                on_open_error_callback=lambda _, reason: self._end(reason),
                on_close_callback=lambda _, reason: self._end(reason),
            )
            self.pika.add_on_connection_blocked_callback(lambda *_: self._block(is_blocked=True))
            self.pika.add_on_connection_unblocked_callback(lambda *_: self._block(is_blocked=False))
            self.pika.ioloop.start()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is.
            self._end(error)
        finally:
            if self.pika is not None:
                self.pika.ioloop.close()

    def _block(self, *, is_blocked: bool) -> None:
        self.is_blocked = is_blocked
        log.warning("the broker takes nothing" if is_blocked else "the broker takes messages again")

    def _end(self, reason: BaseException) -> None:
        if self._error is not None:
            return
        self._error = failures.of_connection(reason)
        if self._opened.done():
            self._on_end(self._error)
        else:
            self._opened.set_exception(self._error)
        for answer in list(self._asked):
            fail(answer, self._error)
        if self.pika is not None:
            self.pika.ioloop.stop()


def fail(answer: Future[Any], error: Exception) -> None:
    """Give the future this error, unless it has an end already."""
    with contextlib.suppress(InvalidStateError):
        answer.set_exception(error)


def _guarded(start: Callable[[Future[T]], None], answer: Future[T]) -> None:
    """An error in the loop's thread belongs to whoever asked."""
    try:
        start(answer)
    except Exception as error:  # noqa: BLE001 - as above.
        fail(answer, failures.of_channel(error))
