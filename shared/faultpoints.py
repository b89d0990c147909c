"""Named points where a process may die: a no-op unless a test wires a killer."""

from __future__ import annotations

from collections.abc import Callable


def _live_on(_: str) -> None:
    """The product's own answer at every point."""


_killer: Callable[[str], None] = _live_on


def reached(name: str) -> None:
    """Say that the code has come to the point ``name`` (``<part>.<moment>``)."""
    _killer(name)


def wire_killer(killer: Callable[[str], None] | None) -> None:
    """For tests: what to do at each point; ``None`` takes it back."""
    global _killer  # noqa: PLW0603 - one hook for the whole process, on purpose.
    _killer = killer or _live_on
