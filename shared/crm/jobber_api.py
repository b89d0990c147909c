"""Jobber's one end point: version, cost, errors in a 200, and the app that is let in.

https://developer.getjobber.com/docs/using_jobbers_api/api_queries_and_mutations
https://developer.getjobber.com/docs/using_jobbers_api/api_rate_limits
https://developer.getjobber.com/docs/building_your_app/app_authorization
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from shared.crm.accounts import Account
from shared.crm.client import heed_retry_after
from shared.crm.granted import Granted
from shared.crm.oauth import CodeFlow
from shared.crm.pace import Pace
from shared.crm.transport import Answer
from shared.errors import CRMUnavailable, Rejected

log = structlog.get_logger()

URL: Final = "https://api.getjobber.com"
PATH: Final = "/api/graphql"
VERSION: Final = "2025-04-16"
# What Jobber grants to one app and account in five minutes, and the part of it for one process.
CALLS: Final = 2500.0
WINDOW_SECONDS: Final = 300.0
SHARE: Final = 0.25
# Of its share a process may use a tenth at once.
BURST: Final = 0.1
# Where Jobber says "too much" and does not say how much.
UNTOLD_SECONDS: Final = 1.0
TROUBLE: Final = frozenset({"INTERNAL_SERVER_ERROR", "INTERNAL_ERROR", "TIMEOUT"})


@dataclass
class Versioning:
    """Which version Jobber answered in: it replaces one that it has removed without an error."""

    asked: str
    problem: str | None = field(default=None)

    def note(self, answer: Answer) -> None:
        said = extensions(answer).get("versioning")
        if not isinstance(said, dict):
            return
        warning, version = said.get("warning"), said.get("version")
        found = str(warning) if warning else None
        if version not in {None, self.asked}:
            found = f"Jobber answers in version {version}, not {self.asked}. {found or ''}".strip()
        if found and found != self.problem:
            log.warning("the Jobber API version needs care", problem=found)
        self.problem = found


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What both sides need to call: each has its own app, and with it its own rights."""

    base_url: str
    authorization: Granted
    pace: Pace
    headers: Mapping[str, str]
    versioning: Versioning

    @classmethod
    def of(cls, account: Account, timeout: float) -> Connection:
        """Raises `ConfigurationError` naming the option that is missing or wrong."""
        version = account.options.get("version", VERSION)
        calls = account.number("calls", CALLS) * account.number("share", SHARE)
        return cls(
            base_url=account.url(URL),
            authorization=Granted(
                account.need_grants(),
                account.name,
                code_flow(account).next,
                # Renewing takes an exchange of its own, be it by another process.
                patience=2 * timeout,
            ),
            pace=Pace(calls * (1 - BURST) / WINDOW_SECONDS, max(1.0, calls * BURST)),
            headers={"X-JOBBER-GRAPHQL-VERSION": version},
            versioning=Versioning(asked=version),
        )

    def heed(self, answer: Answer, pace: Pace) -> None:
        """Calls and points: none before Jobber can pay for another one like this."""
        self.versioning.note(answer)
        heed_retry_after(answer, pace)
        cost = _Cost.of(answer)
        if is_throttled(answer):
            pace.pause(cost.wait if cost else UNTOLD_SECONDS)
        elif cost and cost.asked > 0:
            pace.limit(cost.available / cost.asked)


def code_flow(account: Account) -> CodeFlow:
    """The app that a person of the customer lets in. Raises `ConfigurationError`."""
    base = account.url(URL)
    return CodeFlow(
        authorize_url=f"{base}/api/oauth/authorize",
        token_url=f"{base}/api/oauth/token",
        client_id=account.need("client_id"),
        client_secret=account.need("client_secret"),
        redirect_url=account.need("redirect_url"),
    )


def judged(answer: Answer) -> Rejected | CRMUnavailable | None:
    """What the errors in an answer to a question mean, whatever its status."""
    found = errors(answer)
    if not found:
        return None
    if is_throttled(answer):
        return throttled(answer)
    if answer.status >= 500 or codes(found) & TROUBLE:
        return CRMUnavailable(answer.reason)
    return Rejected(answer.reason)


def throttled(answer: Answer) -> CRMUnavailable:
    cost = _Cost.of(answer)
    wait = cost.wait if cost else UNTOLD_SECONDS
    return CRMUnavailable(f"Jobber's points are used up, wait {wait:.1f} s")


def is_throttled(answer: Answer) -> bool:
    return "THROTTLED" in codes(errors(answer))


def errors(answer: Answer) -> list[Any]:
    found = answer.data.get("errors") if isinstance(answer.data, dict) else None
    return found if isinstance(found, list) else []


def codes(found: list[Any]) -> set[str]:
    """``extensions.code`` of each."""
    said = [one.get("extensions") for one in found if isinstance(one, dict)]
    return {str(one.get("code")) for one in said if isinstance(one, dict)}


def extensions(answer: Answer) -> Mapping[str, Any]:
    found = answer.data.get("extensions") if isinstance(answer.data, dict) else None
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """In points: what the question asked for, what is there, and what comes back each second."""

    asked: float
    available: float
    rate: float

    @classmethod
    def of(cls, answer: Answer) -> _Cost | None:
        cost = extensions(answer).get("cost")
        try:
            status = cost["throttleStatus"]  # type: ignore[index]  # Caught below.
            return cls(
                asked=float(cost["requestedQueryCost"]),  # type: ignore[index]  # As above.
                available=float(status["currentlyAvailable"]),
                rate=float(status["restoreRate"]),
            )
        except (TypeError, KeyError, ValueError):
            return None

    @property
    def wait(self) -> float:
        """Seconds until it can be paid."""
        if self.rate <= 0:
            return UNTOLD_SECONDS
        return max(0.0, self.asked - self.available) / self.rate
