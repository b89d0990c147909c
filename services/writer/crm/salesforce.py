"""The write side of Salesforce: eight calls from one table, each sent at most once.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_update_fields.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, ClassVar, Final, Self

from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.sending import Sender, confirm
from shared.crm.accounts import Account
from shared.crm.reader import COMMON_FIELDS
from shared.crm.salesforce_connection import (
    OPEN_TYPES,
    PEOPLE,
    SOBJECTS,
    Connection,
    connect,
    cursor_of,
    field_option,
    judged,
    mark_in,
    marked,
    rights_of,
)
from shared.crm.salesforce_history import about
from shared.crm.salesforce_people import NAMES
from shared.crm.salesforce_soql import Row, instant, quoted, select
from shared.crm.transport import Answer, understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError, CRMUnavailable, Rejected, Unavailable

# Of one answer, at some thousand rows each.
MOST_PAGES: Final = 50
# Everything that this product can ever ask of Salesforce with its write credential.
ALLOWED = frozenset(
    {
        ("GET", "/sobjects"),
        ("GET", "/query"),
        ("GET", "/queryAll"),
        ("GET", "/query/{cursor}"),
        ("PATCH", "/sobjects/{object}/{id}"),
        ("PATCH", "/sobjects/{object}/{field}/{id}"),
        ("POST", "/sobjects/{object}"),
        ("POST", "/sobjects/Task"),
    }
)
# Never written, whatever the policy and the user's rights say: money, owner, consent, rights,
# stage, and what the CRM keeps itself.
CLOSED = frozenset(
    {
        "Amount", "AnnualRevenue", "ContractId", "CurrencyIsoCode", "ExpectedRevenue",
        "Pricebook2Id", "Probability", "TotalOpportunityQuantity",
        "OwnerId", "RecordTypeId",
        "DoNotCall", "HasOptedOutOfEmail", "HasOptedOutOfFax", "IndividualId",
        "ForecastCategory", "ForecastCategoryName", "IsClosed", "IsConverted", "IsWon",
        "StageName", "Status",
        "ConvertedAccountId", "ConvertedContactId", "ConvertedOpportunityId", "CreatedById",
        "CreatedDate", "Id", "IsDeleted", "LastModifiedById", "LastModifiedDate",
        "MasterRecordId", "SystemModstamp", "attributes",
    }
)  # fmt: skip
_CLOSED_IN_ANY_CASE: Final = frozenset(map(str.lower, CLOSED))
# A name and nothing that could reach into another record.
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
# For how long a person that we made is looked for where no field of its own names the change.
LOOK_BACK_DAYS: Final = 30
_MADE: Final = "Id, MasterRecordId"
# What Salesforce itself writes where a lead has no company.
NO_COMPANY: Final = "[not provided]"
DEFAULT_TIMEOUT: Final = 10.0
# Else the assignment rules of leads and cases might give an updated record to another owner.
_NO_ASSIGNMENT: Final = {"Sforce-Auto-Assign": "FALSE"}


class SalesforceWriter:
    """Writes as an integration user without the right to delete.

    Every write raises `Rejected` (`NotFound`, `StaleRecord`) where the CRM refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say; then `find` tells of notes and people.
    """

    vendor = "salesforce"
    is_conditional: ClassVar[bool] = True
    marks_updates: ClassVar[bool] = False
    problem: ClassVar[str | None] = None

    def __init__(self, connection: Connection, account: Account, *, timeout: float) -> None:
        self._connection = connection
        self._sender = Sender(
            connection.base_url,
            connection.authorization,
            ALLOWED,
            timeout=timeout,
            pace=connection.pace,
            judge=_judged,
            heed=connection.heed,
        )
        self._people = account.options.get("create_as", "leads")
        if self._people not in PEOPLE:
            known = " or ".join(PEOPLE)
            raise ConfigurationError(f"the CRM account [{account.name}]: create_as is {known}")
        self._mark_field = field_option(account, "mark_field")
        self._note_status = account.options.get("note_status", "Completed")
        self._task_status = account.options.get("task_status", "Not Started")

    @classmethod
    def of(cls, account: Account) -> Self:
        timeout = account.number("timeout", DEFAULT_TIMEOUT)
        return cls(connect(account, timeout), account, timeout=timeout)

    @property
    def crm(self) -> str:
        return self._connection.crm

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,  # noqa: ARG002 - an update cannot carry it: the caller reads back instead
        version: str | None = None,
    ) -> None:
        """Set these fields; with ``version`` (its LastModifiedDate) only while nobody else has.

        The CRM compares whole seconds: an edit within the second of the version is not seen.
        """
        sobject = self._connection.sobject(ref)
        if ref.type not in OPEN_TYPES:
            raise Rejected(f"{ref.type} are not written by this product")
        _require_open(fields)
        answer = self._sender.write(
            "PATCH",
            "/sobjects/{object}/{id}",
            dict(fields),
            headers=_NO_ASSIGNMENT | _condition(version),
            object=sobject,
            id=ref.id,
        )
        confirm(lambda: answer.status, 204)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """A completed task on the record, whose subject carries the change; added once."""
        parent = self._parent(ref)
        if self._note(change_id) is not None:
            return
        self._add(
            {
                parent: ref.id,
                "Subject": marked(change_id),
                "Description": text,
                "Status": self._note_status,
            }
        )

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change, deleted ones as well."""
        self._parent(ref)
        row = self._note(change_id)
        return None if row is None else str(row["Description"] or "")

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """An open task on the record, whose description carries the change; added once."""
        parent = self._parent(ref)
        if self.task(ref, change_id=change_id) is not None:
            return
        self._add(
            {
                parent: ref.id,
                "Subject": subject,
                "Description": marked(change_id),
                "ActivityDate": due,
                "Status": self._task_status,
            }
        )

    @understood()
    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """Looked for among what this user has made for the record, deleted ones as well."""
        where = f"{self._parent(ref)} = {quoted(ref.id)} AND {self._ours()}"
        for row in self._ask("Subject, Description, ActivityDate", SOBJECTS["tasks"], where):
            if row["Description"] and row["Description"].strip() == marked(change_id):
                return {"subject": row["Subject"], "due": row["ActivityDate"]}
        return None

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new lead (or contact, by ``create_as``) from our words for its fields.

        With ``mark_field`` the CRM itself knows a change that it has seen, and makes no second.
        """
        sobject, body = PEOPLE[self._people], _person(self._people, fields, change_id)
        if self._mark_field is None:
            answer = self._sender.write("POST", "/sobjects/{object}", body, object=sobject)
            return self._ref(_id_of(answer, {201}))
        answer = self._sender.write(
            "PATCH",
            "/sobjects/{object}/{field}/{id}",
            body,
            params={"updateOnly": "false"},
            object=sobject,
            field=self._mark_field,
            id=change_id,
        )
        return self._ref(_id_of(answer, {200, 201}))

    @understood()
    def find(self, change_id: str) -> RecordRef | None:
        """The person that this change made, or the record that it put a note on.

        Deleted ones count as well: what a person took away again was made; of one that was merged
        into another, the other. Raises `CRMUnavailable`.
        """
        if (made := self._made(change_id)) is not None:
            return made
        note = self._note(change_id)
        return None if note is None else about(note, self.crm)

    @understood()
    def scopes(self) -> tuple[str, ...]:
        """The rights on objects, by the CRM's own word: ``contacts:update``."""
        return rights_of(self._object("/sobjects")["sobjects"])

    def _made(self, change_id: str) -> RecordRef | None:
        if self._mark_field is not None:
            is_it = f"{self._mark_field} = {quoted(change_id)}"
            rows = self._ask(_MADE, PEOPLE[self._people], is_it)
            return next(map(self._survivor, rows), None)
        # A description cannot be asked for by what it holds; what this user made can.
        rows = self._ask(f"{_MADE}, Description", PEOPLE[self._people], self._ours())
        found = (row for row in rows if mark_in(row["Description"]) == change_id)
        return next(map(self._survivor, found), None)

    @understood()
    def _note(self, change_id: str) -> Row | None:
        where = f"Subject = {quoted(marked(change_id))}"
        rows = self._ask("WhoId, WhatId, Description", SOBJECTS["tasks"], where)
        return rows[0] if rows else None

    def _ours(self) -> str:
        user = quoted(self._connection.login.user())
        return f"CreatedById = {user} AND CreatedDate = LAST_N_DAYS:{LOOK_BACK_DAYS}"

    def _parent(self, ref: RecordRef) -> str:
        """The field by which a task names the record. Raises `Rejected`."""
        self._connection.sobject(ref)
        if ref.type not in OPEN_TYPES:
            raise Rejected(f"{ref.type} get no notes of this product")
        return "WhoId" if ref.type in PEOPLE else "WhatId"

    def _add(self, task: Mapping[str, Scalar]) -> None:
        _id_of(self._sender.write("POST", "/sobjects/Task", task), {201})

    def _survivor(self, row: Row) -> RecordRef:
        return self._ref(row["MasterRecordId"] or row["Id"])

    def _ref(self, id_: str) -> RecordRef:
        return RecordRef(crm=self.crm, type=self._people, id=id_)

    def _ask(self, fields: str, source: str, where: str) -> list[Row]:
        page = self._object("/queryAll", params={"q": select(fields, source, where)})
        rows: list[Row] = list(page["records"])
        for _ in range(MOST_PAGES):
            if (cursor := cursor_of(page)) is None:
                return rows
            page = self._object("/query/{cursor}", cursor=cursor)
            rows += page["records"]
        raise CRMUnavailable("the CRM's answer has no end")

    def _object(self, template: str, **more: Any) -> dict[str, Any]:
        answer = self._sender.read("GET", template, **more)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable("the CRM answered 200 without a JSON object")
        return answer.data


def _judged(answer: Answer) -> Rejected | Unavailable | None:
    return StaleRecord(answer.reason) if answer.status == 412 else judged(answer)


def _require_open(fields: Mapping[str, Scalar]) -> None:
    for name in fields:
        # The CRM takes names in any case.
        if name.lower() in _CLOSED_IN_ANY_CASE or not _FIELD.fullmatch(name):
            raise Rejected(f"{name} is never written by this product")
    if not fields:
        raise Rejected("there is nothing to write")


def _condition(version: str | None) -> dict[str, str]:
    """The stamp of a reading as HTTP writes times. Raises `Rejected` for what is none."""
    if version is None:
        return {}
    try:
        when: datetime = instant(version)
    except ValueError as error:
        raise Rejected("the version is no LastModifiedDate") from error
    return {"If-Unmodified-Since": format_datetime(when.replace(microsecond=0), usegmt=True)}


def _person(people: str, values: Mapping[str, Scalar], change_id: str) -> dict[str, Scalar]:
    """The CRM's fields; what it has no field for stands in the description, above the mark."""
    if unknown := sorted(set(values) - set(COMMON_FIELDS)):
        raise Rejected(f"a new person has no {', '.join(unknown)}")
    names = NAMES[people]
    known = {names[word]: value for word, value in values.items() if word in names}
    if people == "leads" and not known.get("Company"):
        known["Company"] = NO_COMPANY
    rest = [f"{word}: {value}" for word, value in values.items() if word not in names and value]
    return {**known, "Description": "\n".join([*rest, marked(change_id)])}


def _id_of(answer: Answer, expected: set[int]) -> str:
    """The id in an answer that says that the record was made. Raises `OutcomeUnknown`."""
    confirm(lambda: (answer.status in expected, answer.data["success"]), (True, True))
    made = answer.data.get("id")
    if not isinstance(made, str) or not made.isalnum():
        raise OutcomeUnknown("the CRM's answer names no record")
    return made
