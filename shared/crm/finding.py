"""Looking a person's words up in one way after the other: the first that finds any counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shared.domain.classification import Candidate
from shared.domain.record import Reading

Way = Callable[[str], Sequence[Reading]]


def first_found(ways: Iterable[tuple[str | None, Way]]) -> list[Reading]:
    """What the first way finds by its key; a way without a key is left out."""
    found = (way(key) for key, way in ways if key)
    return next((list(readings) for readings in found if readings), [])


def candidates_by(text: str, ways: Iterable[tuple[str, Way]]) -> list[Candidate]:
    """What the first way finds by ``text``, each with how it was found."""
    for how, way in ways:
        if readings := way(text.strip()):
            return as_candidates(readings, f"found by {how}")
    return []


def as_candidates(readings: Iterable[Reading], why: str) -> list[Candidate]:
    return [Candidate(record=one.ref, title=one.title, why=why) for one in readings]
