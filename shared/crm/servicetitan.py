"""The read side of ServiceTitan: customers, leads, bookings and jobs of one tenant.

https://developer.servicetitan.io/docs: CRM v2 and JPM v2. Lists have ``page``, ``pageSize`` and
``hasMore``; e-mail addresses and phone numbers are contacts of a customer or booking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar, Final, Self

from shared.crm.accounts import Account
from shared.crm.client import Client
from shared.crm.duplicates import likely_duplicates
from shared.crm.finding import candidates_by, first_found
from shared.crm.kept import Kept, expect
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.reader import MOST_SAMPLED
from shared.crm.servicetitan_account import (
    CRM_PATH,
    JOBS_PATH,
    RECORDS,
    Tenant,
    judged_reading,
    require_record,
)
from shared.crm.servicetitan_contacts import ContactIndex, contact_key
from shared.crm.servicetitan_fields import (
    CONTACTS,
    CUSTOM,
    NAMES,
    STAGES,
    WITH_CONTACTS,
    WITH_CUSTOM,
    WRITTEN_CUSTOM,
    custom_field,
    fixed_fields,
)
from shared.crm.servicetitan_history import WITH_NOTES, happenings, instant
from shared.crm.transport import path_of, scalar, understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now, rfc3339
from shared.errors import CRMUnavailable, NotFound

PAGE_SIZE: Final = 200
MOST_PAGES: Final = 20
SAMPLED_WITH_CONTACTS: Final = 25
# Fewer digits are an extension, and would find strangers.
FEWEST_DIGITS: Final = 7
PROVIDED: Final = CRM_PATH + "/booking-provider/{provider}/bookings"
CUSTOM_FIELDS: Final = {
    "customers": CRM_PATH + "/customers/custom-fields",
    "jobs": JOBS_PATH + "/jobs/custom-fields",
}


class ServiceTitanReader:
    """Reads with an app that has View scopes only. ``timeout`` is in seconds, for an exchange.

    ``custom_fields`` says whether the tenant's own fields may be written (`TAKEN` says the rest).
    """

    people = "customers"
    object_types = tuple(RECORDS)
    problem: ClassVar[str | None] = None
    names: ClassVar[Mapping[str, str]] = {
        "email": "email",
        "phone": "phone",
        "address": "address.street",
        "city": "address.city",
        "postal_code": "address.zip",
    }
    # A booking is found again by its ``externalId``; that the vendor refuses a second one with the
    # same is said nowhere, so no create counts as idempotent.
    capabilities: ClassVar[Capabilities] = Capabilities(
        notes=WITH_NOTES, tasks=("customers", "jobs")
    )

    def __init__(
        self,
        account: Account,
        *,
        timeout: float,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.crm = account.name
        self._tenant = Tenant(account, timeout=timeout)
        self._provider = account.digits("booking_provider")
        self._custom_is_open = account.options.get("custom_fields") == "merge"
        self._client = Client(
            self._tenant.url,
            self._tenant.authorization,
            timeout=timeout,
            pace=self._tenant.pace,
            judge=judged_reading,
        )
        self._clock = clock
        self._contacts = ContactIndex(self._get)
        self._fields = Kept(self._described)

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        return cls(account, timeout=timeout)

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, with its first e-mail address and number where it has contacts."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        found = self._reading(ref.type, self._get(RECORDS[ref.type], id=ref.id))
        expect(self._fields, ref.type, (name for name in found.fields if name.startswith(CUSTOM)))
        return found

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """What changed last; with e-mail and phone the first few alone: they are a call for each.

        https://developer.servicetitan.io/docs: CRM v2 and JPM v2, lists with ``sort``
        """
        if object_type not in RECORDS:
            raise NotFound(f"ServiceTitan has no {object_type}")
        path = RECORDS[object_type].removesuffix("/{id}")
        rows = islice(self._rows(path, {"sort": "-ModifiedOn"}), limit)
        alive = [row for row in rows if not _is_merged(row)]
        whole = [self._reading(object_type, row) for row in alive[:SAMPLED_WITH_CONTACTS]]
        rest = [self._reading(object_type, row, []) for row in alive[SAMPLED_WITH_CONTACTS:]]
        return [*whole, *(_without_contacts(one) for one in rest)]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes, a customer's leads and jobs, a job's events; the newest first."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        items = happenings(ref, self._get, self._rows)
        return tuple(sorted(items, key=lambda item: item.at, reverse=True))

    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Nothing: ServiceTitan keeps no history of fields."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        return []

    @understood()
    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Customers by e-mail or phone, bookings by external id, jobs by their number."""
        return first_found(
            (
                (email, self._by_email),
                (phone, self._by_phone),
                (external_id, self._by_external_id),
                (order_number, self._by_job_number),
            )
        )

    @understood()
    def candidates(self, text: str) -> list[Candidate]:
        """Records by what a person typed: address, phone, external id or job number."""
        ways = (
            ("email", self._by_email),
            ("phone", self._by_phone),
            ("external id", self._by_external_id),
            ("order number", self._by_job_number),
        )
        return candidates_by(text, ways) if text.strip() else []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The vendor's fields by the fixed table, the tenant's own by its metadata."""
        if object_type not in RECORDS:
            raise NotFound(f"ServiceTitan has no {object_type}")
        return dict(self._fields.get(object_type))

    def doubt_fields(self, object_type: str) -> None:
        self._fields.doubt(object_type)

    def stages(self) -> dict[str, dict[str, str]]:
        """The states that the vendor fixes for everybody; none can be set as a field."""
        return {type_: {name: name for name in names} for type_, names in STAGES.items()}

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Customers with the same e-mail or phone, or of the very same name."""
        known: dict[RecordRef, Reading] = {}
        for key, find in (("email", self._by_email), ("phone", self._by_phone)):
            for one in find(str(fields[key])) if fields.get(key) else ():
                known[one.ref] = one
        found = likely_duplicates(fields, [(one, _in_our_words(one)) for one in known.values()])
        reasons = {one.ref: (one, why) for one, why in found}
        for one in self._by_name(_name_of(fields)):
            reasons.setdefault(one.ref, (one, "same name"))
        return [
            Candidate(record=ref, title=one.title, why=why) for ref, (one, why) in reasons.items()
        ]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Bookings that came through our provider; the CRM names nobody for anything else."""
        if not self._provider:
            return []
        params = {"createdOnOrAfter": rfc3339(since), "sort": "+CreatedOn"}
        rows = self._rows(PROVIDED, params, provider=self._provider)
        return [self._made_by_us(row) for row in rows]

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, as its answer said; empty where it said nothing."""
        return self._tenant.scopes()

    def _by_email(self, text: str) -> list[Reading]:
        return self._having(contact_key(text), "email") if "@" in text else []

    def _by_phone(self, text: str) -> list[Reading]:
        key = contact_key(text)
        return self._having(key, "phone") if len(key) >= FEWEST_DIGITS and "@" not in key else []

    def _having(self, key: str, field: str) -> list[Reading]:
        """Read anew, so that a contact that the feed has not taken back yet finds nobody."""
        found = []
        for id_ in self._contacts.customers(key):
            try:
                row = self._get(RECORDS["customers"], id=id_)
            except NotFound:
                continue  # Gone since the feed told of it.
            contacts = list(self._contacts_of("customers", id_))
            if not _is_merged(row) and key in _keys(contacts, field):
                found.append(self._reading("customers", row, contacts))
        return found

    def _by_external_id(self, text: str) -> list[Reading]:
        rows = self._rows(CRM_PATH + "/bookings", {"externalId": text})
        return [self._reading("bookings", row) for row in rows if row["externalId"] == text]

    def _by_job_number(self, text: str) -> list[Reading]:
        rows = self._rows(JOBS_PATH + "/jobs", {"number": text})
        return [self._reading("jobs", row) for row in rows if row["jobNumber"] == text]

    def _by_name(self, name: str) -> list[Reading]:
        if not name:
            return []
        rows = self._rows(CRM_PATH + "/customers", {"name": name, "active": "True"})
        return [
            self._reading("customers", row)
            for row in rows
            if not _is_merged(row) and _plain(row["name"]) == _plain(name)
        ]

    def _reading(
        self, type_: str, row: Mapping[str, Any], contacts: list[Mapping[str, Any]] | None = None
    ) -> Reading:
        if _is_merged(row):
            raise NotFound(f"this customer was merged into {row['mergedToId']}")
        id_ = str(row["id"])
        # An optional member is left out or ``null``: both say that there is nothing.
        fields: dict[str, Scalar] = dict.fromkeys(NAMES[type_]) | dict(_flat(row))
        if type_ in WITH_CONTACTS:
            known = list(self._contacts_of(type_, id_)) if contacts is None else contacts
            fields |= {name: first_contact(known, name) for name in CONTACTS}
        elif row.get("customerId") is not None:
            fields["contact_id"] = str(row["customerId"])
        return Reading(
            ref=RecordRef(crm=self.crm, type=type_, id=id_),
            title=_title(type_, row),
            fields=fields,
            version=str(row["modifiedOn"]),
            read_at=self._clock(),
            url=_link(row),
        )

    def _contacts_of(self, type_: str, id_: str) -> Iterator[Mapping[str, Any]]:
        return self._rows(RECORDS[type_] + "/contacts", {}, id=id_)

    def _described(self, object_type: str) -> Mapping[str, FieldMeta]:
        found = fixed_fields(object_type)
        if object_type in WITH_CUSTOM:
            for row in self._rows(CUSTOM_FIELDS[object_type], {}):
                is_writable = self._custom_is_open and object_type in WRITTEN_CUSTOM
                field = custom_field(row, is_writable=is_writable)
                found[field.name] = field
        return found

    def _made_by_us(self, row: Mapping[str, Any]) -> CrmChange:
        return CrmChange(
            ref=RecordRef(crm=self.crm, type="bookings", id=str(row["id"])),
            kind="created",
            field=None,
            old=None,
            new=None,
            at=instant(row["createdOn"]),
            by=f"booking provider {self._provider}",
            change_id=str(row["externalId"]),
        )

    def _rows(
        self, template: str, params: Mapping[str, str], **ids: str
    ) -> Iterator[Mapping[str, Any]]:
        """Every row of a list. Raises `CRMUnavailable` for one that does not end."""
        for number in range(1, MOST_PAGES + 1):
            asked = {**params, "page": str(number), "pageSize": str(PAGE_SIZE)}
            page = self._get(template, asked, **ids)
            yield from page["data"]
            if not page["hasMore"]:
                return
        raise CRMUnavailable("the list is too long to be read whole")

    def _get(
        self, template: str, params: Mapping[str, str] | None = None, **ids: str
    ) -> Mapping[str, Any]:
        answer = self._client.get(path_of(template, tenant=self._tenant.id, **ids), params)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return answer.data


def first_contact(rows: list[Mapping[str, Any]], field: str) -> str | None:
    """The value of the oldest contact of that kind: the one that an update would set."""
    row = contact_row(rows, field)
    return None if row is None else str(row["value"])


def contact_row(rows: list[Mapping[str, Any]], field: str) -> Mapping[str, Any] | None:
    """The oldest contact of that kind, as the CRM numbers them."""
    return min(
        (row for row in rows if row["type"] in CONTACTS[field]),
        key=lambda row: int(row["id"]),
        default=None,
    )


def _without_contacts(reading: Reading) -> Reading:
    """Nobody asked for them: they are not empty but unknown."""
    fields = {name: value for name, value in reading.fields.items() if name not in CONTACTS}
    return replace(reading, fields=fields)


def _keys(contacts: list[Mapping[str, Any]], field: str) -> set[str]:
    return {contact_key(row["value"]) for row in contacts if row["type"] in CONTACTS[field]}


def _is_merged(row: Mapping[str, Any]) -> bool:
    """Ids begin at 1: a zero is no customer to be merged into."""
    return bool(row.get("mergedToId"))


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    """One scalar per name: the parts of an address and the tenant's own fields by their ids."""
    for name, value in row.items():
        if name == "address":
            yield from ((f"address.{part}", scalar(one)) for part, one in (value or {}).items())
        elif name == "customFields":
            own = ((f"{CUSTOM}{one['typeId']}", one.get("value")) for one in value or ())
            yield from ((field, scalar(one)) for field, one in own)
        else:
            yield name, scalar(value)


def _title(type_: str, row: Mapping[str, Any]) -> str:
    if type_ == "jobs":
        return f"Job {row['jobNumber']}"
    if type_ == "leads":
        return str(row.get("summary") or "")[:80] or f"Lead {row['id']}"
    return str(row["name"])


def _link(row: Mapping[str, Any]) -> str | None:
    url = row.get("leadUrl")
    return url if isinstance(url, str) and url.startswith("https://") else None


def _in_our_words(reading: Reading) -> dict[str, Scalar]:
    return {ours: reading.fields.get(name) for ours, name in ServiceTitanReader.names.items()}


def _name_of(fields: Mapping[str, Scalar]) -> str:
    parts = (str(fields.get(name) or "").strip() for name in ("first_name", "last_name"))
    return " ".join(part for part in parts if part)


def _plain(name: object) -> str:
    return " ".join(str(name).casefold().split())
