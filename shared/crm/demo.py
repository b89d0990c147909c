"""The read side of the demo CRM (`services/demo_crm/api.py` is its API): GET and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin

from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.transport import Answer, exchange, new_session, path_of, rejection, scalar
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now, parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotFound

if TYPE_CHECKING:
    from requests import Session

CRM = "demo"
OBJECTS = ("contacts", "deals", "drafts")
_DUPLICATE_KEYS = ("first_name", "last_name", "email", "phone", "company")
_SEARCH_KEYS = ("email", "phone", "external_id", "order_number")
_NEUTRAL_TYPES = {"long_text": "text", "bool": "boolean"}


class DemoReader:
    """Reads with a token that cannot write. ``timeout`` is in seconds, for a whole exchange.

    Every method raises `NotFound` where there is no such record, `Rejected` where the CRM refuses
    the question or the token, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    """

    crm = CRM
    capabilities: ClassVar[Capabilities] = Capabilities(
        conditional_write=True,
        idempotent_create=False,
        field_history=True,
        writable_stage=True,
        apply_by_hand=False,
    )

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 2.0,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._clock = clock
        self._sessions = threading.local()

    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history."""
        return self._reading(self._get(_record_path(ref)))

    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes and changes in words, the newest first."""
        data = self._get(_record_path(ref) + "/history")
        items = [*_notes(data["notes"]), *_changes_in_words(data["changes"])]
        return tuple(sorted(items, key=lambda item: item.at, reverse=True))

    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, from what to what, the newest first."""
        return [change_of(row) for row in self._get(_record_path(ref) + "/history")["changes"]]

    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Every contact and deal found by the first of these that finds any, in this order.

        The CRM compares e-mail addresses without case and phone numbers by their digits.
        """
        for key, value in zip(_SEARCH_KEYS, (email, phone, external_id, order_number), strict=True):
            if value and (rows := self._get("/api/search", {key: value})["results"]):
                return [self._reading(row) for row in rows]
        return []

    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, external or order number that a person typed."""
        for key in _SEARCH_KEYS:
            if rows := self._get("/api/search", {key: text})["results"]:
                why = f"found by {key.replace('_', ' ')}"
                return [_candidate(row, why) for row in rows]
        return []

    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name."""
        rows = self._get(path_of("/api/fields/{type}", type=object_type))["fields"]
        return {row["name"]: _field(row) for row in rows}

    def stages(self) -> dict[str, dict[str, str]]:
        """Per object type the stages in their order, from id to label."""
        return {
            object_type: {row["id"]: row["label"] for row in rows}
            for object_type, rows in self._get("/api/stages").items()
        }

    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Contacts and open drafts that a new contact with these fields might repeat, and why."""
        known = {key: str(value) for key in _DUPLICATE_KEYS if (value := fields.get(key))}
        rows = self._get("/api/duplicates", known)["results"]
        return [_candidate(row, row["reason"]) for row in rows]

    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything our integration user did at or after ``since``, the oldest first."""
        found: list[CrmChange] = []
        after: int | None = 0
        while after is not None:
            page = self._get("/api/changes", {"since": rfc3339(since), "after": str(after)})
            found += [change_of(row) for row in page["changes"]]
            after = page["next"]
        return found

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, by the CRM's own word."""
        return tuple(self._get("/api/me")["scopes"])

    def _reading(self, row: Mapping[str, Any]) -> Reading:
        ref = RecordRef(crm=CRM, type=row["type"], id=row["id"])
        return Reading(
            ref=ref,
            title=row["title"],
            fields={name: scalar(value) for name, value in row["fields"].items()},
            version=str(row["version"]),
            read_at=self._clock(),
            url=urljoin(self._base_url, row["url"]),
        )

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        answer = self._exchange(path, params)
        if answer.status == 429 or answer.status >= 500:
            wait = f", wait {answer.retry_after[:40]} s" if answer.retry_after else ""
            raise CRMUnavailable(answer.reason + wait)
        if not answer.is_success:
            raise rejection(answer)
        if answer.data is None:
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return _Strict(answer.data)

    def _exchange(self, path: str, params: Mapping[str, str] | None) -> Answer:
        """One GET, sent a second time where the connection failed: reading twice does no harm."""
        import requests
        from urllib3.exceptions import HTTPError

        url = self._base_url + path
        try:
            try:
                return exchange(self._session(), "GET", url, timeout=self._timeout, params=params)
            except requests.Timeout:
                raise
            except (requests.ConnectionError, HTTPError):
                return exchange(self._session(), "GET", url, timeout=self._timeout, params=params)
        except (requests.RequestException, HTTPError) as error:
            raise CRMUnavailable(f"the CRM cannot be read: {type(error).__name__}") from error

    def _session(self) -> Session:
        """One per thread: a session is not promised to be shared."""
        session: Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = new_session(self._token)
        return session


class _Strict(dict[str, Any]):
    """An answer whose missing parts mean that the CRM is not itself."""

    def __missing__(self, key: str) -> Any:
        raise CRMUnavailable(f"the CRM's answer has no {key}")
