"""The read side of the demo CRM (`services/demo_crm/api.py` is its API): GET and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin

from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.transport import (
    Answer,
    exchange,
    new_session,
    path_of,
    rejection,
    scalar,
    understood,
)
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

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history."""
        return self._reading(self._get(record_path(ref)))

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes and changes in words, the newest first."""
        data = self._get(record_path(ref) + "/history")
        items = [*_notes(data["notes"]), *_changes_in_words(data["changes"])]
        return tuple(sorted(items, key=lambda item: item.at, reverse=True))

    @understood()
    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, from what to what, the newest first."""
        return [change_of(row) for row in self._get(record_path(ref) + "/history")["changes"]]

    @understood()
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

    @understood()
    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, external or order number that a person typed."""
        for key in _SEARCH_KEYS:
            if rows := self._get("/api/search", {key: text})["results"]:
                why = f"found by {key.replace('_', ' ')}"
                return [_candidate(row, why) for row in rows]
        return []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name."""
        rows = self._get(path_of("/api/fields/{type}", type=object_type))["fields"]
        return {row["name"]: _field(row) for row in rows}

    @understood()
    def stages(self) -> dict[str, dict[str, str]]:
        """Per object type the stages in their order, from id to label."""
        return {
            object_type: {row["id"]: row["label"] for row in rows}
            for object_type, rows in self._get("/api/stages").items()
        }

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Contacts and open drafts that a new contact with these fields might repeat, and why."""
        known = {key: str(value) for key in _DUPLICATE_KEYS if (value := fields.get(key))}
        rows = self._get("/api/duplicates", known)["results"]
        return [_candidate(row, row["reason"]) for row in rows]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything our integration user did at or after ``since``, the oldest first."""
        found: list[CrmChange] = []
        after: int | None = 0
        while after is not None:
            page = self._get("/api/changes", {"since": rfc3339(since), "after": str(after)})
            found += [change_of(row) for row in page["changes"]]
            after = page["next"]
        return found

    @understood()
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
        return answer.data

    def _exchange(self, path: str, params: Mapping[str, str] | None) -> Answer:
        """One GET, sent a second time where the connection failed: reading twice does no harm."""
        from requests import ConnectionError as ConnectionLost
        from requests import RequestException, Timeout

        ask = functools.partial(
            exchange,
            self._session,
            "GET",
            self._base_url + path,
            timeout=self._timeout,
            params=params,
        )
        try:
            try:
                return ask()
            except Timeout:
                raise
            except ConnectionLost:
                return ask()
        except RequestException as error:
            raise CRMUnavailable(f"the CRM cannot be read: {type(error).__name__}") from error

    @functools.cached_property
    def _session(self) -> Session:
        return new_session(self._token)


def record_path(ref: RecordRef) -> str:
    """Raises `NotFound` for a record that this CRM cannot have."""
    if ref.crm != CRM or ref.type not in OBJECTS:
        raise NotFound(f"the demo CRM has no {ref.crm}/{ref.type}")
    return path_of("/api/{type}/{id}", type=ref.type, id=ref.id)


def change_of(row: Mapping[str, Any]) -> CrmChange:
    """One line of history. Raises `KeyError` and the like for another shape."""
    return CrmChange(
        ref=RecordRef(crm=CRM, type=row["type"], id=row["id"]),
        kind=row["kind"],
        field=row["field"],
        old=scalar(row["old"]),
        new=scalar(row["new"]),
        at=parse_instant(row["at"]),
        by=row["author"],
        change_id=row["change_id"],
    )


def _candidate(row: Mapping[str, Any], why: str) -> Candidate:
    ref = RecordRef(crm=CRM, type=row["type"], id=row["id"])
    return Candidate(record=ref, title=row["title"], why=why)


def _field(row: Mapping[str, Any]) -> FieldMeta:
    allowed = row["allowed_values"]
    return FieldMeta(
        name=row["name"],
        label=row["label"],
        type=_NEUTRAL_TYPES.get(row["type"], row["type"]),
        max_length=row["max_length"],
        allowed_values=None if allowed is None else tuple(allowed),
        read_only=row["read_only"],
        field_class=row["class"],
    )


def _notes(rows: list[dict[str, Any]]) -> list[HistoryItem]:
    return [
        HistoryItem(
            at=parse_instant(row["at"]), kind="note", text=f"{row['author']}: {row['text']}"
        )
        for row in rows
    ]


def _changes_in_words(rows: list[dict[str, Any]]) -> list[HistoryItem]:
    return [_change_in_words(change_of(row)) for row in rows]


def _change_in_words(change: CrmChange) -> HistoryItem:
    if change.field is None:
        return HistoryItem(at=change.at, kind=change.kind, text=f"{change.by}: {change.kind}")
    words = f"{change.by}: {change.field} from {_shown(change.old)} to {_shown(change.new)}"
    return HistoryItem(at=change.at, kind="change", text=words)


def _shown(value: Scalar) -> str:
    return "nothing" if value is None else str(value)
