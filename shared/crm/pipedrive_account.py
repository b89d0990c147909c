"""How both sides reach a Pipedrive company: host, right, pace, and what its answers mean.

https://pipedrive.readme.io/docs/core-api-concepts-authentication
https://pipedrive.readme.io/docs/marketplace-oauth-authorization
https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from shared.crm.accounts import Account, require_public
from shared.crm.authorization import Authorization, Fetched, Fixed, Token
from shared.crm.pace import Pace
from shared.crm.pipedrive_budget import WINDOW_SECONDS, Budget
from shared.crm.transport import Answer, exchange, new_session
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected

URL: Final = "https://api.pipedrive.com"
TOKEN_URL: Final = "https://oauth.pipedrive.com/oauth/token"  # noqa: S105 - an address, no secret.
# Where the answer does not say: what it has always said.
TOKEN_SECONDS: Final = 3600.0
# What follows too many refused calls is a page in HTML, and lasts.
BLOCKED_SECONDS: Final = 60.0
# A 429 while the window has room means that the tokens of the day are used up.
SPENT_SECONDS: Final = 900.0

# The path of one record by our object type, and the form of its id.
RECORDS: Final[Mapping[str, str]] = {
    "persons": "/api/v2/persons/{id}",
    "deals": "/api/v2/deals/{id}",
    "organizations": "/api/v2/organizations/{id}",
    "activities": "/api/v2/activities/{id}",
    "leads": "/v1/leads/{id}",
    "notes": "/v1/notes/{id}",
}
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Part of a path → the part of a scope that opens it; the first that fits counts.
_SCOPES: Final = (
    ("/changelog", "recents"),
    ("/flow", "recents"),
    ("/itemSearch", "search"),
    ("/users/me", "base"),
    ("/users", "users"),
    ("/leads", "leads"),
    ("/activities", "activities"),
    ("/deal", "deals"),
    ("/stages", "deals"),
    ("/pipelines", "deals"),
)


class Company:
    """One company with the rights of one token. ``timeout`` is in seconds, for a whole exchange.

    With ``token`` an API token, which carries all rights of its user; else an OAuth app's grant:
    ``client_id``, ``client_secret`` and ``refresh_token``.
    """

    def __init__(self, account: Account, *, timeout: float) -> None:
        self.name = account.name
        self.timeout = timeout
        self._url = account.url(URL)
        self._is_private = account.options.get("private_address") == "yes"
        self._scopes: tuple[str, ...] | None = None
        self.budget = Budget(account)
        self.authorization = self._authorization(account)

    def _authorization(self, account: Account) -> Authorization:
        if token := account.options.get("token"):
            return Fixed({"x-api-token": token})
        pair = f"{account.need('client_id')}:{account.need('client_secret')}"
        self._basic = "Basic " + base64.b64encode(pair.encode()).decode()
        self._refresh_token = account.need("refresh_token")
        self._token_url = account.options.get("token_url", TOKEN_URL)
        if not self._is_private:
            require_public(self._token_url, account.name)
        return Fetched(self._fetched)

    @property
    def url(self) -> str:
        """Where the calls go; an app learns it with its token.

        Raises `CRMUnavailable` or `Rejected` where no token can be had.
        """
        self.authorization.headers()
        return self._url

    def granted(self) -> tuple[str, ...] | None:
        """The scopes of the app's grant; ``None`` with an API token, which has none."""
        self.authorization.headers()
        return self._scopes

    def _fetched(self) -> Token:
        from requests import RequestException

        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        try:
            with new_session(pool=1) as session:
                answer = exchange(
                    session,
                    "POST",
                    self._token_url,
                    timeout=self.timeout,
                    form=form,
                    headers={"Authorization": self._basic},
                )
        except RequestException as error:
            raise CRMUnavailable(f"no token: {type(error).__name__}") from error
        if answer.status == 429 or answer.status >= 500:
            raise CRMUnavailable(f"no token: {answer.reason}")
        if not answer.is_success:
            raise Rejected(
                f"no token: {answer.reason}; a refresh token ends after 60 days without use"
            )
        return self.learn(answer.data)

    def learn(self, data: Any) -> Token:
        """Token, scopes and host from the answer. Raises `CRMUnavailable` or `Rejected`."""
        if not isinstance(data, dict) or not isinstance(data.get("access_token"), str):
            raise CRMUnavailable("the answer to the question for a token has an unknown form")
        if domain := data.get("api_domain"):
            self._url = self._public(str(domain).rstrip("/"))
        self._refresh_token = str(data.get("refresh_token") or self._refresh_token)
        self._scopes = tuple(re.findall(r"[^\s,]+", str(data.get("scope") or "")))
        said = data.get("expires_in")
        seconds = float(said) if isinstance(said, int) and said > 0 else TOKEN_SECONDS
        return Token(text=data["access_token"], seconds=seconds)

    def _public(self, url: str) -> str:
        """No token goes to an address of the own network, whoever names it."""
        try:
            if not self._is_private:
                require_public(url, self.name)
        except ConfigurationError as error:
            raise Rejected(f"the host that came with the token: {error}") from error
        return url


def require_record(crm: str, type_: str, id_: str, *, account: str) -> str:
    """The path of a record. Raises `NotFound` for one that this company cannot have."""
    if crm != account or type_ not in RECORDS:
        raise NotFound(f"Pipedrive has no {crm}/{type_}")
    if not (_UUID if type_ == "leads" else _NUMBER).fullmatch(id_):
        raise NotFound("that is no id of Pipedrive")
    return RECORDS[type_]


def judged(answer: Answer) -> Rejected | CRMUnavailable | None:
    """A refusal in Pipedrive's own words, also one that comes as a success.

    ``error`` says what is wrong, ``error_info`` only where its documentation lies. A 403 without
    JSON is the firewall's, after too many calls.
    """
    if answer.status == 403 and answer.data is None:
        return CRMUnavailable("the CRM answered 403 with a page: too many calls, blocked")
    data = answer.data if isinstance(answer.data, dict) else {}
    is_refused = 400 <= answer.status < 500 and answer.status != 429
    if not is_refused and not (answer.is_success and data.get("success") is False):
        return None
    refusal = NotFound if answer.status in {404, 410} else Rejected
    if not isinstance(said := data.get("error"), str):
        return refusal(answer.reason)
    return refusal(f"the CRM answered {answer.status}: {' '.join(said.split())[:200]}")


def heed(answer: Answer, pace: Pace) -> None:
    """``x-ratelimit-*`` speak of a window of two seconds; whoever asks to wait gets it."""
    reset = _number(answer, "x-ratelimit-reset")
    remaining = _number(answer, "x-ratelimit-remaining")
    if answer.status == 429 and answer.retry_after is None and (remaining or 0) >= 1:
        pace.pause(SPENT_SECONDS)
    elif answer.status == 429 or answer.retry_after is not None:
        pace.pause(answer.retry_after or reset or WINDOW_SECONDS)
    elif answer.status == 403 and answer.data is None:
        pace.pause(BLOCKED_SECONDS)
    elif remaining is not None and remaining < 1:
        pace.pause(reset or WINDOW_SECONDS)
    elif remaining is not None:
        pace.limit(remaining)


def _number(answer: Answer, header: str) -> float | None:
    said = str(answer.headers.get(header, ""))
    return float(said) if re.fullmatch(r"\d{1,9}(?:\.\d{1,3})?", said) else None


@contextmanager
def naming_the_scope(path: str, right: str) -> Iterator[None]:
    """A refusal for want of a scope names the scope; ``right`` is read or full."""
    try:
        yield
    except NotFound:
        raise
    except Rejected as error:
        if "Scope and URL mismatch" not in str(error):
            raise
        raise Rejected(f"{error}: the app needs the scope {scope_of(path, right)}") from error


def scope_of(path: str, right: str) -> str:
    """``deals:read`` for a path of deals; searching and changes can only be read."""
    name = next((scope for part, scope in _SCOPES if part in path), "contacts")
    if name == "base":
        return name
    return f"{name}:{'read' if name in {'recents', 'search', 'users'} else right}"
