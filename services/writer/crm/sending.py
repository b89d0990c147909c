"""Writing to a CRM over HTTP: only calls from a fixed table, each sent at most once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.writer.crm import OutcomeUnknown
from shared.crm.authorization import Authorization
from shared.crm.client import Heed, Judge, heed_retry_after, no_judgement
from shared.crm.pace import Pace
from shared.crm.transport import (
    Answer,
    exchange,
    new_session,
    path_of,
    rejection,
    was_never_sent,
)
from shared.errors import CRMUnavailable, Rejected

# A method and the template of a path: `("PATCH", "/contacts/{id}")`.
Call = tuple[str, str]


class Sender:
    """``allowed`` is everything that can ever be asked of this CRM with its write credential.

    Every write raises `Rejected` (`NotFound`, `StaleRecord`) where the CRM refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say. ``judge`` says what an answer means beyond its status.
    """

    def __init__(
        self,
        base_url: str,
        authorization: Authorization,
        allowed: frozenset[Call],
        *,
        timeout: float,
        pace: Pace,
        judge: Judge = no_judgement,
        heed: Heed = heed_retry_after,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._authorization = authorization
        self._allowed = allowed
        self._timeout = timeout
        self._pace = pace
        self._judge = judge
        self._heed = heed
        self._headers = dict(headers or {})

    def read(
        self,
        method: str,
        template: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        **ids: str,
    ) -> Answer:
        """A question with the write credential. Raises `CRMUnavailable` or `Rejected`."""
        from requests import RequestException

        try:
            answer = self._renewed(method, template, ids, params=params, body=body)
        except RequestException as error:
            raise CRMUnavailable(f"the CRM cannot be read: {type(error).__name__}") from error
        if (meant := self._judge(answer)) is not None:
            raise CRMUnavailable(str(meant)) if isinstance(meant, OutcomeUnknown) else meant
        if answer.status == 429 or answer.status >= 500:
            raise CRMUnavailable(answer.reason)
        if not answer.is_success:
            raise rejection(answer)
        return answer

    def write(
        self,
        method: str,
        template: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        **ids: str,
    ) -> Answer:
        """One write, sent once; a 401 alone is no effect and may be tried with a new token."""
        from requests import RequestException

        try:
            answer = self._renewed(method, template, ids, body=body, headers=headers, params=params)
        except RequestException as error:
            raise _cut_off(error) from error
        if (refusal := self._judge(answer) or _refusal_of(answer)) is not None:
            raise refusal
        return answer

    def _renewed(self, method: str, template: str, ids: Mapping[str, str], **more: Any) -> Answer:
        self._require_allowed(method, template, more.get("body"))
        shown = self._authorization.headers()
        answer = self._send(method, template, ids, shown=shown, **more)
        if answer.status == 401 and self._authorization.renew(shown):
            again = self._authorization.headers()
            answer = self._send(method, template, ids, shown=again, **more)
        return answer

    def _require_allowed(self, method: str, template: str, _: Any) -> None:
        """Before anything is sent. Raises `Rejected`."""
        if (method, template) not in self._allowed:
            raise Rejected(f"{method} {template} is not among the calls of this product")

    def _send(
        self,
        method: str,
        template: str,
        ids: Mapping[str, str],
        *,
        shown: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """One exchange on a connection of its own; ``shown`` is what the authorization gave.

        A kept connection may have been closed by the CRM meanwhile, and then nobody could say
        whether the write had arrived.
        """
        url = self._base_url + path_of(template, **ids)
        given = {**self._headers, **shown, **(headers or {})}
        self._pace.take(self._timeout)
        with new_session(pool=1) as session:
            answer = exchange(session, method, url, timeout=self._timeout, headers=given, **more)
        self._heed(answer, self._pace)
        return answer


def _refusal_of(answer: Answer) -> Rejected | CRMUnavailable | OutcomeUnknown | None:
    """What the status of an answer to a write means; ``None``: it was done."""
    if answer.status in {429, 503}:
        return CRMUnavailable(answer.reason)
    # Any other server error may have come after the effect.
    if answer.status >= 500:
        return OutcomeUnknown(answer.reason)
    return None if answer.is_success else rejection(answer)


def _cut_off(error: Exception) -> CRMUnavailable | OutcomeUnknown:
    """`CRMUnavailable` only where no connection came about, so that nothing can have been sent."""
    if was_never_sent(error):
        return CRMUnavailable(f"the CRM cannot be reached: {type(error).__name__}")
    return OutcomeUnknown(f"no answer to a write that was sent: {type(error).__name__}")


def confirm(said: Callable[[], Any], expected: Any) -> None:
    """Raise `OutcomeUnknown` unless the answer speaks of this very change."""
    try:
        is_ours = said() == expected
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise OutcomeUnknown("the CRM's answer has an unknown form") from error
    if not is_ours:
        raise OutcomeUnknown("the CRM's answer speaks of another change")
