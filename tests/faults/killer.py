"""Kills the processes of a running product in turn, with a signal that none can hear."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, field

import psutil

from tests.product import Product

# "web" is the server itself, "web worker" one of the two processes that answer for it.
TURNS = (
    "web worker",
    "classifier-worker",
    "writer-worker",
    "audit-worker",
    "ingest-worker",
    "web",
    "demo-crm",
)


@dataclass(kw_only=True)
class Killer:
    """``killed`` is by name, in order, with the pid: what really died."""

    product: Product
    seed: int
    killed: list[tuple[str, int]] = field(default_factory=list)

    def spread(self, kills: int, seconds: float) -> None:
        """``kills`` deaths over ``seconds`` at uneven moments."""
        mix = random.Random(self.seed)
        started = time.monotonic()
        for number in range(kills):
            due = started + (number + mix.random()) * seconds / kills
            time.sleep(max(0.0, due - time.monotonic()))
            self.kill(TURNS[number % len(TURNS)][:15], mix)

    def kill(self, name: str, mix: random.Random) -> None:
        """One process of this name, as soon as there is one."""
        limit = time.monotonic() + 20
        while not (found := self._named(name)):
            assert time.monotonic() < limit, f"no {name} came back"
            time.sleep(0.05)
        victim = mix.choice(found)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
            self.killed.append((name, victim.pid))

    def _named(self, name: str) -> list[psutil.Process]:
        assert self.product.process is not None
        supervisor = self.product.process.pid
        found = []
        for child in self.product.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                own = child.name()
                if child.ppid() != supervisor:
                    own = f"{own} worker"
                if own == name and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found
