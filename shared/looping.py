"""Runs the loops of a worker: each in a thread, under a lease, woken by a datagram."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from shared.bus.wake import Listener
from shared.errors import Unavailable
from shared.heartbeat import Heart
from shared.lease import Lease
from shared.service import Loop

log = structlog.get_logger()
LEASE_PAUSE = 1.0


@dataclass(kw_only=True)
class Looping:
    """One loop of one service. ``name`` is ``<service>.<loop>``: ring it to run at once."""

    name: str
    loop: Loop
    deps: Any
    lease: Lease
    wake_dir: Path
    stop: threading.Event

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Until told to stop. An error is logged and tried again: a loop never ends by itself."""
        heart = Heart(self.wake_dir, self.name)
        with Listener(self.wake_dir, self.name) as listener:
            heart.beat()
            while not self.stop.is_set():
                pause = self._once()
                heart.beat(pause)
                listener.wait(pause)
        self._give_back()
        heart.stop()

    def _once(self) -> float:
        """One round; returns the seconds to wait for the next."""
        try:
            if self.lease.take() is None:
                return LEASE_PAUSE
            self.loop.run(self.deps)
        except Unavailable as error:
            log.warning("loop waits", loop=self.name, error=str(error))
            return LEASE_PAUSE
        except Exception:
            log.exception("loop failed", loop=self.name)
            return LEASE_PAUSE
        return self.loop.seconds

    def _give_back(self) -> None:
        try:
            self.lease.give_back()
        except Unavailable:
            log.warning("lease runs out by itself", loop=self.name)
