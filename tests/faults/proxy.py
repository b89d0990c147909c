"""A TCP proxy on loopback that can fail as networks do: refuse, hang, cut, reset, slow, lose."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Self

CHUNK = 65536
# Closing with a linger of zero seconds sends a reset in place of the polite end.
ABRUPT = struct.pack("ii", 1, 0)


@dataclass(eq=False, kw_only=True)
class Pair:
    """One connection. ``is_lost``: its bytes vanish, and neither end ever hears why."""

    near: socket.socket
    far: socket.socket
    is_lost: bool = False

    def end(self, *, abruptly: bool = False) -> None:
        self.is_lost |= (
            abruptly  # Nothing more is carried, the polite end of the other side neither.
        )
        for one in (self.near, self.far):
            close(one, abruptly=abruptly)


def close(one: socket.socket, *, abruptly: bool) -> None:
    """Whoever reads from it is woken: while somebody does, the kernel keeps a closed socket open."""
    with contextlib.suppress(OSError):
        if abruptly:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
        one.shutdown(socket.SHUT_RD if abruptly else socket.SHUT_RDWR)
    one.close()


class Proxy:
    """Carries bytes between whoever connects to ``port`` and ``target``, until told otherwise.

    `heal` ends every fault but one: connections that were lost stay lost for whoever opened them.
    The target hears by then that they are over, as by the keep-alive packets that it sends.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[Pair] = []
        self._is_losing = False
        self._is_resetting = False
        self._rate = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._listen()

    def hang(self) -> None:
        """Keep the connections and carry nothing more."""
        self._open.clear()

    def cut(self) -> None:
        """End every connection; new ones are carried again."""
        self._open.set()
        self._end_all()

    def refuse(self) -> None:
        """Nobody listens, and every connection ends."""
        self._stop_listening()
        self._end_all(abruptly=True)

    def reset(self) -> None:
        """Every connection, old or new, ends with a reset."""
        self._is_resetting = True
        self._end_all(abruptly=True)

    def slow(self, bytes_per_second: float) -> None:
        """Carry this much in each direction of each connection."""
        self._rate = bytes_per_second

    def lose(self) -> None:
        """Swallow everything, as when the peer is gone and no packet tells of it."""
        self._is_losing = True
        for pair in self._pairs:
            pair.is_lost = True

    def heal(self) -> None:
        self._is_losing = self._is_resetting = False
        self._rate = 0.0
        for pair in self._pairs:
            if pair.is_lost:
                close(pair.far, abruptly=True)
        self._open.set()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()
        self.cut()

    def _end_all(self, *, abruptly: bool = False) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end(abruptly=abruptly)

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):  # Wakes whoever waits in `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # Closed: nobody is let in any more.
            while True:
                self._admit(listener.accept()[0])

    def _admit(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, 10)
        except OSError:
            near.close()  # The target is down, which is no fault of the network.
            return
        far.settimeout(None)
        pair = Pair(near=near, far=far, is_lost=self._is_losing)
        if self._is_resetting:
            pair.end(abruptly=True)
            return
        self._pairs.append(pair)
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, sink, pair), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, pair: Pair) -> None:
        try:
            while data := source.recv(CHUNK if not self._rate else 512):
                self._open.wait()
                self._pace(len(data))
                if not pair.is_lost:
                    sink.sendall(data)
            if not pair.is_lost:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not pair.is_lost:  # A reset travels on: who was killed may not have read it all.
                pair.end(abruptly=True)

    def _pace(self, size: int) -> None:
        """As long as these bytes take; nothing any more once the link is healed."""
        begun = time.monotonic()
        while self._rate and time.monotonic() - begun < size / self._rate:
            time.sleep(0.02)
