"""Answers that a process remembers about what people wrote, and forgetting them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_forget: list[Callable[[], None]] = []


def remembered(most: int) -> Callable[[Function], Function]:
    """As `functools.lru_cache`, for what holds words, numbers or addresses of people."""

    def wrap(function: Function) -> Function:
        cached: Any = lru_cache(maxsize=most)(function)
        _forget.append(cached.cache_clear)
        return cached  # type: ignore[no-any-return]  # It is called as the function is.

    return wrap


def forget_all() -> None:
    """Whoever was erased is not kept in memory either."""
    for forget in _forget:
        forget()
