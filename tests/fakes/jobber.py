"""A Jobber with a memory: GraphQL carried out against the contract's schema, over real HTTP."""

from __future__ import annotations

import base64
import io
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute_sync,
    extend_schema,
    get_operation_ast,
    parse,
    validate,
)

from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, parse_instant, rfc3339
from tests.beside import beside
from tests.fakes.faulty_crm import Fault, FaultyCrm
from tests.fakes.token_endpoint import TokenEndpoint

CONTRACT = "specs/jobber-2025-04-16-subset.graphql"
MORE = Path(__file__).with_name("jobber_more.graphql")
VERSION = "2025-04-16"
READ_SCOPES = "read_clients read_requests read_jobs read_quotes read_custom_field_configurations"
WRITE_SCOPES = f"{READ_SCOPES} write_clients write_requests write_jobs"
SINGULAR = {
    "clients": "Client",
    "requests": "Request",
    "jobs": "Job",
    "quotes": "Quote",
    "tasks": "Task",
}
POINTS = 10_000.0
RESTORED = 500.0


def contract() -> GraphQLSchema:
    """The contract alone."""
    return _contract()


@cache
def _contract() -> GraphQLSchema:
    return build_schema(beside(CONTRACT).read_text(encoding="utf-8"))


@cache
def whole_schema() -> GraphQLSchema:
    """The contract, and what the connector uses beyond it."""
    return extend_schema(_contract(), parse(MORE.read_text(encoding="utf-8")))


def gid(kind: str, number: int) -> str:
    return base64.b64encode(f"gid://Jobber/{kind}/{number}".encode()).decode()


@dataclass(kw_only=True)
class Jobber:
    """The vendor: two apps let in by one account, records, points, and a log of every call."""

    read_app: TokenEndpoint
    write_app: TokenEndpoint
    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    configurations: list[dict[str, Any]] = field(default_factory=list)
    log: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    done: int = 0
    deletes: int = 0
    versioning: dict[str, Any] = field(default_factory=lambda: {"version": VERSION})
    points: float = POINTS
    restored: float = RESTORED
    at: float = field(default_factory=time.monotonic)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    lock: Any = field(default_factory=threading.RLock)
    # Read here, where a test can still be skipped.
    schema: GraphQLSchema = field(default_factory=whole_schema)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self.lock:
            status, body = self._answer(environ)
        data = json.dumps(body).encode()
        head = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        start_response(status, head)
        return [data]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, Any]:
        if environ["PATH_INFO"] != "/api/graphql":
            return "404 Not Found", {"message": "no such path"}
        if environ["HTTP_METHOD"] != "POST":
            return "405 Method Not Allowed", {"message": "POST only"}
        scopes = self._scopes(environ.get("HTTP_AUTHORIZATION", ""))
        if scopes is None:
            return "401 Unauthorized", {"message": "the access token is expired or wrong"}
        if not environ.get("HTTP_X_JOBBER_GRAPHQL_VERSION"):
            return "400 Bad Request", {"message": "X-JOBBER-GRAPHQL-VERSION is required"}
        if not environ.get("CONTENT_TYPE", "").startswith("application/json"):
            return "415 Unsupported Media Type", {"message": "JSON only"}
        return self._carried_out(json.loads(environ["wsgi.input"].read()), scopes)

    def _scopes(self, header: str) -> set[str] | None:
        token = header.removeprefix("Bearer ")
        for app in (self.read_app, self.write_app):
            if token in app.access:
                said = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
                return set(app.scope.split()) if said["exp"] > time.time() else None
        return None

    def _carried_out(self, body: dict[str, Any], scopes: set[str]) -> tuple[str, Any]:
        document = body.get("query")
        if not isinstance(document, str):
            return "400 Bad Request", {"errors": [{"message": "no query"}]}
        self.documents.append(document)
        operation = operation_of(document)
        name = first_field(operation)
        variables = body.get("variables") or {}
        is_change = operation.operation is OperationType.MUTATION
        self.log.append(("mutation" if is_change else "query", name, variables))
        self.deletes += sum("delete" in word.lower() for word in words(variables, name))
        if wrong := _wrong_in(self.schema, document):
            return "200 OK", {"errors": [{"message": one.message} for one in wrong]}
        asked = float(document.count("first") * 25 + 10)
        cost = self._paid(asked)
        if cost is None:
            return "200 OK", self._throttled(asked)
        if is_change and not any(scope.startswith("write") for scope in scopes):
            said = {"message": "the app may not write", "extensions": {"code": "FORBIDDEN"}}
            return "200 OK", {"errors": [said], "extensions": cost}
        result = execute_sync(self.schema, _parsed(document), Root(self), variable_values=variables)
        said = result.formatted
        if result.errors and all(one.path is None for one in result.errors):
            said.pop("data", None)  # Nothing was carried out.
        return "200 OK", {**said, "extensions": cost}

    def _paid(self, asked: float) -> dict[str, Any] | None:
        moment = time.monotonic()
        self.points = min(POINTS, self.points + (moment - self.at) * self.restored)
        self.at = moment
        if asked > self.points:
            return None
        self.points -= asked
        return self._cost(asked)

    def _cost(self, asked: float) -> dict[str, Any]:
        status = {
            "maximumAvailable": POINTS,
            "currentlyAvailable": self.points,
            "restoreRate": self.restored,
        }
        cost = {
            "requestedQueryCost": asked,
            "actualQueryCost": asked,
            "throttleStatus": status,
        }
        return {"cost": cost, "versioning": self.versioning}

    def _throttled(self, asked: float) -> dict[str, Any]:
        error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
        return {"errors": [error], "extensions": self._cost(asked)}

    # What stands in the account.

    def add(self, object_type: str, **fields: Any) -> RecordRef:
        id_ = gid(SINGULAR[object_type], next(self.numbers))
        moment = rfc3339(datetime.now(UTC))
        row = {"id": id_, "createdAt": moment, "updatedAt": moment, **fields}
        self.records.setdefault(object_type, {})[id_] = row
        return RecordRef(crm="jobber", type=object_type, id=id_)

    def client(self, **fields: Any) -> RecordRef:
        empty: dict[str, Any] = {
            "firstName": "",
            "lastName": "",
            "companyName": None,
            "title": None,
            "isCompany": False,
            "isLead": True,
            "isArchived": False,
            "balance": 0.0,
            "receivesReminders": True,
            "receivesFollowUps": True,
            "emails": [],
            "phones": [],
            "billingAddress": None,
            "labels": [],
            "custom": {},
        }
        return self.add("clients", **{**empty, **fields})

    def configuration(self, name: str, value_type: str, **more: Any) -> str:
        moment = rfc3339(datetime.now(UTC))
        kind = "Numeric" if value_type == "NUMERIC" else "Text"
        row = {
            "__typename": f"CustomFieldConfiguration{kind}",
            "id": gid("CustomFieldConfiguration", next(self.numbers)),
            "name": name,
            "appliesTo": "ALL_CLIENTS",
            "readOnly": False,
            "transferable": False,
            "valueType": value_type,
            "createdAt": moment,
            "updatedAt": moment,
            "sortOrder": 1,
            "defaultValue": "",
            "unit": "",
            **more,
        }
        self.configurations.append(row)
        return str(row["id"])

    def entry(self, **fields: Any) -> dict[str, Any]:
        """An address or number with an id of its own."""
        return {"id": gid("Entry", next(self.numbers)), "description": "MAIN", **fields}

    def row(self, ref: RecordRef) -> dict[str, Any]:
        return self.records[ref.type][ref.id]


@cache
def _parsed(document: str) -> DocumentNode:
    """The product has a few documents, and asks each of them very often."""
    return parse(document)


@cache
def _wrong_in(schema: GraphQLSchema, document: str) -> list[GraphQLError]:
    return validate(schema, _parsed(document))


def operation_of(document: str) -> OperationDefinitionNode:
    found = get_operation_ast(_parsed(document))
    assert found is not None, "one operation for each document"
    return found


def first_field(operation: OperationDefinitionNode) -> str:
    return str(operation.selection_set.selections[0].name.value)  # type: ignore[union-attr]


def words(variables: Any, *more: str) -> Iterable[str]:
    """Every key at any depth."""
    yield from more
    if isinstance(variables, dict):
        for key, value in variables.items():
            yield from words(value, key)
    if isinstance(variables, list):
        for one in variables:
            yield from words(one)


class Root:
    """The resolvers. Lists must say how many: without it they would cost a hundred."""

    def __init__(self, jobber: Jobber) -> None:
        self._jobber = jobber

    def client(self, _: Any, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        return self._found("clients", id, self._client)

    def request(self, _: Any, id: str) -> Any:  # noqa: A002 - as above
        return self._found("requests", id, self._request)

    def job(self, _: Any, id: str) -> Any:  # noqa: A002 - as above
        return self._found("jobs", id, self._job)

    def quote(self, _: Any, id: str) -> Any:  # noqa: A002 - as above
        return self._found("quotes", id, self._owned)

    def clients(self, _: Any, **asked: Any) -> Any:
        rows = [
            row
            for row in self._jobber.records.get("clients", {}).values()
            if _is_in(row, asked.get("filter") or {}) and _matches(row, asked.get("searchTerm"))
        ]
        return _connection([self._client(row) for row in rows], asked)

    def requests(self, _: Any, **asked: Any) -> Any:
        client = (asked.get("filter") or {}).get("clientId")
        rows = self._jobber.records.get("requests", {}).values()
        found = [row for row in rows if client in {None, row["clientId"]}]
        names = {"CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt"}
        for sort in reversed(asked.get("sort") or []):
            is_down = sort["direction"] == "DESCENDING"
            found.sort(key=lambda row, name=names[sort["key"]]: row[name], reverse=is_down)
        return _connection([self._request(row) for row in found], asked)

    def customFieldConfigurations(self, _: Any, **asked: Any) -> Any:  # noqa: N802 - as in the schema
        to = (asked.get("filter") or {}).get("appliesTo")
        rows = [one for one in self._jobber.configurations if to in {None, one["appliesTo"]}]
        return _connection(rows, asked)

    def clientEdit(self, _: Any, clientId: str, input: dict[str, Any]) -> Any:  # noqa: A002, N802, N803
        row = self._jobber.records["clients"].get(clientId)
        if row is None:
            return _refused("client", "Client not found", "clientId")
        if wrong := self._wrong(row, input):
            return _refused("client", *wrong)
        self._edit(row, input)
        return {"client": self._client(row), "userErrors": []}

    def requestEdit(self, _: Any, requestId: str, input: dict[str, Any]) -> Any:  # noqa: A002, N802, N803
        row = self._jobber.records.get("requests", {}).get(requestId)
        if row is None:
            return _refused("request", "Request not found", "requestId")
        self._touch(row, input)
        return {"request": self._request(row), "userErrors": []}

    def clientCreate(self, _: Any, input: dict[str, Any]) -> Any:  # noqa: A002, N802
        if not any(input.get(name) for name in ("firstName", "lastName", "companyName")):
            return _refused("client", "A client needs a name", "firstName")
        ref = self._jobber.client()
        row = self._jobber.row(ref)
        self._edit(row, {**input, "emailsToAdd": input.get("emails", [])}
                   | {"phonesToAdd": input.get("phones", [])})  # fmt: skip
        return {"client": self._client(row), "userErrors": []}

    def requestCreate(self, _: Any, input: dict[str, Any]) -> Any:  # noqa: A002, N802
        ref = self._jobber.add(
            "requests",
            clientId=input["clientId"],
            title=input.get("title"),
            requestStatus="new",
            source="Countersign",
            form=input.get("requestDetails"),
        )
        self._jobber.done += 1
        return {"request": self._request(self._jobber.row(ref)), "userErrors": []}

    def clientCreateNote(self, _: Any, clientId: str, input: dict[str, Any]) -> Any:  # noqa: A002, N802, N803
        return self._noted("clients", clientId, "clientNote", input)

    def requestCreateNote(self, _: Any, requestId: str, input: dict[str, Any]) -> Any:  # noqa: A002, N802, N803
        return self._noted("requests", requestId, "requestNote", input)

    def jobCreateNote(self, _: Any, jobId: str, input: dict[str, Any]) -> Any:  # noqa: A002, N802, N803
        return self._noted("jobs", jobId, "jobNote", input)

    def tasks(self, _: Any, **asked: Any) -> Any:
        """The newest first, of all clients."""
        rows = list(reversed(self._jobber.records.get("tasks", {}).values()))
        return _connection([self._task(row) for row in rows], asked)

    def taskCreate(  # noqa: N802 - as in the schema
        self,
        _: Any,
        input: dict[str, Any],  # noqa: A002 - as in the schema
        clientId: str | None = None,  # noqa: N803 - as in the schema
    ) -> Any:
        if clientId is not None and clientId not in self._jobber.records["clients"]:
            return _refused("task", "Client not found", "clientId")
        if not input["title"].strip():
            return _refused("task", "Title can't be blank", "title")
        if bool(input.get("startAt")) != bool(input.get("endAt")):
            return _refused("task", "A task has a start and an end, or neither", "endAt")
        self._jobber.done += 1
        ref = self._jobber.add("tasks", **{"instructions": "", **input}, clientId=clientId)
        return {"task": self._task(self._jobber.row(ref)), "userErrors": []}

    def _task(self, row: dict[str, Any]) -> dict[str, Any]:
        client = self._jobber.records["clients"].get(row["clientId"])
        return {**row, "client": None if client is None else (lambda *_: self._client(client))}

    def _found(self, object_type: str, id_: str, shown: Callable[[Any], Any]) -> Any:
        row = self._jobber.records.get(object_type, {}).get(id_)
        return None if row is None else shown(row)

    def _noted(self, object_type: str, id_: str, name: str, given: dict[str, Any]) -> Any:
        if id_ not in self._jobber.records.get(object_type, {}):
            return _refused(name, "Record not found", "id")
        note = {
            "id": gid("Note", next(self._jobber.numbers)),
            "message": given.get("message") or "",
            "createdAt": rfc3339(datetime.now(UTC)),
            "lastEditedBy": {"id": gid("User", 1), "name": {"full": "Integration"}},
        }
        self._jobber.notes.setdefault(id_, []).insert(0, note)
        if object_type == "clients":
            self._jobber.records["clients"][id_]["updatedAt"] = note["createdAt"]
        self._jobber.done += 1
        return {name: note, "userErrors": []}

    def _wrong(self, row: dict[str, Any], given: dict[str, Any]) -> tuple[str, ...]:
        for list_ in ("emails", "phones"):
            ids = {one["id"] for one in row[list_]}
            for index, one in enumerate(given.get(f"{list_}ToEdit") or []):
                if one["id"] not in ids:
                    return ("is not one of this client", f"{list_}ToEdit", str(index), "id")
        for one in given.get("emailsToEdit") or []:
            if "@" not in one.get("address", ""):
                return ("is no e-mail address", "emailsToEdit", "address")
        by_id = {one["id"]: one for one in self._jobber.configurations}
        for one in given.get("customFields") or []:
            if by_id.get(one.get("customFieldConfigurationId"), {"readOnly": True})["readOnly"]:
                return ("cannot be changed", "customFields")
        return ()

    def _edit(self, row: dict[str, Any], given: dict[str, Any]) -> None:
        plain = ("firstName", "lastName", "companyName", "title", "billingAddress")
        changed = {name: given[name] for name in plain if name in given}
        for list_ in ("emails", "phones"):
            edited = {one["id"]: one for one in given.get(f"{list_}ToEdit") or []}
            kept = [{**one, **edited.get(one["id"], {})} for one in row[list_]]
            added = [self._jobber.entry(**one) for one in given.get(f"{list_}ToAdd") or []]
            changed[list_] = kept + added
        custom = dict(row["custom"])
        for one in given.get("customFields") or []:
            value = next(value for key, value in one.items() if key.startswith("value"))
            custom[one["customFieldConfigurationId"]] = value
        self._touch(row, {**changed, "custom": custom})

    def _touch(self, row: dict[str, Any], changed: Mapping[str, Any]) -> None:
        row |= {**changed, "updatedAt": rfc3339(datetime.now(UTC))}
        self._jobber.done += 1

    def _client(self, row: dict[str, Any]) -> dict[str, Any]:
        def of(object_type: str, shown: Callable[[Any], Any]) -> Callable[..., Any]:
            rows = self._jobber.records.get(object_type, {}).values()
            mine = [shown(one) for one in rows if one["clientId"] == row["id"]]
            return lambda _, **asked: _connection(mine, asked)

        full = f"{row['firstName']} {row['lastName']}".strip() or row["companyName"] or ""
        address = row["billingAddress"]
        empty = ("street1", "street2", "city", "province", "postalCode", "country")
        return {
            **row,
            "name": full,
            "email": _first(row["emails"], "address"),
            "phone": _first(row["phones"], "number"),
            "billingAddress": None
            if address is None
            else {**dict.fromkeys(empty, ""), "street": "", **address},
            "jobberWebUri": f"https://secure.getjobber.com/clients/{row['id']}",
            "customFields": [self._custom(*one) for one in row["custom"].items()],
            "tags": lambda _, **asked: _connection(
                [{"id": label, "label": label} for label in row["labels"]], asked
            ),
            "notes": self._notes_of(row, "ClientNote"),
            "requests": of("requests", self._request),
            "jobs": of("jobs", self._job),
            "quotes": of("quotes", self._owned),
        }

    def _custom(self, id_: str, value: Any) -> dict[str, Any]:
        row = next(one for one in self._jobber.configurations if one["id"] == id_)
        kinds = {
            "TEXT": ("CustomFieldText", "valueText"),
            "NUMERIC": ("CustomFieldNumeric", "valueNumeric"),
            "TRUE_FALSE": ("CustomFieldTrueFalse", "valueTrueFalse"),
            "DROPDOWN": ("CustomFieldDropdown", "valueDropdown"),
            "LINK": ("CustomFieldLink", "valueLink"),
        }
        kind, name = kinds[row["valueType"]]
        return {"__typename": kind, "id": f"{id_}Value", "label": row["name"], name: value}

    def _notes_of(self, row: dict[str, Any], kind: str) -> Callable[..., Any]:
        rows = [{"__typename": kind, **one} for one in self._jobber.notes.get(row["id"], [])]
        return lambda _, **asked: _connection(rows, asked)

    def _owned(self, row: dict[str, Any]) -> dict[str, Any]:
        client = self._jobber.records["clients"][row["clientId"]]
        return {**row, "client": lambda *_: self._client(client)}

    def _request(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "jobberWebUri": f"https://secure.getjobber.com/requests/{row['id']}",
            **self._owned(row),
            "notes": self._notes_of(row, "RequestNote"),
        }

    def _job(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "customFields": [],
            **self._owned(row),
            "notes": self._notes_of(row, "JobNote"),
        }


def _refused(name: str, message: str, *path: str) -> dict[str, Any]:
    return {name: None, "userErrors": [{"message": message, "path": list(path)}]}


def _first(rows: list[dict[str, Any]], name: str) -> str | None:
    return next((one[name] for one in rows if one.get("primary")), None)


def _is_in(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        parse_instant(row[name]) > parse_instant(wanted[name]["after"])
        for name in ("createdAt", "updatedAt")
        if name in wanted
    )


def _matches(row: dict[str, Any], term: str | None) -> bool:
    """As text, nothing more: a number in another spelling is not found."""
    if term is None:
        return True
    texts = [
        f"{row['firstName']} {row['lastName']}",
        row["companyName"] or "",
        *(one["address"] for one in row["emails"]),
        *(one["number"] for one in row["phones"]),
    ]
    return any(term.casefold() in text.casefold() for text in texts)


def _connection(rows: list[Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    first = asked.get("first")
    if not first or first > 100:
        raise GraphQLError("say how many: first")
    begin = int(asked.get("after") or 0)
    page = rows[begin : begin + first]
    info = {
        "hasNextPage": begin + first < len(rows),
        "hasPreviousPage": begin > 0,
        "endCursor": str(begin + len(page)),
    }
    return {"nodes": page, "pageInfo": info, "totalCount": len(rows)}


class FaultyJobber(FaultyCrm):
    """Faults by what a call is for, read, write or token, whatever its method."""

    def __init__(self, jobber: Jobber) -> None:
        super().__init__(app=self._routed)
        self.jobber = jobber

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        kind = _kind(environ["PATH_INFO"], body)
        method = environ["REQUEST_METHOD"]
        given = {**environ, "HTTP_METHOD": method, "REQUEST_METHOD": kind}
        return super().__call__({**given, "wsgi.input": io.BytesIO(body)}, start_response)

    def _routed(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/api/oauth/token":
            return self.jobber(environ, start_response)
        body = environ["wsgi.input"].read()
        app = self.jobber.write_app if b"client-2" in body else self.jobber.read_app
        return app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)


def _kind(path: str, body: bytes) -> str:
    if path == "/api/oauth/token":
        return "token"
    return "write" if b'"mutation ' in body.replace(b"\\n", b"") else "read"


class FakeJobber:
    """What the cases for every connector ask of a vendor's double."""

    def __init__(self, jobber: Jobber, faulty: FaultyJobber) -> None:
        self.jobber = jobber
        self.faulty = faulty

    def value(self, ref: RecordRef, field: str) -> Scalar:
        """Straight from the store, in the connector's words."""
        row = self.jobber.row(ref)
        if field in {"email", "phone"}:
            return _first(row[f"{field}s"], {"email": "address", "phone": "number"}[field])
        first, _, part = field.partition(".")
        found = (row[first] or {}).get(part) if part else row[first]
        return found or None

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        self.jobber.row(ref)[field] = value
        self.jobber.row(ref)["lastEditedBy"] = by

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.faulty.calls if call[0] == "write"]

    def arrivals(self, kind: str) -> list[float]:
        return self.faulty.arrivals(lambda call: call[0] == kind)

    def effects(self) -> int:
        return self.jobber.done

    def script(self, kind: str, *faults: Fault) -> None:
        self.faulty.script(kind, *faults)
