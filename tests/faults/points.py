"""The named points of the product, and dying at each of them as often as a run wants."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.product import ROOT

POINT = re.compile(r'\breached\("([a-z_.]+)"\)')
# More at once would mostly kill the same message again and again.
AT_ONCE = 12


# Only CRMs with rotating tokens, and trials, come there: their own tests die at each of these.
ELSEWHERE = {"grants.py", "trials.py"}


def names() -> set[str]:
    """Every point in the source that a product on the demo CRM comes to."""
    return {
        name
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ELSEWHERE
        for name in POINT.findall(path.read_text())
    }


@dataclass(kw_only=True)
class Arming:
    """Arms each of ``wanted`` until it has been died at that often.

    The wiring of a killer in `tests.faults.tree` takes the files; a point is armed once at a time.
    """

    folder: Path
    wanted: Counter[str]
    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Disarm everything: what is left runs undisturbed."""
        self._stop.set()
        self._thread.join()
        for path in self.folder.glob("*.armed"):
            path.unlink(missing_ok=True)
        self._count()

    def left(self) -> Counter[str]:
        return self.wanted - self.killed

    def seen(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.seen")}

    def _run(self) -> None:
        mix = random.Random(self.seed)
        while not self._stop.is_set():
            self._count()
            free = AT_ONCE - len(list(self.folder.glob("*.armed")))
            left = sorted(self.left())
            for name in mix.sample(left, max(0, min(free, len(left)))):
                (self.folder / f"{name}.armed").touch()
            self._stop.wait(0.2)

    def _count(self) -> None:
        for path in self.folder.glob("*.killed"):
            self.killed[path.stem.rpartition(".")[0]] += 1
            path.unlink()
