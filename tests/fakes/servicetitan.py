"""A stateful double of ServiceTitan: one tenant, two apps, closed bodies, no conditional write.

Where the vendor's behaviour is not established the double takes the harsher one: it makes a second
booking for the same ``externalId``, leaves out what holds nothing unless ``shows_nulls`` is set, and
a customer's PATCH with ``customFields`` keeps only what it names unless ``merges_custom_fields`` is
set; a job's always does, as the vendor says.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from tests.fakes.servicetitan_bodies import (
    BOOKING,
    CONTACT,
    CONTACT_PATCH,
    CUSTOMER_NOTE,
    LEAD,
    LEAD_IS_DUE,
    NOTE,
    PATCHES,
    Body,
    Problem,
    answer,
    checked,
    json_body,
    now_text,
    public,
    read_body,
    without_nulls,
)
from tests.fakes.servicetitan_rows import CUSTOMER, JOB, LEAD_ROW, custom_fields, in_order, matches
from tests.fakes.servicetitan_tasks import SCOPE, Tasks, require_scope

TENANT = "4711"
APP_KEY = "ak1.test"
READ_SCOPES = "tn.crm.customers:r tn.crm.leads:r tn.crm.bookings:r tn.jpm.jobs:r"
WRITE_SCOPES = (
    f"{READ_SCOPES} tn.crm.customers:w tn.crm.leads:w tn.crm.bookings:w tn.jpm.jobs:w {SCOPE}"
)
CONTACT_KINDS = {"email": ("Email",), "phone": ("Phone", "MobilePhone")}
FORBIDDEN = re.compile(r"merge|dismiss|cancel|hold|complete|convert|/tags")


@dataclass
class ServiceTitan:
    """``auth`` is the token host, the object itself the API host."""

    merges_custom_fields: bool = False
    shows_nulls: bool = False
    token_seconds: int = 900
    records: dict[str, dict[int, dict[str, Any]]] = field(
        default_factory=lambda: {name: {} for name in PATCHES}
    )
    contacts: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    custom: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"customers": [], "jobs": []}
    )
    tokens: dict[str, str] = field(default_factory=dict)
    # By client id.
    scopes: dict[str, str] = field(
        default_factory=lambda: {"reader": READ_SCOPES, "writer": WRITE_SCOPES}
    )
    calls: list[tuple[str, str]] = field(default_factory=list)
    feed: list[int] = field(default_factory=list)
    page_size: int = 50
    tokens_given: int = 0
    changes: int = 0
    conflicts: int = 0
    tasks: Tasks = field(init=False)
    _next: int = 1000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.tasks = Tasks(has_record=lambda type_, id_: id_ in self.records[f"{type_}s"])

    # What a person does in ServiceTitan itself.

    def customer(self, name: str, *contacts: tuple[str, str], **more: Any) -> int:
        id_ = self.add("customers", **{**deepcopy(CUSTOMER), "name": name, **more})
        for type_, value in contacts:
            self.add_contact("customers", id_, type_, value)
        return id_

    def job(self, customer: int, **more: Any) -> int:
        id_ = self.add("jobs", **{**deepcopy(JOB), "customerId": customer, **more})
        self.records["jobs"][id_].setdefault("jobNumber", str(id_))
        return id_

    def lead(self, customer: int | None = None, **more: Any) -> int:
        return self.add("leads", **{**LEAD_ROW, "customerId": customer, **more})

    def add(self, type_: str, **row: Any) -> int:
        with self._lock:
            self._next += 1
            stamp = now_text()
            row = {"createdOn": stamp, "modifiedOn": stamp, **row, "id": self._next}
            self.records[type_][self._next] = row
            return self._next

    def add_contact(self, type_: str, of: int, kind: str, value: str) -> dict[str, Any]:
        with self._lock:
            self._next += 1
            row = {
                "id": self._next,
                "of": (type_, of),
                "type": kind,
                "value": value,
                "memo": "",
                "modifiedOn": now_text(),
                "is_active": True,
            }
            if type_ == "customers":
                phone = {"phoneNumber": value, "doNotText": False}
                row |= {"createdOn": now_text(), "phoneSettings": phone}
            self.contacts[self._next] = row
            self.feed.append(self._next)
            return row

    def drop_contact(self, id_: int) -> None:
        self.contacts[id_]["is_active"] = False
        self.feed.append(id_)

    def expire_tokens(self) -> None:
        self.tokens.clear()

    # What the connector's tests ask.

    def value(self, ref: RecordRef, name: str) -> Scalar:
        if name in CONTACT_KINDS:
            row = self._contact(ref, name)
            return None if row is None else str(row["value"])
        found: Scalar = self.records[ref.type][int(ref.id)].get(name)
        return found

    def edit(self, ref: RecordRef, name: str, value: Scalar, *, by: str) -> None:
        row = self.records[ref.type][int(ref.id)]
        row["modifiedOn"] = now_text()
        if name in CONTACT_KINDS:
            row = self._contact(ref, name) or {}
            name = "value"
        row[name] = value

    def _contact(self, ref: RecordRef, name: str) -> dict[str, Any] | None:
        rows = self._contacts_of(ref.type, int(ref.id))
        return next((row for row in rows if row["type"] in CONTACT_KINDS[name]), None)

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    def forbidden(self) -> list[tuple[str, str]]:
        """Every call that would delete, merge or move a stage."""
        return [one for one in self.calls if one[0] == "DELETE" or FORBIDDEN.search(one[1])]

    # The token host.

    def auth(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        form = {name: values[0] for name, values in parse_qs(read_body(environ).decode()).items()}
        scope = self.scopes.get(form.get("client_id", ""))
        if environ["PATH_INFO"] != "/connect/token" or environ["REQUEST_METHOD"] != "POST":
            return answer(start_response, 404, {"error": "not_found"})
        if form.get("grant_type") != "client_credentials":
            return answer(start_response, 400, {"error": "unsupported_grant_type"})
        if scope is None or form.get("client_secret") != "secret":
            return answer(start_response, 400, {"error": "invalid_client"})
        self.tokens_given += 1
        token = f"token-{self.tokens_given}"
        self.tokens[token] = scope
        body = {"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"}
        return answer(start_response, 200, {**body, "scope": scope})

    # The API host.

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        try:
            with self._lock:
                self.calls.append((method, path))
                scope = self._scope(environ)
                query = {k: v[0] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
                body = json_body(environ) if method != "GET" else None
                act, ids = _route(method, path)
                require_scope(method, path, scope)
                said = act(self, query, body, *ids)
                said = said if self.shows_nulls else without_nulls(said)
                return answer(start_response, 200, said)
        except Problem as problem:
            data = {
                "type": "https://httpstatuses.io",
                "title": problem.title,
                "data": {},
                "status": problem.status,
                "traceId": "00-1",
                "errors": problem.errors,
            }
            return answer(start_response, problem.status, data, problem.headers)

    def _scope(self, environ: Mapping[str, Any]) -> str:
        token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        if token not in self.tokens or environ.get("HTTP_ST_APP_KEY") != APP_KEY:
            raise Problem(status=401, title="Unauthorized")
        return self.tokens[token]

    def _record(self, type_: str, id_: str) -> dict[str, Any]:
        if not id_.isdigit():
            raise Problem(status=400, title="Bad request", errors={"id": ["not an integer"]})
        row = self.records[type_].get(int(id_))
        if row is None:
            raise Problem(status=404, title=f"{type_} not found")
        return row

    def _contacts_of(self, type_: str, id_: int) -> list[dict[str, Any]]:
        rows = self.contacts.values()
        return [row for row in rows if row["of"] == (type_, id_) and row["is_active"]]

    def _changed(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise Problem(status=409, title="Some conflict occurred while executing the request")
        row |= {**values, "modifiedOn": now_text()}
        self.changes += 1

    def patch_record(self, _: Body, body: Any, type_: str, id_: str) -> dict[str, Any]:
        row = self._record(type_, id_)
        given = checked(body, PATCHES[type_])
        if "customFields" in given:
            for one in given["customFields"]:
                checked(one, {"typeId!": int, "value!": str})
            kept = row["customFields"] if type_ == "customers" and self.merges_custom_fields else []
            given = {**given, "customFields": custom_fields(kept, given["customFields"])}
        if "address" in given:
            checked(given["address"], {f"{part}!": object for part in row["address"]})
        self._changed(row, given)
        return row

    def post_note(self, _: Body, body: Any, type_: str, id_: str) -> dict[str, Any]:
        self._record(type_, id_)
        given = checked(body, CUSTOMER_NOTE if type_ == "customers" else NOTE)
        return self.note(type_, int(id_), given["text"], counted=True)

    def note(self, type_: str, of: int, text: str, *, counted: bool = False) -> dict[str, Any]:
        row = {
            "of": (type_, of),
            "text": text,
            "isPinned": False,
            "createdById": 12,
            "createdOn": now_text(),
            "modifiedOn": now_text(),
        }
        if type_ != "jobs":
            row["id"] = len(self.notes) + 1
        self.notes.append(row)
        self.changes += counted
        return public(row)

    def list_notes(self, query: Body, _: Any, type_: str, id_: str) -> dict[str, Any]:
        self._record(type_, id_)
        return self._page([row for row in self.notes if row["of"] == (type_, int(id_))], query)

    def list_contacts(self, query: Body, _: Any, type_: str, id_: str) -> dict[str, Any]:
        self._record(type_, id_)
        return self._page(self._contacts_of(type_, int(id_)), query)

    def post_contact(self, _: Body, body: Any, id_: str) -> dict[str, Any]:
        self._record("customers", id_)
        given = checked(body, CONTACT)
        self.changes += 1
        return public(self.add_contact("customers", int(id_), given["type"], given["value"]))

    def patch_contact(self, _: Body, body: Any, id_: str, contact: str) -> dict[str, Any]:
        self._record("customers", id_)
        row = self.contacts.get(int(contact))
        if row is None or row["of"] != ("customers", int(id_)):
            raise Problem(status=404, title="The requested entity was not found")
        self._changed(row, checked(body, CONTACT_PATCH))
        self.feed.append(int(contact))
        return public(row)

    def export(self, query: Body, _: Any) -> dict[str, Any]:
        begin = int(query.get("from", "0"))
        ids = self.feed[begin : begin + self.page_size]
        found = [row for row in map(self.contacts.__getitem__, ids) if row["of"][0] == "customers"]
        rows = [
            {**public(row), "customerId": row["of"][1], "active": row["is_active"]} for row in found
        ]
        end = begin + len(ids)
        return {"hasMore": end < len(self.feed), "continueFrom": str(end), "data": rows}

    def list_records(self, query: Body, _: Any, type_: str) -> dict[str, Any]:
        rows = [row for row in self.records[type_].values() if matches(row, query)]
        return self._page(in_order(rows, query.get("sort", "")), query)

    def list_custom(self, query: Body, _: Any, type_: str) -> dict[str, Any]:
        return self._page(self.custom[type_], query)

    def history(self, _: Body, __: Any, id_: str) -> dict[str, Any]:
        self._record("jobs", id_)
        return {"history": [public(row) for row in self.events if row["of"] == int(id_)]}

    def post_lead(self, _: Body, body: Any) -> dict[str, Any]:
        given = checked(body, LEAD, LEAD_IS_DUE)
        self.changes += 1
        id_ = self.lead(**{"priority": "Normal", **given})
        return self.records["leads"][id_]

    def post_task(self, _: Body, body: Any) -> dict[str, Any]:
        made = self.tasks.make(body)
        self.changes += 1
        return made

    def list_provided(self, query: Body, _: Any, provider: str) -> dict[str, Any]:
        rows = [
            row
            for row in self.records["bookings"].values()
            if row["bookingProviderId"] == int(provider) and matches(row, query)
        ]
        return self._page(rows, query)

    def post_booking(self, _: Body, body: Any, provider: str) -> dict[str, Any]:
        given = dict(checked(body, BOOKING))
        contacts = [checked(one, CONTACT) for one in given.pop("contacts", [])]
        row = {"status": "New", "start": now_text(), "bookingProviderId": int(provider), **given}
        id_ = self.add("bookings", **row)
        for one in contacts:
            self.add_contact("bookings", id_, one["type"], one["value"])
        self.changes += 1
        return self.records["bookings"][id_]

    def patch_booking(self, query: Body, body: Any, provider: str, id_: str) -> dict[str, Any]:
        if self._record("bookings", id_)["bookingProviderId"] != int(provider):
            raise Problem(status=404, title="The requested entity was not found")
        return self.patch_record(query, body, "bookings", id_)

    def _page(self, rows: list[dict[str, Any]], query: Body) -> dict[str, Any]:
        page, size = int(query.get("page", "1")), int(query.get("pageSize", "50"))
        size = min(size, self.page_size)
        begin = (page - 1) * size
        data = [public(row) for row in rows[begin : begin + size]]
        more = {"page": page, "pageSize": size, "totalCount": None}
        return {**more, "hasMore": begin + size < len(rows), "data": data}


S = ServiceTitan
Act = Callable[..., dict[str, Any]]
_CRM, _JPM = f"/crm/v2/tenant/{TENANT}", f"/jpm/v2/tenant/{TENANT}"
_TASKS = f"/taskmanagement/v2/tenant/{TENANT}"


def _get(self: ServiceTitan, _: Body, __: Any, type_: str, id_: str) -> dict[str, Any]:
    return self._record(type_, id_)


_CRM_TYPES, _JOB = "(customers|leads|bookings)", "(jobs)"
ROUTES: tuple[tuple[str, str, Act], ...] = (
    ("GET", f"{_CRM}/(customers)/custom-fields", S.list_custom),
    ("GET", f"{_JPM}/(jobs)/custom-fields", S.list_custom),
    ("GET", f"{_CRM}/export/customers/contacts", S.export),
    ("GET", f"{_CRM}/{_CRM_TYPES}", S.list_records),
    ("GET", f"{_JPM}/{_JOB}", S.list_records),
    ("GET", f"{_CRM}/{_CRM_TYPES}/([^/]+)", _get),
    ("GET", f"{_JPM}/{_JOB}/([^/]+)", _get),
    ("PATCH", f"{_CRM}/(customers|leads)/([^/]+)", S.patch_record),
    ("PATCH", f"{_JPM}/{_JOB}/([^/]+)", S.patch_record),
    ("GET", f"{_CRM}/(customers|bookings)/([^/]+)/contacts", S.list_contacts),
    ("POST", f"{_CRM}/customers/([^/]+)/contacts", S.post_contact),
    ("PATCH", f"{_CRM}/customers/([^/]+)/contacts/([0-9]+)", S.patch_contact),
    ("GET", f"{_CRM}/(customers|leads)/([^/]+)/notes", S.list_notes),
    ("POST", f"{_CRM}/(customers|leads)/([^/]+)/notes", S.post_note),
    ("GET", f"{_JPM}/{_JOB}/([^/]+)/notes", S.list_notes),
    ("POST", f"{_JPM}/{_JOB}/([^/]+)/notes", S.post_note),
    ("GET", f"{_JPM}/jobs/([^/]+)/history", S.history),
    ("POST", f"{_CRM}/leads", S.post_lead),
    ("GET", f"{_TASKS}/data", lambda self, *_: self.tasks.lists()),
    ("GET", f"{_TASKS}/tasks", lambda self, query, _: self._page(self.tasks.find(query), query)),
    ("POST", f"{_TASKS}/tasks", S.post_task),
    ("GET", f"{_CRM}/booking-provider/([0-9]+)/bookings", S.list_provided),
    ("POST", f"{_CRM}/booking-provider/([0-9]+)/bookings", S.post_booking),
    ("PATCH", f"{_CRM}/booking-provider/([0-9]+)/bookings/([0-9]+)", S.patch_booking),
)


def _route(method: str, path: str) -> tuple[Act, tuple[str, ...]]:
    matches = [(verb, act, re.fullmatch(pattern, path)) for verb, pattern, act in ROUTES]
    found = [(verb, act, match.groups()) for verb, act, match in matches if match]
    for verb, act, ids in found:
        if verb == method:
            return act, ids
    raise Problem(status=405 if found else 404, title="No such call")
