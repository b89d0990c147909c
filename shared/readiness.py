"""Whether this process can do its work, and if not why: checks side by side, never slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from shared.errors import PipelineError

Check = Callable[[], str | None]
SECONDS = 2.0


@dataclass(kw_only=True)
class Readiness:
    """``checks`` by name return a reason or ``None``.

    ``intake`` names those that the door itself needs: while the broker or the log is down,
    webhooks are still taken in. ``notes`` are shown and make nothing unready.
    """

    checks: Mapping[str, Check] = field(default_factory=dict)
    intake: frozenset[str] = frozenset()
    notes: Mapping[str, Check] = field(default_factory=dict)
    seconds: float = SECONDS
    _running: dict[str, Future[str | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def failing(self, *, intake_only: bool = False) -> dict[str, str]:
        """Name → reason of each check that fails or does not answer in time."""
        names = [name for name in self.checks if not intake_only or name in self.intake]
        return self._reasons({name: self.checks[name] for name in names})

    def noted(self) -> dict[str, str]:
        return self._reasons(self.notes)

    def _reasons(self, checks: Mapping[str, Check]) -> dict[str, str]:
        asked = {name: self._ask(name, check) for name, check in checks.items()}
        wait(asked.values(), self.seconds)
        reasons = {name: self._reason(name, future) for name, future in asked.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _ask(self, name: str, check: Check) -> Future[str | None]:
        """One run of a check at a time: a probe every second must not pile up threads."""
        with self._lock:
            running = self._running.get(name)
            if running is not None and not running.done():
                return running
            future: Future[str | None] = Future()
            self._running[name] = future
        threading.Thread(
            target=_run, args=(check, future), name=f"ready-{name}", daemon=True
        ).start()
        return future

    def _reason(self, name: str, future: Future[str | None]) -> str | None:
        reason = future.result() if future.done() else f"no answer within {self.seconds:g} s"
        if reason:
            import structlog

            structlog.get_logger().warning("not ready", check=name, reason=reason)
        return reason


def _run(check: Check, future: Future[Any]) -> None:
    try:
        future.set_result(check())
    except PipelineError as error:
        future.set_result(str(error))
    except Exception as error:  # noqa: BLE001 - a check that fails is a reason, whatever it was.
        future.set_result(type(error).__name__)
