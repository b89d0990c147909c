"""The read side of Salesforce: GET and nothing else, as an integration user who may only read.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_retrieve_get.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from shared.crm.accounts import Account
from shared.crm.client import Client
from shared.crm.finding import candidates_by, first_found
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta, keeping
from shared.crm.reader import MOST_SAMPLED
from shared.crm.salesforce_connection import (
    OPEN_TYPES,
    PEOPLE,
    SOBJECTS,
    Connection,
    connect,
    cursor_of,
    field_option,
    is_same_id,
    judged,
    ref_of,
    rights_of,
)
from shared.crm.salesforce_history import changes_by, changes_of, told
from shared.crm.salesforce_metadata import STAGES, Descriptions
from shared.crm.salesforce_people import (
    LONGEST,
    MOST,
    NAMES,
    SHORTEST_NUMBER,
    alike,
    has_number,
    people_where,
    with_email,
    with_number,
)
from shared.crm.salesforce_soql import Row, quoted, select
from shared.crm.transport import path_of, scalar, understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now
from shared.errors import CRMUnavailable, NotFound

MOST_PAGES = 50
_TITLES = ("Name", "Subject", "CaseNumber", "Id")
# What is no person and names its person in one of these.
_PERSON_OF = {
    "cases": "ContactId",
    "opportunities": "ContactId",
    "tasks": "WhoId",
    "events": "WhoId",
}
_CONTACT_PREFIX = "003"


class SalesforceReader:
    """Reads as a user who cannot write.

    Every method raises `NotFound` where there is no such record, `Rejected` where the CRM refuses
    the question or the user, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    """

    vendor = "salesforce"
    people = "contacts"
    object_types = ("contacts", "leads", *(name for name in SOBJECTS if name not in PEOPLE))
    problem: ClassVar[str | None] = None
    names: ClassVar[Mapping[str, str]] = NAMES["contacts"]

    def __init__(
        self,
        connection: Connection,
        account: Account,
        *,
        timeout: float,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._connection = connection
        self._client = Client(
            connection.base_url,
            connection.authorization,
            timeout=timeout,
            pace=connection.pace,
            judge=judged,
            heed=connection.heed,
        )
        self._descriptions = Descriptions(self._client)
        self._clock = clock
        self._region = account.options.get("region") or None
        self._external_id = field_option(account, "external_id_field")
        self._order_number = field_option(account, "order_number_field")
        self._mark_field = field_option(account, "mark_field")

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        return cls(connect(account, timeout), account, timeout=timeout)

    @property
    def crm(self) -> str:
        return self._connection.crm

    @property
    def capabilities(self) -> Capabilities:
        """Field history is there for the fields for which the organisation has switched it on."""
        return Capabilities(
            conditional_write=True,
            idempotent_create=self._mark_field is not None,
            field_history=True,
            writable_stage=True,
            notes=OPEN_TYPES,
            tasks=OPEN_TYPES,
        )

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history; every field that this user may see."""
        sobject = self._connection.sobject(ref)
        path = path_of("/sobjects/{object}/{id}", object=sobject, id=ref.id)
        row = self._object(path)
        if not is_same_id(row["Id"], ref.id):
            raise CRMUnavailable("the CRM answered with another record")
        return self._reading(row, ref)

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """What changed last, every field that this user may see.

        https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_fields.htm:
        FIELDS(ALL) gives 200 rows at most.
        """
        if object_type not in SOBJECTS:
            raise NotFound(f"Salesforce has no {object_type} here")
        newest = f"ORDER BY LastModifiedDate DESC LIMIT {limit}"
        rows = self._ask(select("FIELDS(ALL)", SOBJECTS[object_type], None, newest))
        return [self._reading(row, self._ref(object_type, row)) for row in rows]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Activities, notes, deals and changes in words, the newest first."""
        self._connection.sobject(ref)
        return tuple(told(self._ask, ref))

    @understood()
    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, the newest first; empty where the history is switched off."""
        self._connection.sobject(ref)
        return changes_of(self._ask, ref)

    @understood()
    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Contacts, live leads and opportunities found by the first of these that finds any."""
        ways = (
            (email, self._by_email),
            (phone, self._by_phone),
            (external_id, self._by_external_id),
            (order_number, self._by_order_number),
        )
        return first_found((key, way) for key, way in ways if key and len(key) <= LONGEST)

    @understood()
    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, external, order or case number, or id."""
        ways = (
            ("email", self._by_email),
            ("phone", self._by_phone),
            ("external id", self._by_external_id),
            ("order number", self._by_order_number),
            ("case number", self._by_case_number),
            ("id", self._by_id),
        )
        return candidates_by(text, ways) if 0 < len(text.strip()) <= LONGEST else []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, as this user sees them."""
        if object_type not in SOBJECTS:
            raise NotFound(f"Salesforce has no {object_type} here")
        return keeping(self._descriptions.fields(SOBJECTS[object_type]), self._mark_field)

    def doubt_fields(self, object_type: str) -> None:
        self._descriptions.doubt(SOBJECTS[object_type])

    @understood()
    def stages(self) -> dict[str, dict[str, str]]:
        """Per object type the stages in their order, from value to label."""
        return {
            type_: self._descriptions.stages(SOBJECTS[type_], field)
            for type_, field in STAGES.items()
        }

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Contacts and live leads that a new person with these fields might repeat, and why."""
        return [
            _candidate(RecordRef(crm=self.crm, type=type_, id=row["Id"]), str(row["Name"]), why)
            for type_, row, why in alike(self._ask, fields, self._phones, self._region)
        ]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything the integration user that writes did at or after ``since``, oldest first.

        That user is ``own_user``; without it the one who reads.
        """
        return changes_by(self._ask, self.crm, self._connection.login.user(), since)

    @understood()
    def scopes(self) -> tuple[str, ...]:
        """The rights on objects, by the CRM's own word: ``contacts:read``."""
        return rights_of(self._object("/sobjects")["sobjects"])

    def _by_email(self, address: str) -> list[Reading]:
        condition = with_email(address) if "@" in address else None
        return self._people(dict.fromkeys(PEOPLE, condition))

    def _by_phone(self, number: str) -> list[Reading]:
        """The CRM finds the digits in this order; what it finds is compared as a number."""
        if sum(map(str.isdigit, number)) < SHORTEST_NUMBER or "@" in number:
            return []
        phones = {type_: self._phones(type_) for type_ in PEOPLE}
        found = self._people(
            {type_: with_number(number, phones[type_], self._region) for type_ in PEOPLE}
        )
        return [
            one
            for one in found
            if has_number(one.fields, number, phones[one.ref.type], self._region)
        ]

    def _by_external_id(self, external_id: str) -> list[Reading]:
        field = self._external_id
        conditions = {
            type_: f"{field} = {quoted(external_id)}"
            for type_ in PEOPLE
            if field and field in self._descriptions.fields(PEOPLE[type_])
        }
        return self._people(conditions)

    def _by_order_number(self, number: str) -> list[Reading]:
        return self._records("opportunities", self._order_number, number)

    def _by_case_number(self, number: str) -> list[Reading]:
        is_number = number.isascii() and number.isdigit()
        return self._records("cases", "CaseNumber" if is_number else None, number)

    def _by_id(self, id_: str) -> list[Reading]:
        ref = ref_of(id_, self.crm)
        try:
            return [self.read(ref)] if ref else []
        except NotFound:
            return []

    def _records(self, type_: str, field: str | None, value: str) -> list[Reading]:
        if field is None:
            return []
        where = f"{field} = {quoted(value)}"
        rows = self._ask(select("FIELDS(ALL)", SOBJECTS[type_], where, f"LIMIT {MOST}"))
        return [self._reading(row, self._ref(type_, row)) for row in rows]

    def _people(self, conditions: Mapping[str, str | None]) -> list[Reading]:
        return [
            self._reading(row, self._ref(type_, row))
            for type_, condition in conditions.items()
            if condition
            for row in people_where(self._ask, type_, condition)
        ]

    def _phones(self, type_: str) -> list[str]:
        return self._descriptions.phones(PEOPLE[type_])

    def _ref(self, type_: str, row: Row) -> RecordRef:
        return RecordRef(crm=self.crm, type=type_, id=row["Id"])

    def _reading(self, row: Row, ref: RecordRef) -> Reading:
        fields = {name: scalar(value) for name, value in row.items() if name != "attributes"}
        person = row.get(_PERSON_OF.get(ref.type, ""))
        if isinstance(person, str) and person.startswith(_CONTACT_PREFIX):
            fields["contact_id"] = person
        return Reading(
            ref=ref,
            title=next(str(row[name]) for name in _TITLES if row.get(name)),
            fields=fields,
            version=row["LastModifiedDate"],
            read_at=self._clock(),
            url=f"{self._connection.site}/lightning/r/{SOBJECTS[ref.type]}/{ref.id}/view",
        )

    def _ask(self, soql: str) -> list[Row]:
        """Every row of the answer, page after page."""
        page = self._object("/query", {"q": soql})
        rows: list[Row] = list(page["records"])
        for _ in range(MOST_PAGES):
            if (cursor := cursor_of(page)) is None:
                return rows
            page = self._object(path_of("/query/{cursor}", cursor=cursor))
            rows += page["records"]
        raise CRMUnavailable("the CRM's answer has no end")

    def _object(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = self._client.get(path, params)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return answer.data


def _candidate(ref: RecordRef, title: str, why: str) -> Candidate:
    return Candidate(record=ref, title=title, why=why)
