"""Signs of life: each loop says by when it will be heard of again, in a file of its own.

The time of the file is when the next sign is due, so a loop that rests for an hour and one that
rests for a second are judged alike, and whoever asks needs no database, broker or port.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".beat"
GRACE = 120.0
"""Seconds that one round may take: a model is given 30 seconds, and asked more than once."""


class Heart:
    """One per loop. ``name`` is ``<service>.<loop>``."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{name}{SUFFIX}"

    def beat(self, pause: float = 0.0) -> None:
        """Alive, and heard of again after ``pause`` seconds and one round at the latest.

        A full disk is no reason to stop the loop: then it is late, which is true.
        """
        due = time.time() + pause + GRACE
        with contextlib.suppress(OSError):
            try:
                os.utime(self._path, (due, due))
            except FileNotFoundError:
                self._path.touch(mode=0o600)
                os.utime(self._path, (due, due))

    def stop(self) -> None:
        """Ended as it should: nobody waits for the next beat."""
        self._path.unlink(missing_ok=True)


def overdue(folder: Path, service: str | None = None) -> dict[str, float]:
    """Loop → seconds it is late, 0 while it lives; of one service or of all of this folder."""
    now = time.time()
    found = {}
    for path in _beats(folder, service):
        with contextlib.suppress(FileNotFoundError):
            found[path.name.removesuffix(SUFFIX)] = max(0.0, now - path.stat().st_mtime)
    return found


def why_not_alive(folder: Path, service: str) -> str | None:
    """Why the worker of a service counts as dead; ``None``: all of its loops live."""
    found = overdue(folder, service)
    if not found:
        return f"no loop of {service} has begun"
    late = [f"{name} is {seconds:.0f} s late" for name, seconds in found.items() if seconds]
    return ", ".join(sorted(late)) or None


def forget(folder: Path, service: str) -> None:
    """Signs of a worker that died: the new one begins without them."""
    for path in _beats(folder, service):
        path.unlink(missing_ok=True)


def _beats(folder: Path, service: str | None) -> Iterator[Path]:
    yield from folder.glob(f"{service}.*{SUFFIX}" if service else f"*{SUFFIX}")
