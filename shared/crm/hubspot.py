"""The read side of HubSpot: contacts, companies, deals and tickets, asked with a reading key.

https://developers.hubspot.com/docs/api-reference/latest/overview
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from shared.crm import hubspot_fields, hubspot_history, hubspot_ours, hubspot_search
from shared.crm.accounts import Account
from shared.crm.duplicates import likely_duplicates
from shared.crm.finding import candidates_by, first_found
from shared.crm.hubspot_access import Access
from shared.crm.hubspot_fields import TYPES
from shared.crm.hubspot_history import ACTIVITIES, AT
from shared.crm.hubspot_objects import Objects, Row
from shared.crm.hubspot_search import Filters, national_digits
from shared.crm.kept import Kept
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.reader import MOST_SAMPLED
from shared.crm.transport import understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now
from shared.errors import ConfigurationError, NotFound, Rejected
from shared.values import email_key

PEOPLE = "contacts"
# The newest of each kind that a history tells.
MOST_ACTIVITIES = 100
_WITH_STAGES = ("deals", "tickets")


class HubSpotReader:
    """Reads with a key that needs no right to write. ``timeout``: seconds, for a whole exchange.

    Every method raises `NotFound` where there is no such record, `Rejected` where HubSpot refuses
    the question or the token, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    Values are HubSpot's own strings; an empty one is ``None``.
    """

    people = PEOPLE
    problem: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        idempotent_create=True,
        field_history=True,
        writable_stage=True,
        notes=("contacts", "companies", "deals"),
        tasks=("contacts", "companies", "deals"),
    )

    def __init__(
        self, account: Account, *, timeout: float, clock: Callable[[], datetime] = now
    ) -> None:
        self.crm = account.name
        self.names = hubspot_fields.names_of(account)
        self.object_types = _types(account)
        self._access = Access(account, timeout=timeout)
        self._objects = Objects(self._access)
        self._clock = clock
        options = account.options
        self._region = options.get("region") or None
        self._mark = options.get("mark_property") or None
        self._own_app = options.get("own_app") or None
        self._id_property = options.get("external_id_property") or None
        self._order_property = options.get("order_property") or None
        has_mails = options.get("mails") == "yes"
        self._kinds = tuple(kind for kind in ACTIVITIES if kind != "emails" or has_mails)
        self._fields = Kept(self._read_fields)
        self._stages = Kept(self._read_stages)
        self._people = Kept(self._read_people)

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        return cls(account, timeout=timeout)

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history."""
        self._require(ref)
        names = self._shown(ref.type)
        return self._reading(ref.type, self._objects.one(ref.type, ref.id, names), names)

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """What changed last, by HubSpot's index, with the properties that a reading shows.

        https://developers.hubspot.com/docs/api-reference/search/guide
        """
        names = self._shown(self._known(object_type))
        modified = hubspot_ours.modified_of(object_type)
        rows = self._objects.newest(object_type, names, limit, by=modified)
        return [self._reading(object_type, row, names) for row in rows]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """The newest notes, tasks, calls, meetings, mails and deals, and every field's changes."""
        self._require(ref)
        kinds = [kind for kind in self._kinds if kind != ref.type and self._is_open(kind)]
        row = self._objects.one(ref.type, ref.id, (), links=kinds)
        stages = {id_: label for labels in self.stages().values() for id_, label in labels.items()}
        items = [hubspot_history.in_words(one, stages) for one in self.field_changes(ref)]
        for kind in kinds:
            ids = sorted(self._objects.linked(row, ref.type, kind), key=int)[-MOST_ACTIVITIES:]
            rows = self._objects.batch(kind, ids, (*ACTIVITIES[kind][1], AT)) if ids else []
            items += [hubspot_history.activity(kind, one, stages) for one in rows]
        return tuple(sorted(items, key=lambda item: item.at, reverse=True))

    @understood()
    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field that people keep, the newest first."""
        self._require(ref)
        rows = self._objects.batch(ref.type, [ref.id], (), history=self._kept_by_people(ref.type))
        if not rows:
            raise NotFound(f"HubSpot has no {ref.type} {ref.id}")
        found = hubspot_history.versions(ref, rows[0], self._name_of)
        return sorted(found, key=lambda change: change.at, reverse=True)

    @understood()
    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Every contact (or deal, by its order number) found by the first of these that finds any.

        A contact's first e-mail address and its external id are looked up as they are now, the
        others in HubSpot's index, which learns of a change some seconds later.
        """
        return first_found(
            (
                (email, self._by_email),
                (phone, self._by_phone),
                (external_id, self._by_external_id),
                (order_number, self._by_order_number),
            )
        )

    @understood()
    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, external, order or HubSpot's own number."""
        ways = (
            ("email", self._by_email),
            ("phone", self._by_phone),
            ("external id", self._by_external_id),
            ("order number", self._by_order_number),
            ("record id", self._by_record_id),
        )
        return candidates_by(text, ways)

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The properties of an object type, by name, as they were some minutes ago at most."""
        return dict(self._fields.get(self._known(object_type)))

    def doubt_fields(self, object_type: str) -> None:
        self._fields.doubt(object_type)

    @understood()
    def stages(self) -> dict[str, dict[str, str]]:
        """Per object type the stages in their order, from id to label."""
        return {type_: self._stages.get(type_) for type_ in _WITH_STAGES if self._is_open(type_)}

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Contacts that a new person with these fields (our words) might repeat, and why."""
        groups = hubspot_search.by_likeness(fields, self._region)
        found = self._found(groups) if groups else []
        if address := email_key(str(fields.get("email") or "")):
            found += self._by_unique(address, "email")
        known = {one.ref: one for one in found}
        likely = likely_duplicates(
            self._comparable(fields),
            (
                (
                    one,
                    self._comparable(
                        {ours: one.fields.get(its) for ours, its in self.names.items()}
                    ),
                )
                for one in known.values()
            ),
        )
        return [_candidate(one, why) for one, why in likely]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything that the app ``own_app`` did at or after ``since``, the oldest first.

        Raises `Rejected` where the account does not name that app, or where so many records were
        changed that HubSpot's search (10,000) does not give them all.
        """
        if self._own_app is None:
            raise Rejected(
                f"the CRM account [{self.crm}] names no own_app: nobody knows our writes"
            )
        ours = hubspot_ours.Ours(self._objects, self.crm, self._own_app, self._mark)
        found = ours.notes(self.object_types, since)
        for type_ in self.object_types:
            found += ours.records(type_, self._kept_by_people(type_), since)
        return sorted(found, key=lambda change: change.at)

    @understood()
    def scopes(self) -> tuple[str, ...]:
        """What the token may do; ``unknown`` of a service key, whose scopes HubSpot hides."""
        return self._access.scopes()

    def _by_email(self, text: str) -> list[Reading]:
        """By the record store first, by the index for a contact's other addresses."""
        if (address := email_key(text)) is None:
            return []
        return self._by_unique(address, "email") or self._found(
            hubspot_search.by_email(address),
            lambda properties: hubspot_search.has_email(properties, address),
        )

    def _by_phone(self, text: str) -> list[Reading]:
        if "@" in text or not (groups := hubspot_search.by_phone(text, self._region)):
            return []
        return self._found(
            groups, lambda properties: hubspot_search.has_phone(properties, text, self._region)
        )

    def _by_external_id(self, text: str) -> list[Reading]:
        return self._by_unique(text, self._id_property) if self._id_property else []

    def _by_record_id(self, text: str) -> list[Reading]:
        is_id = text.isascii() and text.isdigit() and len(text) <= 20
        return self._by_unique(text, None) if is_id else []

    def _by_unique(self, text: str, name: str | None) -> list[Reading]:
        names = self._shown(PEOPLE)
        rows = self._objects.batch(PEOPLE, [text], names, by=name)
        return [self._reading(PEOPLE, row, names) for row in rows]

    def _by_order_number(self, text: str) -> list[Reading]:
        """Deals, each with the contact it is linked to, where it is one."""
        if not self._order_property or not self._is_open("deals"):
            return []
        names = self._shown("deals")
        groups = hubspot_search.equal(self._order_property, text)
        rows = self._objects.search("deals", groups, names)
        links = self._objects.links("deals", [str(row["id"]) for row in rows], PEOPLE)
        return [self._reading("deals", row, names, links[str(row["id"])]) for row in rows]

    def _found(
        self, groups: Filters, is_meant: Callable[[Mapping[str, Any]], bool] = lambda _: True
    ) -> list[Reading]:
        names = self._shown(PEOPLE)
        asked = (*names, hubspot_fields.OTHER_ADDRESSES)
        rows = self._objects.search(PEOPLE, groups, asked)
        return [self._reading(PEOPLE, row, names) for row in rows if is_meant(row["properties"])]

    def _reading(
        self, object_type: str, row: Row, names: Iterable[str], contacts: list[str] | None = None
    ) -> Reading:
        properties = row["properties"]
        fields = {name: hubspot_history.value_of(properties.get(name)) for name in names}
        if contacts is not None and len(contacts) == 1:
            fields["contact_id"] = contacts[0]
        id_ = str(row["id"])
        return Reading(
            ref=RecordRef(crm=self.crm, type=object_type, id=id_),
            title=hubspot_fields.title_of(object_type, properties, id_),
            fields=fields,
            version=str(row["updatedAt"]),
            read_at=self._clock(),
            url=row.get("url"),
        )

    def _comparable(self, fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """With the phone number as digits that every spelling shares."""
        number = fields.get("phone")
        digits = national_digits(str(number), self._region) if number else None
        return {**fields, "phone": digits}

    def _shown(self, object_type: str) -> tuple[str, ...]:
        return hubspot_fields.shown(self._fields.get(object_type))

    def _kept_by_people(self, object_type: str) -> tuple[str, ...]:
        fields = self._fields.get(object_type)
        shown = hubspot_fields.shown(fields)
        return tuple(name for name in shown if not fields[name].read_only)

    def _read_fields(self, object_type: str) -> Mapping[str, FieldMeta]:
        rows = self._objects.properties(object_type)
        return {row["name"]: hubspot_fields.field_of(row, self._mark) for row in rows}

    def _read_stages(self, object_type: str) -> dict[str, str]:
        return hubspot_fields.stages_of(self._objects.pipelines(object_type))

    def _read_people(self, _: str) -> Mapping[str, str]:
        """By user id; empty where the key may not read the owners."""
        try:
            return {
                str(row["userId"]): hubspot_fields.person_of(row)
                for row in self._objects.owners()
                if row.get("userId")
            }
        except Rejected:
            return {}

    def _name_of(self, user: str) -> str:
        return self._people.get("owners").get(user, f"user {user}")

    def _is_open(self, kind: str) -> bool:
        return kind not in TYPES or kind in self.object_types

    def _known(self, object_type: str) -> str:
        if object_type not in self.object_types:
            raise NotFound(f"the account [{self.crm}] opens no {object_type}")
        return object_type

    def _require(self, ref: RecordRef) -> None:
        if ref.crm != self.crm:
            raise NotFound(f"the account [{self.crm}] has no {ref}")
        self._known(ref.type)


def _types(account: Account) -> tuple[str, ...]:
    """The object types that the account opens. Raises `ConfigurationError` for an unknown one."""
    text = account.options.get("objects", ",".join(TYPES))
    types = tuple(part.strip() for part in text.split(","))
    if PEOPLE not in types or not set(types) <= set(TYPES):
        raise ConfigurationError(
            f"the CRM account [{account.name}]: objects are contacts and more of {', '.join(TYPES)}"
        )
    return types


def _candidate(reading: Reading, why: str) -> Candidate:
    return Candidate(record=reading.ref, title=reading.title, why=why)
