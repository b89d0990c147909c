"""One round: a product under load, faults while it runs, and the books closed afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.audit.search.index import open_index
from services.audit.service import INDICES
from services.installation import Installation
from tests.faults.approver import Approver
from tests.faults.books import is_resting, waiting
from tests.faults.load import Load
from tests.faults.reconcile import figures, reconcile
from tests.product import Product

# Events a second.
RATE = 2.0
RECOVERY_SECONDS = 60.0
GIVE_UP_SECONDS = 240.0
# RabbitMQ does not tell what is in hand: the books are read again while they differ.
SECOND_LOOKS_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """``count`` faults were done; ``recovery`` is in seconds from the last of them.

    ``refused`` counts the answers of the intake that were none of 2xx.
    """

    count: int
    differences: list[str]
    recovery: float
    seconds: float
    events: int
    refused: Mapping[str, int]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not self.differences and self.recovery <= RECOVERY_SECONDS


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A started product, and where its books lie."""

    product: Product
    home: Installation
    seed: int
    rate: float = RATE

    def play(self, act: Callable[[], tuple[int, Mapping[str, Any]]]) -> Ended:
        """``act`` does the faults while events come in; it returns how many, and notes."""
        started = time.monotonic()
        load = Load(product=self.product, rate=self.rate, seed=self.seed)
        with Approver(self.product.client()) as approver:
            load.start()
            try:
                count, notes = act()
                last = time.monotonic()
            finally:
                load.finish()
            left = self._until_nothing_waits(last)
        differences = [*left.late, *self._differences(load)]
        return Ended(
            count=count,
            differences=differences,
            recovery=round(left.seconds, 1),
            seconds=round(time.monotonic() - started, 1),
            events=len(load.acknowledged),
            refused=dict(load.refused),
            notes={
                **notes,
                **figures(self.home),
                "approved": approver.approved,
                "waited last for": left.last,
                "rested": round(left.rested, 1),
                "load average": os.getloadavg()[0],
            },
        )

    def _differences(self, load: Load) -> list[str]:
        limit = time.monotonic() + SECOND_LOOKS_SECONDS
        while found := reconcile(self.home, load.acknowledged):
            if time.monotonic() > limit:
                break
            time.sleep(1)
        found += [f"gave up sending {what}" for what in load.given_up]
        verified = self.product.command("verify")
        if verified.returncode:
            found.append(f"verify: {(verified.stdout + verified.stderr)[-300:]}")
        return found + self._wrong_index()

    def _wrong_index(self) -> list[str]:
        """The search index must be what the log makes of itself."""
        index = open_index(self.home.search_index, INDICES)
        kept = index.sum()
        rebuilt = self.product.command("reindex")
        if rebuilt.returncode:
            return [f"reindex: {(rebuilt.stdout + rebuilt.stderr)[-300:]}"]
        fresh = index.sum()
        return [] if kept == fresh else [f"the index had {kept}, the log makes it {fresh}"]

    def _until_nothing_waits(self, since: float) -> Left:
        """Twice in a row. What only waits for a clock does not count as our time: the CRM's own
        retries, and what a failure of the CRM sent to a waiting room.
        """
        rested, quiet = 0.0, 0
        ended = Left()
        then = since
        while quiet < 2:
            now = time.monotonic()
            left = self._left()
            if is_resting(left):
                rested += now - then
            elif left:
                ended = Left(seconds=now - since - rested, rested=rested, last=left)
            then = now
            if now - since - rested > GIVE_UP_SECONDS:
                return replace(ended, late=[f"still waiting: {left}"])
            quiet = 0 if left else quiet + 1
            time.sleep(0.5)
        return ended

    def _left(self) -> dict[str, int]:
        try:
            return waiting(self.home)
        except Exception as error:  # noqa: BLE001 - A server that is not back is a wait too.
            return {type(error).__name__: 1}


@dataclass(frozen=True, kw_only=True)
class Left:
    """``seconds`` until nothing of ours was on its way, without the ``rested`` ones before it;
    ``last`` is what was there the longest.
    """

    seconds: float = 0.0
    rested: float = 0.0
    last: Mapping[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
