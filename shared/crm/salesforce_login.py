"""Signing in to Salesforce without a person: client credentials, or a signed assertion.

https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from shared.crm.accounts import Account
from shared.crm.authorization import Token
from shared.crm.transport import Answer, exchange, new_session, rejection
from shared.errors import ConfigurationError, CRMUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

TOKEN_PATH: Final = "/services/oauth2/token"  # noqa: S105 - a path, no secret
PRODUCTION: Final = "https://login.salesforce.com"
ASSERTION: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS: Final = 180
# The answer names no end; a session ends after two hours by default, and earlier with a 401.
TOKEN_SECONDS: Final = 7_200.0

# What is posted for a token.
Form = Callable[[], Mapping[str, str]]


class Login:
    """Fetches tokens, and knows for which user they speak. ``timeout`` is in seconds."""

    def __init__(self, site: str, form: Form, *, timeout: float, user: str | None = None) -> None:
        self._url = site + TOKEN_PATH
        self._form = form
        self._timeout = timeout
        self._user = user

    @classmethod
    def of(cls, account: Account, site: str, timeout: float) -> Self:
        """With a ``private_key`` by assertion, else with a client secret."""
        form = _assertion_form(account) if "private_key" in account.options else _secret(account)
        return cls(site, form, timeout=timeout, user=account.options.get("own_user"))

    def fetch(self) -> Token:
        """Raises `CRMUnavailable`, or `Rejected` where the CRM does not let us in."""
        from requests import RequestException

        try:
            with new_session(pool=1) as session:
                answer = exchange(
                    session, "POST", self._url, form=self._form(), timeout=self._timeout
                )
        except RequestException as error:
            raise CRMUnavailable(f"no token: {type(error).__name__}") from error
        text = _token_of(answer)
        # …/id/<organisation>/<user>
        self._user = self._user or str(answer.data.get("id", "")).rpartition("/")[2]
        return Token(text=text, seconds=TOKEN_SECONDS)

    def user(self) -> str:
        """The id of the integration user. Raises as `fetch` does."""
        if not self._user:
            self.fetch()
        if not self._user:
            raise CRMUnavailable("the token names no user: set own_user")
        return self._user


def _token_of(answer: Answer) -> str:
    if answer.status == 429 or answer.status >= 500:
        raise CRMUnavailable(answer.reason)
    if not answer.is_success:
        raise rejection(answer)
    token = answer.data.get("access_token") if isinstance(answer.data, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise CRMUnavailable("the CRM gave no token")
    return token


def _secret(account: Account) -> Form:
    form = {
        "grant_type": "client_credentials",
        "client_id": account.need("client_id"),
        "client_secret": account.need("client_secret"),
    }
    return lambda: form


def _assertion_form(account: Account) -> Form:
    key = _private_key(account)
    claims = {
        "iss": account.need("client_id"),
        "sub": account.need("username"),
        "aud": account.options.get("audience", PRODUCTION),
    }
    return lambda: {
        "grant_type": ASSERTION,
        "assertion": assertion(key, {**claims, "exp": int(time.time()) + ASSERTION_SECONDS}),
    }


def assertion(key: RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """A JSON web token, signed with RS256."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return b".".join((signed, _encoded(key.sign(signed, PKCS1v15(), SHA256())))).decode("ascii")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _private_key(account: Account) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    problem = f"the CRM account [{account.name}]: private_key is no RSA key in PEM"
    try:
        key = load_pem_private_key(account.need("private_key").encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(problem) from error
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(problem)
    return key
