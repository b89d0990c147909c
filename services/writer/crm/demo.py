"""The write side of the demo CRM: seven calls from one table, each sent at most once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.writer.crm import OutcomeUnknown, StaleRecord
from shared.crm.demo import CRM, change_of
from shared.crm.metadata import CrmChange
from shared.crm.transport import (
    Answer,
    exchange,
    new_session,
    path_of,
    rejection,
    understood,
)
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, Rejected

# Everything that this product can ever ask of the demo CRM with its write token.
ALLOWED = frozenset(
    {
        ("GET", "/api/me"),
        ("GET", "/api/changes"),
        ("PATCH", "/api/{type}/{id}"),
        ("POST", "/api/notes"),
        ("POST", "/api/drafts"),
        ("POST", "/api/drafts/{id}/promote"),
        ("POST", "/api/drafts/{id}/discard"),
    }
)
_LIVE = frozenset({"contacts", "deals"})


class DemoWriter:
    """Writes with the write token. ``timeout`` is in seconds, for a whole exchange.

    Every write raises `Rejected` (`NotFound`, `StaleRecord`) where the CRM refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say; then `find` tells.
    """

    crm = CRM
    is_conditional = True

    def __init__(self, base_url: str, token: str, *, timeout: float = 10.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._timeout = timeout

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,
        version: str | None = None,
    ) -> None:
        """Set these fields; with ``version`` only while the record is still at it."""
        if ref.crm != CRM or ref.type not in _LIVE:
            raise Rejected(f"the demo CRM has no live {ref.crm}/{ref.type}")
        row = self._write(
            "PATCH",
            "/api/{type}/{id}",
            {"fields": dict(fields), "change_id": change_id},
            headers={} if version is None else {"If-Match": f'"{version}"'},
            type=ref.type,
            id=ref.id,
        )
        _confirm(lambda: (row["type"], row["id"], row["change_id"]), (ref.type, ref.id, change_id))

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note to a live record."""
        body = {"type": ref.type, "id": ref.id, "text": text, "change_id": change_id}
        row = self._write("POST", "/api/notes", body)
        _confirm(lambda: row["change_id"], change_id)

    def create_draft(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str
    ) -> RecordRef:
        """Where the draft of a new contact lies; ``ref`` is of type ``drafts``, its id is not used.

        The CRM knows no idempotent create: `find` the change before a second try.
        """
        if ref.crm != CRM or ref.type != "drafts":
            raise Rejected(f"the demo CRM keeps no drafts in {ref.crm}/{ref.type}")
        body = {"type": "contacts", "fields": dict(fields), "change_id": change_id}
        row = self._write("POST", "/api/drafts", body)
        _confirm(lambda: (row["type"], row["change_id"]), ("drafts", change_id))
        return _ref(row)

    def promote(self, draft: RecordRef, *, change_id: str) -> RecordRef:
        """The live contact that the draft became."""
        data = self._close_draft("/api/drafts/{id}/promote", draft, change_id)
        _confirm(lambda: data["contact"]["change_id"], change_id)
        return _ref(data["contact"])

    def discard(self, draft: RecordRef, *, change_id: str) -> None:
        """Close the draft for good; it stays readable."""
        self._close_draft("/api/drafts/{id}/discard", draft, change_id)

    def effects(self, change_id: str) -> list[CrmChange]:
        """Every line of the CRM's history that carries this change. Raises `CRMUnavailable`."""
        with understood():
            data = self._read("/api/changes", {"change_id": change_id})
            return [change_of(row) for row in data["changes"]]

    def find(self, change_id: str) -> RecordRef | None:
        """The record that this change has touched, or made. Raises `CRMUnavailable`."""
        found = self.effects(change_id)
        return found[0].ref if found else None

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, by the CRM's own word."""
        with understood():
            return tuple(self._read("/api/me", {})["scopes"])

    def _close_draft(self, template: str, draft: RecordRef, change_id: str) -> dict[str, Any]:
        if draft.crm != CRM or draft.type != "drafts":
            raise Rejected(f"{draft} is no draft of the demo CRM")
        data = self._write("POST", template, {"change_id": change_id}, id=draft.id)
        _confirm(lambda: (data["draft"]["id"], data["draft"]["change_id"]), (draft.id, change_id))
        return data

    def _read(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        from requests import RequestException

        try:
            answer = self._send("GET", path, path, params=params)
        except RequestException as error:
            raise CRMUnavailable(f"the CRM cannot be read: {type(error).__name__}") from error
        if answer.status == 429 or answer.status >= 500 or answer.data is None:
            raise CRMUnavailable(answer.reason)
        if not answer.is_success:
            raise rejection(answer)
        return answer.data

    def _write(
        self,
        method: str,
        template: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        **ids: str,
    ) -> dict[str, Any]:
        from requests import RequestException

        path = path_of(template, **ids)
        try:
            answer = self._send(method, template, path, body=body, headers=headers)
        except RequestException as error:
            raise _cut_off(error) from error
        if (refusal := _refusal_of(answer)) is not None:
            raise refusal
        assert answer.data is not None
        return answer.data

    def _send(self, method: str, template: str, path: str, **more: Any) -> Answer:
        """One exchange on a connection of its own.

        A kept connection may have been closed by the CRM meanwhile, and then nobody could say
        whether the write had arrived.
        """
        if (method, template) not in ALLOWED:
            raise Rejected(f"{method} {template} is not among the calls of this product")
        with new_session(self._token, pool=1) as session:
            url = self._base_url + path
            return exchange(session, method, url, timeout=self._timeout, **more)


def _refusal_of(answer: Answer) -> Rejected | CRMUnavailable | OutcomeUnknown | None:
    """What an answer to a write means; ``None``: it was done, and the body says what."""
    if answer.status in {429, 503}:
        return CRMUnavailable(answer.reason)
    # Any other server error may have come after the effect, and so may a 200 nobody can read.
    if answer.status >= 500 or (answer.is_success and answer.data is None):
        return OutcomeUnknown(answer.reason)
    if answer.status == 412:
        return StaleRecord(answer.reason)
    return None if answer.is_success else rejection(answer)


def _cut_off(error: Exception) -> CRMUnavailable | OutcomeUnknown:
    """`CRMUnavailable` only where no connection came about, so that nothing can have been sent."""
    from requests import ConnectTimeout
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(error, ConnectTimeout) or isinstance(
        cause, NewConnectionError | ConnectTimeoutError
    ):
        return CRMUnavailable(f"the CRM cannot be reached: {type(error).__name__}")
    return OutcomeUnknown(f"no answer to a write that was sent: {type(error).__name__}")


def _confirm(said: Callable[[], Any], expected: Any) -> None:
    """Raise `OutcomeUnknown` unless the answer speaks of this very change."""
    try:
        is_ours = said() == expected
    except (KeyError, TypeError) as error:
        raise OutcomeUnknown("the CRM's answer has an unknown form") from error
    if not is_ours:
        raise OutcomeUnknown("the CRM's answer speaks of another change")


def _ref(row: Mapping[str, Any]) -> RecordRef:
    return RecordRef(crm=CRM, type=str(row["type"]), id=str(row["id"]))
