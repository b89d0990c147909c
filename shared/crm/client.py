"""Reading a CRM over HTTP: time-outs, one repeat, pace and errors, the same for each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shared.crm.authorization import Authorization
from shared.crm.pace import Pace
from shared.crm.transport import Answer, exchange, new_session, rejection
from shared.errors import CRMUnavailable, Rejected, Unavailable

if TYPE_CHECKING:
    from requests import Session

# What a vendor's answer means beyond its status; ``None`` leaves it to the status.
Judge = Callable[[Answer], Rejected | Unavailable | None]
# Takes a vendor's rate headers into account.
Heed = Callable[[Answer, Pace], None]


def no_judgement(_: Answer) -> None:
    """The status says everything."""


def heed_retry_after(answer: Answer, pace: Pace) -> None:
    """Whoever asks to wait is not called before; a 429 without a number means a second."""
    if answer.status == 429 or answer.retry_after is not None:
        pace.pause(1.0 if answer.retry_after is None else answer.retry_after)


class Client:
    """``timeout`` is in seconds, for a whole exchange. Sends nothing that changes anything.

    Every call raises `NotFound` or `Rejected` where the CRM refuses the question or the token, and
    `CRMUnavailable` where it is down, too slow, or asks us to wait.
    """

    def __init__(
        self,
        base_url: str,
        authorization: Authorization,
        *,
        timeout: float,
        pace: Pace,
        judge: Judge = no_judgement,
        heed: Heed = heed_retry_after,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._authorization = authorization
        self._timeout = timeout
        self._pace = pace
        self._judge = judge
        self._heed = heed
        self._headers = dict(headers or {})

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return self._read("GET", path, params=params, headers=headers)

    def query(self, path: str, body: Mapping[str, Any]) -> Answer:
        """A question that the CRM wants as POST; asking it twice does no harm."""
        return self._read("POST", path, body=body)

    def _read(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        def ask(shown: Mapping[str, str]) -> Answer:
            given = {**self._headers, **shown, **(headers or {})}
            return self._repeated(method, self.base_url + path, headers=given, **more)

        shown = self._authorization.headers()
        answer = ask(shown)
        if answer.status == 401 and self._authorization.renew(shown):
            answer = ask(self._authorization.headers())
        if (meant := self._judge(answer)) is not None:
            raise meant
        if answer.status == 429 or answer.status >= 500:
            raise CRMUnavailable(answer.reason)
        if not answer.is_success and answer.status != 304:
            raise rejection(answer)
        return answer

    def _repeated(
        self, method: str, url: str, *, headers: Mapping[str, str], **more: Any
    ) -> Answer:
        """Sent a second time where the connection failed: reading twice does no harm."""
        from requests import ConnectionError as ConnectionLost
        from requests import RequestException, Timeout

        ask = functools.partial(
            exchange, self._session, method, url, timeout=self._timeout, headers=headers, **more
        )
        self._pace.take(self._timeout)
        try:
            try:
                answer = ask()
            except Timeout:
                raise
            except ConnectionLost:
                answer = ask()
        except RequestException as error:
            raise CRMUnavailable(f"the CRM cannot be read: {type(error).__name__}") from error
        self._heed(answer, self._pace)
        return answer

    @functools.cached_property
    def _session(self) -> Session:
        return new_session()
