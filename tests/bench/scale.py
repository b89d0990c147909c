"""How much is measured: ``SMOKE=1`` shows that it runs, ``FULL=1`` is for figures that are quoted."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
FULL = bool(os.environ.get("FULL"))
SMOKE = bool(os.environ.get("SMOKE"))


def pick(smoke: T, short: T, full: T) -> T:
    """The one of the scale that was asked for; ``short`` is the default."""
    return smoke if SMOKE else full if FULL else short


ROUNDS = pick(1, 2, 5)
SECONDS: float = pick(1, 3, 10)
WARM_UP: float = pick(1, 1, 3)
