"""The read side of the demo CRM (`services/demo_crm/api.py` is its API): GET and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import urljoin

from shared.crm.accounts import Account
from shared.crm.authorization import bearer
from shared.crm.client import Client
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.pace import Pace
from shared.crm.reader import COMMON_FIELDS, MOST_SAMPLED
from shared.crm.transport import path_of, scalar, understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now, parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotFound

CRM = "demo"
# It runs beside us and sets no limit of its own.
CALLS_PER_SECOND = 1000.0
OBJECTS = ("contacts", "deals", "drafts")
MOST_PAGES = 200
_DUPLICATE_KEYS = ("first_name", "last_name", "email", "phone", "company")
_SEARCH_KEYS = ("email", "phone", "external_id", "order_number")
_NEUTRAL_TYPES = {"long_text": "text", "bool": "boolean"}


class DemoReader:
    """Reads with a token that cannot write. ``timeout`` is in seconds, for a whole exchange.

    ``crm`` is another name than its own where an account of it stands in for another CRM.

    Every method raises `NotFound` where there is no such record, `Rejected` where the CRM refuses
    the question or the token, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    """

    crm: str = CRM
    people = "contacts"
    object_types = ("contacts", "deals")
    problem: ClassVar[str | None] = None
    names: ClassVar[Mapping[str, str]] = {name: name for name in COMMON_FIELDS}
    capabilities: ClassVar[Capabilities] = Capabilities(
        conditional_write=True,
        field_history=True,
        writable_stage=True,
        notes=("contacts", "deals"),
        tasks=("contacts", "deals"),
    )

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 2.0,
        clock: Callable[[], datetime] = now,
        crm: str = CRM,
    ) -> None:
        self.crm = crm
        self._client = Client(
            base_url,
            bearer(token),
            timeout=timeout,
            pace=Pace(CALLS_PER_SECOND, CALLS_PER_SECOND),
        )
        self._clock = clock

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        url, token = account.need("url"), account.need("token")
        return cls(url, token, timeout=timeout, crm=account.name)

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history."""
        return self._reading(self._get(record_path(ref, self.crm)))

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """The records that changed last, in one page."""
        if object_type not in self.object_types:
            raise NotFound(f"the demo CRM has no list of {object_type}")
        data = self._get(path_of("/api/{type}", type=object_type), {"limit": str(limit)})
        return [self._reading(row) for row in data["results"]]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes and changes in words, the newest first."""
        data = self._get(record_path(ref, self.crm) + "/history")
        items = [*_notes(data["notes"]), *_changes_in_words(data["changes"], self.crm)]
        return tuple(sorted(items, key=lambda item: item.at, reverse=True))

    @understood()
    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, from what to what, the newest first."""
        rows = self._get(record_path(ref, self.crm) + "/history")["changes"]
        return [change_of(row, self.crm) for row in rows]

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
                return [_candidate(row, why, self.crm) for row in rows]
        return []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name."""
        rows = self._get(path_of("/api/fields/{type}", type=object_type))["fields"]
        return {row["name"]: _field(row) for row in rows}

    def doubt_fields(self, object_type: str) -> None:
        """Nothing is kept: each question is asked."""

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
        return [_candidate(row, row["reason"], self.crm) for row in rows]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything our integration user did at or after ``since``, the oldest first."""
        found: list[CrmChange] = []
        after = 0
        for _ in range(MOST_PAGES):
            page = self._get("/api/changes", {"since": rfc3339(since), "after": str(after)})
            found += [change_of(row, self.crm) for row in page["changes"]]
            if page["next"] is None:
                return found
            after = page["next"]
        raise CRMUnavailable(f"the CRM has more than {MOST_PAGES} pages of changes: ask for less")

    @understood()
    def scopes(self) -> tuple[str, ...]:
        """What the token may do, by the CRM's own word."""
        return tuple(self._get("/api/me")["scopes"])

    def _reading(self, row: Mapping[str, Any]) -> Reading:
        ref = RecordRef(crm=self.crm, type=row["type"], id=row["id"])
        return Reading(
            ref=ref,
            title=row["title"],
            fields={name: scalar(value) for name, value in row["fields"].items()},
            version=str(row["version"]),
            read_at=self._clock(),
            url=urljoin(self._client.base_url, row["url"]),
        )

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        answer = self._client.get(path, params)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return answer.data


def record_path(ref: RecordRef, crm: str) -> str:
    """Raises `NotFound` for a record that this CRM cannot have."""
    if ref.crm != crm or ref.type not in OBJECTS:
        raise NotFound(f"the demo CRM has no {ref.crm}/{ref.type}")
    return path_of("/api/{type}/{id}", type=ref.type, id=ref.id)


def change_of(row: Mapping[str, Any], crm: str) -> CrmChange:
    """One line of history. Raises `KeyError` and the like for another shape."""
    return CrmChange(
        ref=RecordRef(crm=crm, type=row["type"], id=row["id"]),
        kind=row["kind"],
        field=row["field"],
        old=scalar(row["old"]),
        new=scalar(row["new"]),
        at=parse_instant(row["at"]),
        by=row["author"],
        change_id=row["change_id"],
    )


def _candidate(row: Mapping[str, Any], why: str, crm: str) -> Candidate:
    ref = RecordRef(crm=crm, type=row["type"], id=row["id"])
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


def _changes_in_words(rows: list[dict[str, Any]], crm: str) -> list[HistoryItem]:
    return [_change_in_words(change_of(row, crm)) for row in rows]


def _change_in_words(change: CrmChange) -> HistoryItem:
    if change.field is None:
        text = f"{change.by}: {change.kind if change.new is None else change.new}"
        return HistoryItem(at=change.at, kind=change.kind, text=text)
    words = f"{change.by}: {change.field} from {_shown(change.old)} to {_shown(change.new)}"
    return HistoryItem(at=change.at, kind="change", text=words)


def _shown(value: Scalar) -> str:
    return "nothing" if value is None else str(value)
