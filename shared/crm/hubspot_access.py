"""How both sides reach a HubSpot account: address, dated version, token, pace and errors.

https://developers.hubspot.com/docs/api-reference/error-handling
https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
https://developers.hubspot.com/changelog/service-keys
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.crm.accounts import Account
from shared.crm.authorization import Authorization, Fetched, Token, bearer
from shared.crm.pace import LONGEST_PAUSE, Pace
from shared.crm.transport import Answer, exchange, new_session, rejection, understood
from shared.errors import ConfigurationError, Conflict, CRMUnavailable, Rejected

ADDRESS: Final = "https://api.hubapi.com"
# A new date every March and September, each good for about eighteen months.
VERSION: Final = "2026-09"
TOKEN_PATH: Final = "/oauth/2026-03/token"  # noqa: S105 - a path.
INTROSPECT_PATH: Final = TOKEN_PATH + "/introspect"
DETAILS_PATH: Final = "/account-info/2026-03/details"
# Free and Starter; Professional and Enterprise have 190.
CALLS_PER_WINDOW: Final = 100.0
WINDOW_SECONDS: Final = 10.0
# Of the search endpoints, for the whole account, whatever its plan.
SEARCHES_PER_SECOND: Final = 5.0
SHARE: Final = 0.25
# A bucket lets its burst and a window's refill through in one window: together they are the share.
BURST: Final = 0.2
# 423: the account's records are being changed in bulk. 477: it is being moved to another place.
BUSY: Final = frozenset({423, 477})
BUSY_SECONDS: Final = 2.0
# HubSpot shows the scopes of an OAuth token, not those of a service key.
UNKNOWN_SCOPES: Final = ("unknown",)
_DATE = re.compile(r"20\d\d-\d\d")
_EXISTING = re.compile(r"Existing ID: (\d+)")


class Access:
    """One account with the rights of one side. ``timeout`` is in seconds, for a whole exchange."""

    def __init__(self, account: Account, *, timeout: float) -> None:
        self.name = account.name
        self.url = account.url(ADDRESS)
        self.version = account.options.get("version", VERSION)
        if not _DATE.fullmatch(self.version):
            raise ConfigurationError(f"the CRM account [{account.name}]: version is like {VERSION}")
        self.timeout = timeout
        self.pace, self.search_pace = _paces(account)
        self._app: Mapping[str, str] | None = None
        self.authorization = self._authorization(account)

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, by HubSpot's word, or `UNKNOWN_SCOPES` of a service key.

        Raises `Rejected` for a token that is not good, and `CRMUnavailable`.
        """
        headers = self.authorization.headers()
        if self._app is None:
            self._ask("GET", DETAILS_PATH, headers=headers)
            return UNKNOWN_SCOPES
        token = headers["Authorization"].removeprefix("Bearer ")
        form = {**self._app, "token": token, "token_type_hint": "access_token"}
        data = self._ask("POST", INTROSPECT_PATH, form=form).data
        with understood():
            if data["active"] is not True:
                raise Rejected("HubSpot says that the token is not active")
            return tuple(str(scope) for scope in data["scopes"])

    def _authorization(self, account: Account) -> Authorization:
        """A service key, or the refresh token of an OAuth app, which stays the same."""
        if key := account.options.get("token"):
            return bearer(key)
        if not account.options.get("refresh_token"):
            raise ConfigurationError(
                f"the CRM account [{account.name}] needs token, or"
                " client_id, client_secret and refresh_token"
            )
        self._app = {name: account.need(name) for name in ("client_id", "client_secret")}
        grant = {"grant_type": "refresh_token", "refresh_token": account.need("refresh_token")}
        form = {**self._app, **grant}
        return Fetched(lambda: self._token(form))

    def _token(self, form: Mapping[str, str]) -> Token:
        data = self._ask("POST", TOKEN_PATH, form=form).data
        with understood():
            return Token(text=str(data["access_token"]), seconds=float(data["expires_in"]))

    def _ask(self, method: str, path: str, **more: Any) -> Answer:
        """A question about the token itself; asking twice does no harm."""
        from requests import RequestException

        self.pace.take(self.timeout)
        try:
            with new_session(pool=1) as session:
                answer = exchange(session, method, self.url + path, timeout=self.timeout, **more)
        except RequestException as error:
            raise CRMUnavailable(f"HubSpot gave no token: {type(error).__name__}") from error
        heed(answer, self.pace)
        if answer.status == 429 or answer.status in BUSY or answer.status >= 500:
            raise CRMUnavailable(answer.reason)
        if not answer.is_success:
            raise rejection(answer)
        return answer


def _paces(account: Account) -> tuple[Pace, Pace]:
    share = account.number("share", SHARE)
    calls = account.number("calls_per_10_seconds", CALLS_PER_WINDOW) * share
    searches = account.number("searches_per_second", SEARCHES_PER_SECOND) * share
    rate = calls * (1 - BURST) / WINDOW_SECONDS
    return Pace(rate, max(1.0, calls * BURST)), Pace(searches, max(1.0, searches))


def heed(answer: Answer, pace: Pace) -> None:
    """HubSpot names its window in milliseconds, and says how many calls are left in it."""
    if answer.status == 429:
        pace.pause(_wait(answer))
    elif answer.status in BUSY:
        pace.pause(BUSY_SECONDS if answer.retry_after is None else answer.retry_after)
    elif (left := _number(answer, "X-HubSpot-RateLimit-Remaining")) is not None:
        pace.limit(left)


def _wait(answer: Answer) -> float:
    """Seconds. The daily limit ends at midnight of the account's zone, which nobody tells us."""
    if answer.retry_after is not None:
        return answer.retry_after
    policy = answer.data.get("policyName") if isinstance(answer.data, dict) else None
    if policy == "DAILY":
        return LONGEST_PAUSE
    if (window := _number(answer, "X-HubSpot-RateLimit-Interval-Milliseconds")) is not None:
        return window / 1000
    return 1.0 if policy == "SECONDLY" else WINDOW_SECONDS


def _number(answer: Answer, header: str) -> float | None:
    said = answer.headers.get(header, "")
    return float(said) if re.fullmatch(r"\d{1,9}", said) else None


def judged(answer: Answer) -> Rejected | CRMUnavailable | None:
    """What an answer of HubSpot's means beyond its status."""
    if answer.status in BUSY:
        return CRMUnavailable(answer.reason)
    if answer.status == 409:
        return Conflict(naming_the_other(answer))
    is_error = isinstance(answer.data, dict) and answer.data.get("status") == "error"
    return Rejected(answer.reason) if answer.is_success and is_error else None


def naming_the_other(answer: Answer) -> str:
    """HubSpot's words of a refusal, and the contact that has the address where it says which."""
    found = _EXISTING.search(answer.reason)
    return answer.reason + (f" (contacts/{found[1]})" if found else "")
