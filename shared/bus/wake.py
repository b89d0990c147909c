"""Wake-ups between processes: a datagram says "look again", so that nobody has to poll fast.

A wake-up carries nothing and may be lost; who waits still looks now and then. Whoever waits for
``name`` owns a Unix datagram socket ``<folder>/<name>.<pid>.<n>.sock``; who has written something
sends an empty datagram to each of them after the commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

# The room for a path in `struct sockaddr_un` (unix(7)), less the closing zero byte.
LONGEST_PATH: Final = 107
LONGEST_STEM: Final = 48

_numbers = count(1)


def notify(folder: str | Path, name: str) -> int:
    """Wake everyone who listens for ``name``; returns how many were reached.

    Never waits. A socket that its process left behind is removed.
    """
    prefix = f"{_stem(name)}."
    try:
        found = [entry for entry in os.listdir(folder) if entry.startswith(prefix)]  # noqa: PTH208 - a path object per entry costs more than the send
    except FileNotFoundError:
        return 0
    if not found:
        return 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        return sum(_ring(sender, str(folder), entry) for entry in found)


class Listener:
    """Waits for wake-ups under one name; closes with `close` or as a context."""

    def __init__(self, folder: str | Path, name: str) -> None:
        self._folder = str(folder)
        self._pid = os.getpid()
        self._entry = f"{_stem(name)}.{self._pid}.{next(_numbers)}.sock"
        Path(folder).mkdir(mode=0o700, exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with _address(self._folder, self._entry) as address:
            # A process that had our number before us may have left its socket.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)  # noqa: PTH108 - the address may be a path below /proc/self/fd
            self._socket.bind(address)

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait(self, timeout: float) -> bool:
        """Whether a wake-up came within ``timeout`` seconds, or had come before."""
        return wait_for_any([self], timeout)

    def wake(self) -> None:
        """Wake this listener alone, from any thread of its process."""
        _ring(self._socket, self._folder, self._entry)

    def clear(self) -> None:
        """Forget the wake-ups that have come: one look answers them all."""
        with contextlib.suppress(OSError):  # Empty, or closed by another thread.
            while True:
                self._socket.recv(1)

    def close(self) -> None:
        self._socket.close()
        # A forked child has inherited the socket, but the name belongs to the parent.
        if os.getpid() == self._pid:
            with contextlib.suppress(FileNotFoundError):
                Path(self._folder, self._entry).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait_for_any(listeners: Sequence[Listener], timeout: float) -> bool:
    """Wait up to ``timeout`` seconds for any of the listeners; with none it only sleeps."""
    poller = select.poll()
    waiting = {listener.fileno(): listener for listener in listeners}
    for number in waiting:
        poller.register(number, select.POLLIN)
    ready = poller.poll(max(0.0, timeout) * 1000)
    for number, _ in ready:
        waiting[number].clear()
    return bool(ready)


def _ring(sender: socket.socket, folder: str, entry: str) -> bool:
    with _address(folder, entry) as address:
        try:
            sender.sendto(b"", address)
        except BlockingIOError:
            return True  # Its buffer is full of wake-ups already.
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.unlink(address)  # noqa: PTH108 - as above
            return False
        except (FileNotFoundError, PermissionError):
            return False
    return True


@contextlib.contextmanager
def _address(folder: str, entry: str) -> Iterator[str]:
    """The socket's path; where it is too long for the kernel, one through an open folder."""
    path = f"{folder}/{entry}"
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield path
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{entry}"
    finally:
        os.close(opened)


def _stem(name: str) -> str:
    """``name`` as the first part of a file name, without dots, and short enough."""
    stem = quote(name, safe="").replace(".", "%2E")
    if len(stem) <= LONGEST_STEM:
        return stem
    return hashlib.sha256(name.encode()).hexdigest()[:LONGEST_STEM]
