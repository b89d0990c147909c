"""The write side of ServiceTitan: closed PATCH bodies, notes, tasks, and bookings for new leads.

https://developer.servicetitan.io/docs: CRM v2, JPM v2, Task Management v2. An unknown key is a 400;
a stage is no field but a call of its own, and none of those is here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self

from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.sending import Sender, confirm
from services.writer.crm.servicetitan_tasks import LISTS, TASKS, Tasks
from shared.crm.accounts import Account
from shared.crm.servicetitan import contact_row
from shared.crm.servicetitan_account import (
    CRM_PATH,
    RECORDS,
    Tenant,
    refusal,
    require_record,
)
from shared.crm.servicetitan_fields import CONTACTS, CUSTOM, WRITTEN_CUSTOM, is_open, type_of
from shared.crm.transport import Answer, understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, now, rfc3339
from shared.errors import CRMUnavailable, Rejected

PROVIDED: Final = CRM_PATH + "/booking-provider/{provider}/bookings"
LEADS: Final = CRM_PATH + "/leads"
CUSTOMER_CONTACTS: Final = RECORDS["customers"] + "/contacts"
PATCHES: Final[Mapping[str, str]] = {
    "customers": RECORDS["customers"],
    "leads": RECORDS["leads"],
    "bookings": PROVIDED + "/{id}",
    "jobs": RECORDS["jobs"],
}
NOTES: Final[Mapping[str, str]] = {
    type_: RECORDS[type_] + "/notes" for type_ in ("customers", "leads", "jobs")
}
# Everything that this product can ever ask of ServiceTitan with its write credential.
ALLOWED: Final = frozenset(
    {
        *(("PATCH", path) for path in PATCHES.values()),
        *((method, path) for path in NOTES.values() for method in ("GET", "POST")),
        ("GET", CUSTOMER_CONTACTS),
        ("POST", CUSTOMER_CONTACTS),
        ("PATCH", CUSTOMER_CONTACTS + "/{contact}"),
        ("GET", PROVIDED),
        ("POST", PROVIDED),
        ("GET", LEADS),
        ("POST", LEADS),
        ("GET", TASKS),
        ("POST", TASKS),
        ("GET", LISTS),
    }
)
PAGE_SIZE: Final = 200
MOST_PAGES: Final = 50
# A change is tried again within the life of its approval, never after this long.
LOOKED_BACK: Final = timedelta(days=30)
# The vendor takes no lead without a reason of a call or a time at which somebody follows it up.
FOLLOWED_UP_AFTER: Final = timedelta(hours=1)
MAY_BE_EMPTY: Final = frozenset({"summary", "customerPo"})
_TAG: Final = re.compile(r"<[A-Za-z/!?]")


class ServiceTitanWriter:
    """Writes with an app that has Modify scopes. ``timeout`` is in seconds, for an exchange.

    One update is one call: what the vendor takes in two calls would be half written when the
    second is lost, so it is refused. New people become bookings of ``booking_provider``, or leads
    of ``campaign_id`` where the tenant has no provider for us.
    """

    is_conditional = False
    marks_updates = False
    problem: ClassVar[str | None] = None

    def __init__(
        self, account: Account, *, timeout: float = 10.0, clock: Callable[[], datetime] = now
    ) -> None:
        self.crm = account.name
        self._tenant = Tenant(account, timeout=timeout)
        self._provider = account.digits("booking_provider")
        self._campaign = account.digits("campaign_id")
        self._source = account.options.get("source", "Countersign")
        self._custom_is_open = account.options.get("custom_fields") == "merge"
        self._clock = clock
        self._tasks = Tasks(account, rows=self._rows, write=self._write, ask=self._ask)
        self._sender = Sender(
            self._tenant.url,
            self._tenant.authorization,
            ALLOWED,
            timeout=timeout,
            pace=self._tenant.pace,
            judge=_judged,
        )

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(account, timeout=account.number("timeout", 10.0))

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,  # noqa: ARG002 - no PATCH of this vendor can carry it.
        version: str | None = None,  # noqa: ARG002 - no condition exists.
    ) -> None:
        """Set these fields in one call. Raises `Rejected` for what needs two, or is closed."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        for name in fields:
            if not self._is_open(ref.type, name):
                raise Rejected(f"ServiceTitan's {ref.type}.{name} is not written by this product")
        contacts = [name for name in fields if ref.type == "customers" and name in CONTACTS]
        if not fields or (contacts and len(fields) > 1):
            raise Rejected("ServiceTitan takes these fields in separate calls: one change each")
        if contacts:
            self._set_contact(ref, contacts[0], fields[contacts[0]])
            return
        ids = {"id": ref.id} | (
            {"provider": self._need_provider()} if ref.type == "bookings" else {}
        )
        row = self._write("PATCH", PATCHES[ref.type], _body(fields), **ids)
        confirm(lambda: str(row["id"]), ref.id)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note, unless one with this change id is there already."""
        if self.note(ref, change_id=change_id) is not None:
            return
        mark = _mark(change_id)
        body = {"text": f"{html.escape(text, quote=False)}\n{mark}", "pinToTop": False}
        row = self._write("POST", NOTES[ref.type], body, id=ref.id)
        confirm(lambda: mark in row["text"], True)

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change; what stands before its last line is anybody's."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        if ref.type not in NOTES:
            raise Rejected(f"ServiceTitan keeps no notes on {ref.type}")
        with understood():
            for row in self._rows(NOTES[ref.type], {}, id=ref.id):
                text, _, last = str(row["text"]).rpartition("\n")
                if last.strip() == _mark(change_id):
                    return html.unescape(text)
        return None

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """Append a task to a customer or job, unless one with this change id is there already."""
        if self.task(ref, change_id=change_id) is None:
            self._tasks.add(ref, subject, due, mark=_mark(change_id), at=self._clock())

    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task of this change."""
        require_record(ref.crm, ref.type, ref.id, account=self.crm)
        return self._tasks.find(ref, mark=_mark(change_id), since=self._clock() - LOOKED_BACK)

    def task_setup(self) -> str | None:
        """Who reports and gets every task, and its unit, type and source, as the CRM names them."""
        return self._tasks.setup()

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A booking that carries the change id as ``externalId``, or else a lead that names it."""
        if self._provider:
            return self._book(fields, change_id)
        if not self._campaign:
            raise Rejected("new leads need the option booking_provider or campaign_id")
        body = {
            "campaignId": _whole(self._campaign),
            "summary": _summary(fields, change_id),
            "followUpDate": rfc3339(self._clock() + FOLLOWED_UP_AFTER),
        }
        row = self._write("POST", LEADS, body)
        confirm(lambda: (_mark(change_id) in row["summary"], bool(row["id"])), (True, True))
        return self._made("leads", row)

    def find(self, change_id: str) -> RecordRef | None:
        """The booking or lead that this change has made; an update leaves no mark."""
        with understood():
            if self._provider:
                asked = {"externalId": change_id}
                for row in self._rows(PROVIDED, asked, provider=self._provider):
                    if row["externalId"] == change_id:
                        return self._made("bookings", row)
                return None
            since = {"createdOnOrAfter": rfc3339(self._clock() - LOOKED_BACK)}
            for row in self._rows(LEADS, since):
                if _mark(change_id) in str(row.get("summary") or ""):
                    return self._made("leads", row)
            return None

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, as its answer said; empty where it said nothing."""
        return self._tenant.scopes()

    def _is_open(self, type_: str, name: str) -> bool:
        if name.startswith(CUSTOM):
            return self._custom_is_open and type_ in WRITTEN_CUSTOM
        return is_open(type_, name)

    def _need_provider(self) -> str:
        if not self._provider:
            raise Rejected("a booking is written through its provider: option booking_provider")
        return self._provider

    def _set_contact(self, ref: RecordRef, field: str, value: Scalar) -> None:
        """The oldest address or number gets this value; without one it is added."""
        if not isinstance(value, str) or not value.strip():
            raise Rejected(f"ServiceTitan's {field} cannot be emptied: no delete exists here")
        with understood():
            known = contact_row(list(self._rows(CUSTOMER_CONTACTS, {}, id=ref.id)), field)
            contact = None if known is None else str(known["id"])
        if contact is None:
            body = {"type": CONTACTS[field][0], "value": value}
            row = self._write("POST", CUSTOMER_CONTACTS, body, id=ref.id)
        else:
            path = CUSTOMER_CONTACTS + "/{contact}"
            row = self._write("PATCH", path, {"value": value}, id=ref.id, contact=contact)
        confirm(
            lambda: (row["type"] in CONTACTS[field], contact in {None, str(row["id"])}),
            (True, True),
        )

    def _book(self, fields: Mapping[str, Scalar], change_id: str) -> RecordRef:
        body = {
            "source": self._source,
            "name": _name(fields),
            "summary": _summary(fields),
            "isFirstTimeClient": True,
            "externalId": change_id,
            "contacts": _contacts(fields),
        }
        row = self._write("POST", PROVIDED, body, provider=self._provider)
        confirm(lambda: (row["externalId"], bool(row["id"])), (change_id, True))
        return self._made("bookings", row)

    def _made(self, type_: str, row: Mapping[str, Any]) -> RecordRef:
        return RecordRef(crm=self.crm, type=type_, id=str(row["id"]))

    def _rows(
        self, template: str, params: Mapping[str, str], **ids: Any
    ) -> Iterator[Mapping[str, Any]]:
        """Every row of a list. Raises `CRMUnavailable` for one that does not end."""
        for number in range(1, MOST_PAGES + 1):
            asked = {**params, "page": str(number), "pageSize": str(PAGE_SIZE)}
            answer = self._sender.read("GET", template, params=asked, tenant=self._tenant.id, **ids)
            with understood():
                rows, has_more = list(answer.data["data"]), answer.data["hasMore"]
            yield from rows
            if not has_more:
                return
        raise CRMUnavailable("the list is too long to be read whole")

    def _ask(self, template: str) -> Any:
        return self._sender.read("GET", template, tenant=self._tenant.id).data

    def _write(
        self, method: str, template: str, body: Mapping[str, Any], **ids: Any
    ) -> Mapping[str, Any]:
        """What the answer says. A success that nobody can read may or may not be one."""
        answer = self._sender.write(method, template, body, tenant=self._tenant.id, **ids)
        if not isinstance(answer.data, dict):
            raise OutcomeUnknown(answer.reason)
        return answer.data


def _judged(answer: Answer) -> Rejected | None:
    return StaleRecord(answer.reason) if answer.status == 409 else refusal(answer)


def _mark(change_id: str) -> str:
    return f"[Countersign {change_id}]"


def _body(fields: Mapping[str, Scalar]) -> dict[str, Any]:
    plain = {name: _value(name, value) for name, value in fields.items() if CUSTOM not in name}
    custom = [
        {"typeId": _whole(name.removeprefix(CUSTOM)), "value": "" if value is None else str(value)}
        for name, value in fields.items()
        if CUSTOM in name
    ]
    return plain | ({"customFields": custom} if custom else {})


def _value(name: str, value: Scalar) -> Scalar:
    """As the closed body wants it: ids are numbers, texts hold no markup, nothing is ``null``."""
    if value is None:
        if name in MAY_BE_EMPTY:
            return ""
        raise Rejected(f"ServiceTitan's {name} cannot be emptied")
    if type_of(name) == "reference":
        return _whole(value)
    if not isinstance(value, str) or _TAG.search(value):
        raise Rejected(f"{name} is no plain text")
    return value


def _whole(value: Scalar) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise Rejected("that is no id of ServiceTitan")
    return int(text)


def _name(fields: Mapping[str, Scalar]) -> str:
    """Raises `Rejected` without one: a booking has to name somebody."""
    parts = (str(fields.get(name) or "").strip() for name in ("first_name", "last_name"))
    name = " ".join(part for part in parts if part) or str(fields.get("company") or "").strip()
    if not name:
        raise Rejected("a new lead needs a name")
    return name


def _contacts(fields: Mapping[str, Scalar]) -> list[dict[str, str]]:
    return [
        {"type": types[0], "value": str(fields[name])}
        for name, types in CONTACTS.items()
        if fields.get(name)
    ]


def _summary(fields: Mapping[str, Scalar], change_id: str | None = None) -> str:
    """What the booking has no field for, a line each; a lead has only this."""
    left_out = {"first_name", "last_name", *CONTACTS} if change_id is None else set()
    lines = [
        f"{name.replace('_', ' ').capitalize()}: {html.escape(str(value), quote=False)}"
        for name, value in fields.items()
        if name not in left_out and value not in {None, ""}
    ]
    return "\n".join(["New lead", *lines, *([_mark(change_id)] if change_id else [])])
