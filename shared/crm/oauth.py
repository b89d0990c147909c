"""OAuth 2.0 with authorization codes (RFC 6749, 4.1 and 6): the first grant and each renewal."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from shared.crm.grants import AnswerLost, GrantRefused, Pair
from shared.crm.transport import Answer, exchange, new_session, was_never_sent
from shared.errors import CRMUnavailable, Rejected

# Where neither ``expires_in`` nor the token itself says how long it is good for.
_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class CodeFlow:
    """An app of a vendor. ``timeout`` is in seconds, for a whole exchange."""

    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_url: str
    timeout: float = 10.0

    def address(self, state: str) -> str:
        """What a person opens to let the app in."""
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_url,
            "state": state,
        }
        return f"{self.authorize_url}?{urlencode(asked)}"

    def first(self, code: str) -> Pair:
        """The first tokens for the ``code`` that the vendor sent the person back with.

        Raises `Rejected` and `CRMUnavailable`; a code is good once.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_url,
        }
        return self._pair(self._answer(form), "")

    def next(self, refresh: str) -> Pair:
        """The next tokens. Raises as `shared.crm.grants.Refresh` says."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        return self._pair(self._answer(form), refresh)

    def _answer(self, form: Mapping[str, str]) -> Answer:
        from requests import RequestException

        app = {"client_id": self.client_id, "client_secret": self.client_secret}
        try:
            with new_session(pool=1) as session:
                return exchange(
                    session, "POST", self.token_url, timeout=self.timeout, form={**form, **app}
                )
        except RequestException as error:
            name = type(error).__name__
            if was_never_sent(error):
                raise CRMUnavailable(f"the token end point cannot be reached: {name}") from error
            raise AnswerLost(f"no answer of the token end point: {name}") from error

    def _pair(self, answer: Answer, before: str) -> Pair:
        if not answer.is_success:
            raise _refusal(answer)
        said = answer.data if isinstance(answer.data, dict) else {}
        access, refresh = said.get("access_token"), said.get("refresh_token", before)
        if not access or not refresh or not isinstance(access, str) or not isinstance(refresh, str):
            raise AnswerLost("the token end point answered with no pair of tokens")
        return Pair(access=access, refresh=refresh, seconds=_seconds(said, access))


def code_of(pasted: str, state: str) -> str:
    """The code in the address that a person was sent back to.

    Raises `Rejected` where it answers another request than the one with ``state``, or says no.
    """
    said = parse_qs(urlsplit(pasted.strip()).query)
    if said.get("error"):
        raise Rejected(f"the vendor said no: {said['error'][0]}")
    if said.get("state") != [state]:
        raise Rejected("this address does not answer the one that was just printed: begin again")
    if len(code := said.get("code", [])) != 1:
        raise Rejected("this address holds no code")
    return code[0]


def claims(token: str) -> Mapping[str, Any]:
    """What a JWT says of itself; nothing is checked, and nothing of another token is found."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(said: Mapping[str, Any], access: str) -> float:
    lasts, ends = said.get("expires_in"), claims(access).get("exp")
    if isinstance(lasts, int) and lasts > 0:
        return float(lasts)
    return max(0.0, ends - time.time()) if isinstance(ends, int) else _SECONDS


def _refusal(answer: Answer) -> Exception:
    """429 and 503 are before the effect; any other 5xx may be behind it."""
    if answer.status in {429, 503}:
        return CRMUnavailable(answer.reason)
    if answer.status >= 500:
        return AnswerLost(answer.reason)
    said = answer.data.get("error") if isinstance(answer.data, dict) else None
    return GrantRefused(answer.reason) if said == "invalid_grant" else Rejected(answer.reason)
