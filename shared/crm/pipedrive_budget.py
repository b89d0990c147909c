"""What calls to Pipedrive cost, and how much of a company's day this process may spend.

A company has a budget of tokens for each day, which all its integrations share; whoever uses it up
locks the others out until midnight. A process that is started anew counts from nothing.

https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from shared.crm.accounts import Account
from shared.crm.pace import Pace
from shared.domain.schema import now
from shared.errors import CRMUnavailable

# The smallest plan with one seat and an API token; a window lasts two seconds.
TOKENS_PER_DAY: Final = 30_000.0
CALLS_PER_WINDOW: Final = 20.0
SEARCHES_PER_WINDOW: Final = 10.0
WINDOW_SECONDS: Final = 2.0
SHARE: Final = 0.25
# The dearest reading (a flow) costs 40.
_COSTS: Final = (
    ("/flow", 40),
    ("/changelog", 20),
    ("earch", 20),
    ("/stages", 5),
    ("/pipelines", 5),
)


def cost_of(method: str, path: str) -> int:
    """Tokens for one call, as the description prices it: v1 costs twice as much as v2."""
    if path == "/oauth/token":
        return 0
    times = 1 if path.startswith("/api/v2/") else 2
    if method != "GET":
        return 5 * times
    if (found := next((cost for part, cost in _COSTS if part in path), None)) is not None:
        return found
    is_single = path == "/v1/users/me" or path.strip("/").count("/") == 4 - times
    return times if is_single else 10 * times


class Budget:
    """Our share of one company's limits: calls, searches, and the tokens of a day."""

    def __init__(self, account: Account, *, clock: Callable[[], datetime] = now) -> None:
        share = account.number("share", SHARE)
        self.pace = _window(account.number("calls_per_2s", CALLS_PER_WINDOW) * share)
        self._searches = _window(account.number("searches_per_2s", SEARCHES_PER_WINDOW) * share)
        self._most = account.number("tokens_per_day", TOKENS_PER_DAY) * share
        self._clock = clock
        self._lock = threading.Lock()
        self._day = date.min
        self._spent = 0.0

    def spend(self, method: str, path: str, *, patience: float) -> None:
        """Before a call. Raises `CRMUnavailable` where the day's share does not allow it."""
        with self._lock:
            today = self._clock().date()
            if today != self._day:
                self._day, self._spent = today, 0.0
            cost = cost_of(method, path)
            if self._spent + cost > self._most:
                raise CRMUnavailable(
                    f"this process's {self._most:.0f} Pipedrive tokens of the day are spent"
                )
            self._spent += cost
        if "earch" in path:
            self._searches.take(patience)


def _window(calls: float) -> Pace:
    return Pace(calls / WINDOW_SECONDS, max(1.0, calls))
