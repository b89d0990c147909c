"""What a measurement hands back: figures beside their goals, and every round they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

QUIET = 0.15
"""More foreign CPU than this, in cores, and a round is disturbed."""


class NotHereError(Exception):
    """What is to be measured is not on this machine; the message says how to get it."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. ``goal`` is ``None`` where there is none to reach.

    ``spread`` is the least and the greatest of the rounds; ``dropped`` of ``rounds`` were
    disturbed by other programs. Where all were, all are kept and ``is_disturbed`` says so.
    """

    target: str
    what: str
    value: float
    goal: float | None = None
    is_least: bool = True
    spread: tuple[float, float] | None = None
    rounds: int = 1
    dropped: int = 0

    @property
    def is_met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.is_least else self.value <= self.goal

    @property
    def is_disturbed(self) -> bool:
        return self.dropped == self.rounds


@dataclass(frozen=True, kw_only=True)
class Found:
    """``rounds`` is everything that was seen, for the JSON."""

    figures: tuple[Figure, ...]
    rounds: Any


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The rounds that nobody disturbed; all of them if every one was."""

    rounds: tuple[Mapping[str, Any], ...]
    seen: int
    dropped: int

    def median(self, key: str) -> float:
        return float(median(self._values(key)))

    def spread(self, key: str) -> tuple[float, float]:
        values = self._values(key)
        return min(values), max(values)

    def least(self, target: str, what: str, key: str, goal: float | None) -> Figure:
        """A figure to reach."""
        return self._figure(target, what, key, goal, is_least=True)

    def most(self, target: str, what: str, key: str, goal: float | None) -> Figure:
        """A figure to stay below."""
        return self._figure(target, what, key, goal, is_least=False)

    def _figure(
        self, target: str, what: str, key: str, goal: float | None, *, is_least: bool
    ) -> Figure:
        return Figure(
            target=target,
            what=what,
            value=self.median(key),
            goal=goal,
            is_least=is_least,
            spread=self.spread(key),
            rounds=self.seen,
            dropped=self.dropped,
        )

    def _values(self, key: str) -> list[float]:
        return [float(row[key]) for row in self.rounds]


def shown(value: float) -> str:
    """For people: whole from a thousand on, else four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def kept(rounds: Sequence[Mapping[str, Any]]) -> Kept:
    """Each round says in ``foreign_cores`` what others used meanwhile; the loud ones are dropped."""
    quiet = tuple(row for row in rounds if row["foreign_cores"] <= QUIET)
    return Kept(rounds=quiet or tuple(rounds), seen=len(rounds), dropped=len(rounds) - len(quiet))


def share(times: Sequence[float], part: float) -> float:
    """The value below which ``part`` of them lie."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
