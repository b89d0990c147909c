"""Hundreds of senders who send a byte a second, in the head or in the body, beside good ones."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.hostile.good import Good
from tests.product import Product

CONNECTIONS = 500
BYTE_SECONDS = 1.0
GOAL_P99 = 1.0
# Of fewer times, the slowest one would be the p99.
ENOUGH = 100
_HEAD = (
    b"POST /hooks/standard-webhooks/demo HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\n"
)
_SLOW_HEAD = _HEAD + b"X-Slow: "
_SLOW_BODY = _HEAD + b"Content-Length: 1536\r\n\r\n{"


@dataclass(kw_only=True)
class Result:
    """``held`` is the fewest that were open at any time, ``closed`` how often one was hung up on."""

    held: int = 0
    closed: int = 0
    good_sent: int = 0
    good_failed: int = 0
    good_p99: float = 0.0
    good_median: float = 0.0
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """What the goal does not allow, in words."""
        found = []
        if self.good_failed:
            found.append(f"{self.good_failed} good requests failed")
        if self.good_sent >= ENOUGH and self.good_p99 >= GOAL_P99:
            found.append(f"good requests waited {self.good_p99} s (p99)")
        if self.good_median >= GOAL_P99:
            found.append(f"good requests waited {self.good_median} s (median)")
        if not self.good_sent or not self.held:
            found.append("nothing was measured")
        return found


@dataclass(kw_only=True)
class SlowSenders:
    """``count`` connections, each a byte a second; whoever is hung up on comes again.

    Every other one is slow in its head, every other in its body.
    """

    port: int
    count: int = CONNECTIONS
    closed: int = 0
    held: int = 0
    _due: deque[tuple[float, socket.socket]] = field(default_factory=deque)
    _kinds: dict[socket.socket, bytes] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for number in range(self.count):
            self._connect(_SLOW_BODY if number % 2 else _SLOW_HEAD)
        self.held = len(self._kinds)
        thread = threading.Thread(target=self._drip, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            for sender in self._kinds:
                sender.close()
            self._selector.close()

    def _connect(self, start: bytes) -> None:
        sender = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        sender.sendall(start)
        sender.setblocking(False)
        self._kinds[sender] = start
        self._selector.register(sender, selectors.EVENT_READ)
        self._due.append((time.monotonic() + BYTE_SECONDS, sender))

    def _drip(self) -> None:
        while not self._stop.is_set():
            self._notice_closed()
            while self._due and self._due[0][0] <= time.monotonic():
                _, sender = self._due.popleft()
                if sender in self._kinds:
                    with contextlib.suppress(OSError):
                        sender.send(b"a")
                    self._due.append((time.monotonic() + BYTE_SECONDS, sender))

    def _notice_closed(self) -> None:
        for key, _ in self._selector.select(timeout=0.02):
            sender = key.fileobj
            assert isinstance(sender, socket.socket)
            with contextlib.suppress(OSError):
                if sender.recv(4096):
                    continue  # An answer; the end comes after it.
            self._selector.unregister(sender)
            start = self._kinds.pop(sender)
            sender.close()
            self.closed += 1
            self.held = min(self.held, len(self._kinds))
            with contextlib.suppress(OSError):
                self._connect(start)


def slow(product: Product, port: int, seconds: float) -> Result:
    """Good senders through ``port`` for so long, while the slow ones are at work there."""
    began = time.monotonic()
    bad = SlowSenders(port=port)
    with bad.at_work(), Good(product=product, port=port) as good:
        time.sleep(seconds)
    return Result(
        held=bad.held,
        closed=bad.closed,
        good_sent=good.sent,
        good_failed=good.failed,
        good_p99=good.p99(),
        good_median=good.median(),
        seconds=round(time.monotonic() - began, 1),
    )
