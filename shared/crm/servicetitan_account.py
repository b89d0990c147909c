"""How both sides reach a ServiceTitan tenant: hosts, token, app key, pace and errors.

https://developer.servicetitan.io/docs/get-going-first-api-call: a token by client credentials, and
the app key on every call. Client id and secret belong to one tenant, the key to one app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.crm.accounts import Account, require_public
from shared.crm.authorization import Fetched, Token
from shared.crm.pace import Pace
from shared.crm.transport import Answer, exchange, new_session
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected

HOSTS: Final[Mapping[str, tuple[str, str]]] = {
    "production": ("https://api.servicetitan.io", "https://auth.servicetitan.io"),
    "integration": (
        "https://api-integration.servicetitan.io",
        "https://auth-integration.servicetitan.io",
    ),
}
# Per app and tenant; integrators report it, the vendor's page names no number.
CALLS_PER_SECOND: Final = 60.0
SHARE: Final = 0.25
# The vendor gives no number of seconds for its token; integrators see fifteen minutes.
TOKEN_SECONDS: Final = 900.0
CRM_PATH: Final = "/crm/v2/tenant/{tenant}"
JOBS_PATH: Final = "/jpm/v2/tenant/{tenant}"
RECORDS: Final[Mapping[str, str]] = {
    "customers": CRM_PATH + "/customers/{id}",
    "leads": CRM_PATH + "/leads/{id}",
    "bookings": CRM_PATH + "/bookings/{id}",
    "jobs": JOBS_PATH + "/jobs/{id}",
}


class Tenant:
    """One tenant with the rights of one app. ``timeout`` is in seconds, for a whole exchange."""

    def __init__(self, account: Account, *, timeout: float) -> None:
        hosts = HOSTS.get(account.options.get("environment", "production"))
        if hosts is None:
            known = " or ".join(HOSTS)
            raise ConfigurationError(f"the CRM account [{account.name}]: environment is {known}")
        account.need("tenant_id")
        self.id = account.digits("tenant_id")
        self.url = account.url(hosts[0])
        self.timeout = timeout
        self._auth_url = _auth_url(account, hosts[1])
        self._form = {
            "grant_type": "client_credentials",
            "client_id": account.need("client_id"),
            "client_secret": account.need("client_secret"),
        }
        rate = account.number("calls_per_second", CALLS_PER_SECOND) * account.number("share", SHARE)
        self.pace = Pace(rate, max(1.0, rate))
        self.authorization = Fetched(self._token, more={"ST-App-Key": account.need("app_key")})
        self._scopes: tuple[str, ...] = ()

    def scopes(self) -> tuple[str, ...]:
        """What the token's answer said it may do. Raises `CRMUnavailable` or `Rejected`."""
        self.authorization.headers()
        return self._scopes

    def _token(self) -> Token:
        from requests import RequestException

        try:
            with new_session(pool=1) as session:
                answer = exchange(
                    session, "POST", self._auth_url, timeout=self.timeout, form=self._form
                )
        except RequestException as error:
            raise CRMUnavailable(f"no token: {type(error).__name__}") from error
        if answer.status == 429 or answer.status >= 500:
            raise CRMUnavailable(answer.reason)
        if not answer.is_success:
            raise Rejected(f"no token: {answer.reason}")
        if not isinstance(answer.data, dict) or not isinstance(
            answer.data.get("access_token"), str
        ):
            raise CRMUnavailable("the answer to the question for a token has an unknown form")
        self._scopes = tuple(str(answer.data.get("scope") or "").split())
        return Token(text=answer.data["access_token"], seconds=_seconds(answer.data))


def _auth_url(account: Account, default: str) -> str:
    url = account.options.get("auth_url", default).rstrip("/")
    if account.options.get("private_address") != "yes":
        require_public(url, account.name)
    return url + "/connect/token"


def _seconds(data: Mapping[str, Any]) -> float:
    said = data.get("expires_in")
    return float(said) if isinstance(said, int) and 0 < said < 86400 else TOKEN_SECONDS


def refusal(answer: Answer) -> Rejected | None:
    """RFC 7807 with the members that were wrong; ``None`` where the status says everything."""
    data = answer.data
    if answer.status not in {400, 422} or not isinstance(data, dict):
        return None
    errors = data.get("errors")
    if not isinstance(errors, dict) or not errors:
        return None
    named = "; ".join(f"{name}: {_first(said)}" for name, said in sorted(errors.items()))
    return Rejected(f"the CRM answered {answer.status}: {' '.join(named.split())[:200]}")


def judged_reading(answer: Answer) -> Rejected | CRMUnavailable | None:
    """As `refusal`; a conflict while a question is answered passes."""
    return CRMUnavailable(answer.reason) if answer.status == 409 else refusal(answer)


def _first(said: Any) -> str:
    return str(said[0]) if isinstance(said, list) and said else str(said)


def require_record(crm: str, type_: str, id_: str, *, account: str) -> None:
    """Raises `NotFound` for a record that this tenant cannot have: ids are whole numbers."""
    if crm != account or type_ not in RECORDS:
        raise NotFound(f"ServiceTitan has no {crm}/{type_}")
    if not (id_.isascii() and id_.isdigit() and len(id_) <= 19):
        raise NotFound("that is no id of ServiceTitan")
