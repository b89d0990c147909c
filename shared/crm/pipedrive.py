"""The read side of Pipedrive: GET and nothing else.

https://developers.pipedrive.com/docs/api/v1 (v2 for persons, deals, organizations, activities,
fields, stages and search; v1 for leads, notes, change logs, flow and users)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Self

from shared.crm.accounts import Account
from shared.crm.client import Client
from shared.crm.finding import Way, as_candidates, first_found
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta, keeping
from shared.crm.pipedrive_account import (
    Company,
    heed,
    judged,
    naming_the_scope,
    require_record,
)
from shared.crm.pipedrive_fields import PAGE, Catalogue, pages
from shared.crm.pipedrive_finding import DEALS, PEOPLE, Finder
from shared.crm.pipedrive_history import PARENTS, History, text_of
from shared.crm.pipedrive_values import instant_of, values_of
from shared.crm.reader import MOST_SAMPLED
from shared.crm.transport import path_of, understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now
from shared.errors import CRMUnavailable, NotFound

_TITLES: Final = ("name", "title", "subject", "content")
# Where the web pages of a company show a record.
_PAGES: Final = {
    "persons": "/person/{id}",
    "deals": "/deal/{id}",
    "organizations": "/organization/{id}",
    "leads": "/leads/inbox/{id}",
}
_MOST_FOUND: Final = 20
_NEWEST_FIRST: Final = {"sort_by": "update_time", "sort_direction": "desc"}


class PipedriveReader:
    """Reads with a token that should not write. ``timeout`` is in seconds, for a whole exchange.

    Every method raises `NotFound` where there is no such record, `Rejected` where the CRM refuses
    the question or the token, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    """

    people = "persons"
    object_types = ("persons", "leads", "deals", "organizations", "activities")
    problem: ClassVar[str | None] = None
    names: ClassVar[Mapping[str, str]] = {
        "first_name": "first_name",
        "last_name": "last_name",
        "email": "emails",
        "phone": "phones",
        "job_title": "job_title",
        "address": "postal_address",
    }
    capabilities: ClassVar[Capabilities] = Capabilities(
        field_history=True,
        writable_stage=True,
        notes=tuple(PARENTS),
        tasks=tuple(PARENTS),
    )

    def __init__(
        self, account: Account, *, timeout: float, clock: Callable[[], datetime] = now
    ) -> None:
        self.crm = account.name
        self._company = Company(account, timeout=timeout)
        self._clock = clock
        self._options = account.options
        self._catalogue = Catalogue(self._get)
        self._history = History(self._get)
        self._finder = Finder(self._get, region=account.options.get("region"))

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        return cls(account, timeout=timeout)

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history. A deleted or merged one is not there."""
        path = require_record(ref.crm, ref.type, ref.id, account=self.crm)
        found = self._reading(ref, self._get(path_of(path, id=ref.id), {})["data"])
        self._catalogue.expect(ref.type, found.fields)
        return found

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """What changed last, in one page; leads in Pipedrive's order, of whose sorting the
        description of v1 says two things.

        https://developers.pipedrive.com/docs/api/v1/Persons#getPersons (and the like)
        https://developers.pipedrive.com/docs/api/v1/Leads#getLeads
        """
        if object_type not in self.object_types:
            raise NotFound(f"Pipedrive has no list of {object_type}")
        is_older = object_type == "leads"
        path = f"/v1/{object_type}" if is_older else f"/api/v2/{object_type}"
        order = {} if is_older else _NEWEST_FIRST
        rows = self._get(path, {**order, "limit": str(limit)})["data"] or ()
        alive = (row for row in rows if not row.get("is_deleted"))
        return [self._reading(self._ref(object_type, row["id"]), row) for row in alive]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes, calls, mails, deals and changes in words, the newest first."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        return tuple(self._history.items(ref))

    @understood()
    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, from what to what, the newest first."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        return self._history.changes(ref)

    @understood()
    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Every record found by the first of these that finds any, in this order.

        The last two are looked for in the own fields that the account names
        (``external_id_field`` of persons, ``order_field`` of deals).
        """
        ways: tuple[tuple[str | None, Way], ...] = (
            (email, lambda value: self._people_of(self._finder.by_email(value))),
            (phone, lambda value: self._people_of(self._finder.by_phone(value))),
            (external_id, functools.partial(self._by_own_field, "external_id_field", "persons")),
            (order_number, functools.partial(self._by_own_field, "order_field", "deals")),
        )
        return first_found(ways)

    @understood()
    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, external or order number that a person typed."""
        keys = ("email",) if "@" in text else ("phone", "external_id", "order_number")
        for key in keys:
            if found := self.search(**{key: text.strip()}):
                why = f"found by {key.replace('_', ' ')}"
                return as_candidates(found, why)
        return []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name; asked anew after some minutes."""
        known = self._catalogue.of(object_type)
        found = {name: field.meta for name, field in known.items()}
        return keeping(found, self._options.get("mark_field"))

    def doubt_fields(self, object_type: str) -> None:
        self._catalogue.doubt(object_type)

    @understood()
    def stages(self) -> dict[str, dict[str, str]]:
        """The stages of deals in the order of their pipelines, from id to label."""
        pipelines = {
            row["id"]: row
            for row in pages(self._get, "/api/v2/pipelines", {"limit": PAGE})
            if not row.get("is_deleted")
        }
        rows = [
            row
            for row in pages(self._get, "/api/v2/stages", {"limit": PAGE})
            if row["pipeline_id"] in pipelines and not row.get("is_deleted")
        ]
        rows.sort(key=lambda row: (_order(pipelines[row["pipeline_id"]]), _order(row)))
        return {"deals": {str(row["id"]): _label(row, pipelines) for row in rows}}

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Persons that a new one with these fields (our words) might repeat, and why."""
        return [
            Candidate(record=self._ref("persons", item["id"]), title=str(item["name"]), why=why)
            for item, why in self._finder.duplicates(fields)
        ]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything our integration user did at or after ``since``, the oldest first.

        That user is ``own_user``, else the token's own. Each person and deal that changed since
        costs a look into its change log.
        """
        user = int(self._options.get("own_user") or self._get("/v1/users/me", {})["data"]["id"])
        notes = self._history.notes_by(user, since)
        lines = [self._history.note_as_change(row, self.crm) for row in notes]
        found = [line for line in lines if line is not None]
        stamp = f"{since:%Y-%m-%dT%H:%M:%SZ}"
        for object_type in ("persons", "deals"):
            params = {"updated_since": stamp, "sort_by": "update_time", "limit": PAGE}
            for row in pages(self._get, f"/api/v2/{object_type}", params):
                ref = self._ref(object_type, row["id"])
                found += [*self._made(ref, row, since), *self._history.changes_of(ref, user, since)]
        return sorted(found, key=lambda change: change.at)

    @understood()
    def scopes(self) -> tuple[str, ...]:
        """The scopes of an app; an API token has all rights of its user and says only who it is."""
        granted = self._company.granted()
        if granted is not None:
            return granted
        return user_rights(self._get("/v1/users/me", {})["data"])

    def _made(self, ref: RecordRef, row: Mapping[str, Any], since: datetime) -> list[CrmChange]:
        """A new record with our mark is ours, whoever Pipedrive says it belongs to."""
        mark = (row.get("custom_fields") or {}).get(self._options.get("mark_field"))
        at = instant_of(row["add_time"])
        if not mark or at < since:
            return []
        return [
            CrmChange(
                ref=ref,
                kind="created",
                field=None,
                old=None,
                new=None,
                at=at,
                by="Countersign",
                change_id=str(mark),
            )
        ]

    def _reading(self, ref: RecordRef, data: Mapping[str, Any]) -> Reading:
        if str(data["id"]) != ref.id:
            raise CRMUnavailable("the CRM's answer speaks of another record")
        require_alive(data)
        fields = values_of(data)
        title = next((str(data[name]) for name in _TITLES if data.get(name)), ref.id)
        if ref.type == "deals" and fields.get("person_id") is not None:
            fields["contact_id"] = str(fields["person_id"])
        return Reading(
            ref=ref,
            title=text_of(title)[:200],
            fields=fields,
            version=None if data.get("update_time") is None else str(data["update_time"]),
            read_at=self._clock(),
            url=self._page(ref),
        )

    def _page(self, ref: RecordRef) -> str | None:
        """Only a company's own host has pages."""
        url = self._company.url
        if ref.type not in _PAGES or "://api." in url:
            return None
        return url + path_of(_PAGES[ref.type], id=ref.id)

    def _people_of(self, items: list[Mapping[str, Any]]) -> list[Reading]:
        return self._alive([self._ref("persons", item["id"]) for item in items])

    def _by_own_field(self, option: str, object_type: str, value: str) -> list[Reading]:
        """The search says only that some own field holds the value; the record says which."""
        field = self._options.get(option)
        if not field:
            return []
        items = self._finder.by_own_field(PEOPLE if object_type == "persons" else DEALS, value)
        found = self._alive([self._ref(object_type, item["id"]) for item in items])
        return [one for one in found if str(one.fields.get(field)) == value]

    def _alive(self, refs: list[RecordRef]) -> list[Reading]:
        """The search may still know what has been deleted or merged since."""
        found = []
        for ref in refs[:_MOST_FOUND]:
            try:
                found.append(self.read(ref))
            except NotFound:
                continue
        return found

    def _ref(self, object_type: str, id_: Any) -> RecordRef:
        return RecordRef(crm=self.crm, type=object_type, id=str(id_))

    def _get(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        self._company.budget.spend("GET", path, patience=self._company.timeout)
        with naming_the_scope(path, "read"):
            answer = self._client.get(path, params)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return answer.data

    @functools.cached_property
    def _client(self) -> Client:
        """Made at the first call: an app learns the host together with its token."""
        return Client(
            self._company.url,
            self._company.authorization,
            timeout=self._company.timeout,
            pace=self._company.budget.pace,
            judge=judged,
            heed=heed,
        )


def require_alive(data: Mapping[str, Any]) -> None:
    """Raises `NotFound` for a deleted record, which a merged one is too."""
    if data.get("is_deleted") or data.get("active_flag") is False:
        raise NotFound("the record is deleted, or merged into another")


def user_rights(user: Mapping[str, Any]) -> tuple[str, ...]:
    """What an API token may do: ``*``, and each part of Pipedrive where its user is an admin."""
    admin = (f"admin:{one['app']}" for one in user.get("access") or () if one.get("admin"))
    return ("*", *admin)


def _order(row: Mapping[str, Any]) -> int:
    return int(row.get("order_nr") or 0)


def _label(row: Mapping[str, Any], pipelines: Mapping[Any, Mapping[str, Any]]) -> str:
    if len(pipelines) == 1:
        return str(row["name"])
    return f"{pipelines[row['pipeline_id']]['name']}: {row['name']}"
