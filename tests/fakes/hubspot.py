"""A HubSpot account on a real socket: records with versions, a lagging index, rights and limits.

Written from the tables of the vendor's documentation. It knows no delete and no merge but counts
every try, and keeps a log of all calls.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, rfc3339
from tests.fakes import hubspot_answers
from tests.fakes.faulty_crm import Fault, FaultyCrm
from tests.fakes.hubspot_shapes import (
    Refused,
    check_associations,
    check_batch,
    check_known,
    check_properties,
    check_query,
    check_search,
    invalid,
    metadata,
    shape,
)

VERSION = "2026-09"
READ_KEY, WRITE_KEY = "reading-key", "writing-key"
READ_APP, WRITE_APP = "1001", "2002"
READ_SCOPES = frozenset(
    f"crm.objects.{name}.read" for name in ("contacts", "companies", "deals", "owners")
) | {"tickets"}
WRITE_SCOPES = frozenset(
    f"crm.objects.{name}.write" for name in ("contacts", "companies", "deals")
) | {"crm.objects.contacts.read"}
CLIENT = {"client_id": "client-1", "client_secret": "hidden-1"}
REFRESH = "refresh-1"
ACTIVITIES = ("notes", "tasks", "calls", "meetings", "emails")
LINK_PAGE = 3
STAGES = (("appointmentscheduled", "Appointment Scheduled"), ("closedwon", "Closed Won"))
_FORBIDDEN = re.compile(r"/(merge|gdpr-delete|batch/archive)\b")
_QUESTION = re.compile(r"/(batch/read|search|token|introspect)$")


def kind_of(environ: Mapping[str, Any]) -> str:
    """Read or write: HubSpot's POST may be either."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    is_question = method == "GET" or (method == "POST" and _QUESTION.search(path))
    return "read" if is_question else "write"


def _kind_of_call(call: tuple[str, str]) -> str:
    return kind_of({"REQUEST_METHOD": call[0], "PATH_INFO": call[1]})


@dataclass(kw_only=True)
class Record:
    id: str
    properties: dict[str, str]
    created: datetime
    updated: datetime
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    archived: bool = False
    merged_into: str | None = None


@dataclass(kw_only=True)
class Key:
    """A token: what it may do, as which app, until when (monotonic seconds)."""

    app: str
    scopes: frozenset[str]
    until: float | None = None


class HubSpot:
    """The account. ``lags``: the search index stays as it is until ``catch_up``."""

    def __init__(self, *, limit: int = 100_000) -> None:
        self.lock = threading.RLock()
        self.rows = metadata()
        self.records: dict[str, dict[str, Record]] = {kind: {} for kind in self.rows}
        self.links: dict[tuple[str, str, str], list[str]] = {}
        self.people: dict[str, str] = {}
        self.owners_readable = True
        self.keys = {
            READ_KEY: Key(app=READ_APP, scopes=READ_SCOPES),
            WRITE_KEY: Key(app=WRITE_APP, scopes=WRITE_SCOPES),
        }
        self.oauth_scopes = READ_SCOPES
        self.token_seconds = 1800.0
        self.tokens_given = 0
        self.limit = limit
        self.portal = str(hubspot_answers.PORTAL)
        self.times: deque[float] = deque()
        self.log: list[tuple[str, str, int]] = []
        self.forbidden = 0
        self.changes = 0
        self.lags = False
        self.index: dict[str, dict[str, Record]] = {}
        self._next = 100
        self._clock = datetime.now(UTC) - timedelta(days=1)
        self.faulty = FaultyCrm(self, kind=kind_of)

    # What a test does and asks.

    def add(self, kind: str, properties: Mapping[str, str], *, id_: str | None = None) -> str:
        """A record that was there before we came."""
        with self.lock:
            record = self._make(kind, id_ or self._new_id(), {}, app="0")
            self._set(kind, record, properties, {"sourceType": "IMPORT", "sourceId": "7"})
            self.catch_up()
            return record.id

    def link(self, kind: str, id_: str, other: str, other_id: str) -> None:
        self.links.setdefault((kind, id_, other), []).append(other_id)
        self.links.setdefault((other, other_id, kind), []).append(id_)

    def catch_up(self) -> None:
        self.index = copy.deepcopy(self.records)

    def value(self, ref: RecordRef, name: str) -> Scalar:
        return self.records[ref.type][ref.id].properties.get(name) or None

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        """A person changes a property in HubSpot itself."""
        with self.lock:
            user = next((id_ for id_, name in self.people.items() if name == by), None)
            if user is None:
                user = str(900 + len(self.people))
                self.people[user] = by
            source = {"sourceType": "CRM_UI", "sourceId": f"userId:{user}"}
            record = self.records[ref.type][ref.id]
            text = "" if value is None else str(value)
            self._set(ref.type, record, {field: text}, {**source, "updatedByUserId": int(user)})

    def merge(self, kind: str, loser: str, winner: str) -> None:
        self.records[kind][loser].merged_into = winner

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.faulty.calls if _kind_of_call(call) == "write"]

    def arrivals(self, kind: str) -> list[float]:
        return self.faulty.arrivals(lambda call: _kind_of_call(call) == kind)

    def effects(self) -> int:
        return self.changes

    def script(self, kind: str, *faults: Fault) -> None:
        self.faulty.script(kind, *faults)

    # HTTP.

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status, body, headers = self._answered(environ)
        self.log.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], status))
        content = b"" if body is None else json.dumps(body).encode()
        length = ("Content-Length", str(len(content)))
        kind = ("Content-Type", "application/json;charset=utf-8")
        start_response(f"{status} Said", [kind, length, *headers.items()])
        return [content]

    def _answered(self, environ: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self.lock:
            if method == "DELETE" or _FORBIDDEN.search(path):
                self.forbidden += 1
            try:
                name, ids = ROUTES.bind("api.hubapi.com").match(path, method=method)
                key = None if name in {"token", "introspect"} else self._key(environ)
                headers = self._count(name)
                query = check_query(environ.get("QUERY_STRING", ""))
                body = _form(raw) if key is None else _parsed(raw)
                answer = getattr(self, f"_{name}")(key, body, query, **ids)
            except NotFound:
                return 404, {"status": "error", "message": "Not Found"}, {}
            except MethodNotAllowed:
                return 405, {"status": "error", "message": "Method Not Allowed"}, {}
            except Refused as refusal:
                return refusal.status, refusal.body, refusal.headers
            except (KeyError, TypeError, AttributeError) as error:
                refusal = shape(f"{type(error).__name__}: {error}")
                return refusal.status, refusal.body, {}
            if not self.lags:
                self.catch_up()
            return *answer, headers

    def _key(self, environ: Mapping[str, Any]) -> Key:
        token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        key = self.keys.get(token)
        if key is None:
            raise Refused(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if key.until is not None and time.monotonic() >= key.until:
            raise Refused(401, "EXPIRED_AUTHENTICATION", "The OAuth token used expired.")
        return key

    def _count(self, name: str) -> dict[str, str]:
        """A rolling window of ten seconds; the search endpoints show no rate headers."""
        now = time.monotonic()
        while self.times and self.times[0] < now - 10:
            self.times.popleft()
        headers = {
            "X-HubSpot-RateLimit-Max": str(self.limit),
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Remaining": str(max(0, self.limit - len(self.times) - 1)),
        }
        if len(self.times) >= self.limit:
            refusal = Refused(
                429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit.",
                errorType="RATE_LIMIT", policyName="TEN_SECONDLY_ROLLING",
            )  # fmt: skip
            refusal.headers = headers
            raise refusal
        self.times.append(now)
        return {} if name == "search" else headers

    # The endpoints: (key, body, query, ids) -> (status, body).

    def _token(self, _: None, form: dict[str, str], __: Any) -> tuple[int, Any]:
        if form.get("grant_type") not in {"authorization_code", "refresh_token"}:
            raise Refused(400, "VALIDATION_ERROR", "grant_type is not one of those allowed")
        if {name: form.get(name) for name in CLIENT} != CLIENT or (
            form.get("refresh_token") != REFRESH
        ):
            raise Refused(400, "BAD_REFRESH_TOKEN", "missing or invalid refresh token")
        self.tokens_given += 1
        token = f"access-{self.tokens_given}"
        until = time.monotonic() + self.token_seconds
        self.keys[token] = Key(app=WRITE_APP, scopes=self.oauth_scopes, until=until)
        scopes = self.oauth_scopes
        return 200, hubspot_answers.token(token, REFRESH, scopes, self.token_seconds)

    def _introspect(self, _: None, form: dict[str, str], __: Any) -> tuple[int, Any]:
        if {name: form.get(name) for name in CLIENT} != CLIENT:
            raise Refused(401, "INVALID_AUTHENTICATION", "unknown client")
        key = self.keys.get(form["token"])
        if key is None or key.until is None or (left := key.until - time.monotonic()) <= 0:
            return 200, {"active": False}
        return 200, hubspot_answers.token_info(form["token"], form["client_id"], key.scopes, left)

    def _details(self, *_: Any) -> tuple[int, Any]:
        return 200, hubspot_answers.details()

    def _properties(self, key: Key, _: Any, __: Any, kind: str) -> tuple[int, Any]:
        self._may_any(key)
        return 200, {"results": self._known(kind)}

    def _pipelines(self, _: Key, __: Any, ___: Any, kind: str) -> tuple[int, Any]:
        self._known(kind)
        return 200, {"results": [hubspot_answers.pipeline(STAGES)]}

    def _owners(self, key: Key, _: Any, query: Mapping[str, str]) -> tuple[int, Any]:
        if "crm.objects.owners.read" not in key.scopes or not self.owners_readable:
            raise _missing("crm.objects.owners.read")
        owners = [hubspot_answers.owner(user, name) for user, name in self.people.items()]
        return 200, _page(owners, query.get("after"), 1)

    def _one(self, key: Key, _: Any, query: Any, kind: str, id_: str) -> tuple[int, Any]:
        self._may(key, kind, "read")
        record = self._record(kind, id_)
        row = self._row(kind, record, query.get("properties", "").split(","))
        wanted = [other for other in query.get("associations", "").split(",") if other]
        for other in wanted:
            self._may(key, other, "read")
        linked = {other: self._linked(kind, record.id, other) for other in wanted}
        if linked := {other: page for other, page in linked.items() if page}:
            row["associations"] = linked
        return 200, row

    def _update(self, key: Key, body: Any, _: Any, kind: str, id_: str) -> tuple[int, Any]:
        self._may(key, kind, "write")
        given = check_properties(body)
        record = self._record(kind, id_)
        check_known(given, self.rows[kind])
        self._check_unique(kind, given, record.id)
        self._set(kind, record, given, _source(key))
        self.changes += 1
        return 200, self._row(kind, record, given)

    def _create(self, key: Key, body: Any, _: Any, kind: str) -> tuple[int, Any]:
        self._may(key, kind, "write")
        given = check_properties(body)
        associations = check_associations(kind, body)
        check_known(given, self.rows[kind])
        if kind in {"notes", "tasks"} and not given.get("hs_timestamp"):
            raise invalid(("hs_timestamp", "REQUIRED_FIELD", "hs_timestamp is required"))
        if (stamp := given.get("hs_timestamp")) and not _is_time(stamp):
            raise invalid(("hs_timestamp", "INVALID_DATE", f"{stamp} was not a valid timestamp"))
        self._check_unique(kind, given, None)
        for other, other_id in associations:
            self._record(other, other_id)
        record = self._make(kind, self._new_id(), given, app=key.app)
        self._set(kind, record, given, _source(key))
        for other, other_id in associations:
            self.link(kind, record.id, other, other_id)
        self.changes += 1
        return 201, self._row(kind, record, given)

    def _batch_read(self, key: Key, body: Any, _: Any, kind: str) -> tuple[int, Any]:
        self._may(key, kind, "read")
        history = body["propertiesWithHistory"]
        inputs = check_batch(body, 50 if history else 100)
        if type(body["properties"]) is not list or type(history) is not list:
            raise shape("properties and propertiesWithHistory must be arrays")
        by = body.get("idProperty")
        if by not in {None, "email"} and not self._is_unique(kind, by):
            raise Refused(400, "VALIDATION_ERROR", f"{by} is not a unique property")
        results, missing = [], []
        for one in inputs:
            found = self._by(kind, by, one["id"])
            if found is None:
                missing.append(one["id"])
            else:
                results.append(self._row(kind, found, body["properties"], history))
        return _batch(results, missing)

    def _upsert(self, key: Key, body: Any, _: Any, kind: str) -> tuple[int, Any]:
        self._may(key, kind, "write")
        results = []
        for one in check_batch(body, 100):
            given = check_properties(one)
            if not self._is_unique(kind, one["idProperty"]):
                raise Refused(400, "VALIDATION_ERROR", f"{one['idProperty']} is not unique")
            check_known(given, self.rows[kind])
            record = self._by(kind, one["idProperty"], one["id"])
            self._check_unique(kind, given, record.id if record else None)
            is_new = record is None
            if record is None:
                record = self._make(kind, self._new_id(), given, app=key.app)
            self._set(kind, record, {**given, one["idProperty"]: one["id"]}, _source(key))
            self.changes += 1
            names = [*given, one["idProperty"]]
            results.append({**self._row(kind, record, names), "new": is_new})
        return _batch(results, [])

    def _search(self, key: Key, body: Any, _: Any, kind: str) -> tuple[int, Any]:
        self._may(key, kind, "read")
        check_search(body)
        found = [
            self._row(kind, record, body["properties"])
            for record in self.index[kind].values()
            if not record.archived and record.merged_into is None
            if not body["filterGroups"]
            or any(
                all(_fits(_seen(record), one) for one in group["filters"])
                for group in body["filterGroups"]
            )
        ]
        for sort in reversed(body["sorts"]):
            found.sort(
                key=lambda row: str(row["properties"].get(sort.removeprefix("-")) or ""),
                reverse=sort.startswith("-"),
            )
        return 200, {"total": len(found), **_page(found, body["after"], body["limit"])}

    def _link_batch(self, key: Key, body: Any, _: Any, kind: str, other: str) -> tuple[int, Any]:
        self._may_any(key)
        results, missing = [], []
        for one in check_batch(body, 1000):
            ids = self.links.get((kind, one["id"], other), [])
            page = _page(ids, one.get("after"), LINK_PAGE)
            to = [{"toObjectId": id_, "associationTypes": []} for id_ in page["results"]]
            row = {"from": {"id": one["id"]}, "to": to}
            if to:
                results.append(row | ({"paging": page["paging"]} if "paging" in page else {}))
            else:
                missing.append(one["id"])
        return _batch(results, missing)

    # What the account knows.

    def _known(self, kind: str) -> list[dict[str, Any]]:
        if kind not in self.rows:
            raise Refused(400, "VALIDATION_ERROR", f"Unable to infer object type from: {kind}")
        return self.rows[kind]

    def _may(self, key: Key, kind: str, act: str) -> None:
        """Activities hang on the contacts scopes; the one to write does not open reading."""
        self._known(kind)
        of = "contacts" if kind in ACTIVITIES else kind
        needed = {"tickets"} if kind == "tickets" else {f"crm.objects.{of}.{act}"}
        if kind == "emails":
            needed.add("sales-email-read")
        if lacking := needed - key.scopes:
            raise _missing(min(lacking))

    def _may_any(self, key: Key) -> None:
        """Whoever may do anything with some records may ask what belongs to all of them."""
        if not key.scopes:
            raise _missing("crm.objects.contacts.read")

    def _record(self, kind: str, id_: str) -> Record:
        record = self.records[kind].get(id_)
        while record is not None and record.merged_into is not None:
            record = self.records[kind].get(record.merged_into)
        if record is None or record.archived:
            raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
        return record

    def _by(self, kind: str, name: str | None, value: str) -> Record | None:
        if name is None:
            try:
                return self._record(kind, value)
            except Refused:
                return None
        is_same = (
            (lambda known: known.lower() == value.lower()) if name == "email" else value.__eq__
        )
        found = (
            record
            for record in self.records[kind].values()
            if not record.archived and is_same(record.properties.get(name, ""))
        )
        return next(found, None)

    def _is_unique(self, kind: str, name: str) -> bool:
        return any(one["name"] == name and one["hasUniqueValue"] for one in self.rows[kind])

    def _check_unique(self, kind: str, given: Mapping[str, str], own: str | None) -> None:
        for name, value in given.items():
            is_email = kind == "contacts" and name == "email"
            if not value or not (is_email or self._is_unique(kind, name)):
                continue
            other = self._by(kind, name, value)
            if other is not None and other.id != own:
                message = f"Contact already exists. Existing ID: {other.id}"
                raise Refused(409, "CONFLICT", message)

    def _new_id(self) -> str:
        self._next += 1
        return str(self._next)

    def _make(self, kind: str, id_: str, _: Mapping[str, str], *, app: str) -> Record:
        at = self._tick()
        record = Record(id=id_, properties={}, created=at, updated=at)
        record.properties["hs_object_source_id"] = app
        self.records[kind][id_] = record
        return record

    def _set(
        self, kind: str, record: Record, given: Mapping[str, str], source: Mapping[str, Any]
    ) -> None:
        """Every value becomes a version, the newest first; HubSpot keeps addresses in lower case."""
        is_new = not record.history
        at = record.created if is_new else self._tick()
        for name, value in given.items():
            kept = value.lower() if name == "email" else value
            version = {"value": kept, "timestamp": rfc3339(at), **source}
            record.history.setdefault(name, []).insert(0, version)
            record.properties[name] = kept
        record.updated = at

    def _tick(self) -> datetime:
        """Later than anything before, and never in the future."""
        self._clock = max(
            self._clock + timedelta(seconds=2), datetime.now(UTC) - timedelta(hours=1)
        )
        return self._clock

    def _row(
        self, kind: str, record: Record, names: Iterable[str], history: Iterable[str] = ()
    ) -> dict[str, Any]:
        """What was asked for and is a property, with what HubSpot always adds."""
        known = {one["name"] for one in self.rows[kind]}
        modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        row: dict[str, Any] = {
            "id": record.id,
            "properties": {
                **{name: record.properties.get(name) for name in names if name in known},
                "createdate": rfc3339(record.created),
                "hs_object_id": record.id,
                modified: rfc3339(record.updated),
            },
            "createdAt": rfc3339(record.created),
            "updatedAt": rfc3339(record.updated),
            "archived": False,
            "url": f"https://app.hubspot.com/contacts/{self.portal}/record/0-1/{record.id}",
        }
        if history := list(history):
            row["propertiesWithHistory"] = {
                name: record.history.get(name, []) for name in history if name in known
            }
        return row

    def _linked(self, kind: str, id_: str, other: str) -> dict[str, Any] | None:
        ids = self.links.get((kind, id_, other), [])
        if not ids:
            return None
        page = _page(ids, None, LINK_PAGE)
        links = [{"id": one, "type": f"{kind}_to_{other}"} for one in page["results"]]
        # A link with a label comes twice.
        return {**page, "results": [*links, links[0]]}


def _source(key: Key) -> dict[str, Any]:
    return {"sourceType": "INTEGRATION", "sourceId": key.app}


def _missing(scope: str) -> Refused:
    return Refused(
        403, "MISSING_SCOPES", "One or more of the following scopes are required.",
        context={"requiredGranularScopes": [scope]},
    )  # fmt: skip


def _batch(results: list[dict[str, Any]], missing: list[str]) -> tuple[int, Any]:
    now = rfc3339(datetime.now(UTC))
    body: dict[str, Any] = {
        "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now,
    }  # fmt: skip
    if not missing:
        return 200, body
    error = {
        "status": "error", "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some objects, they may be deleted or not exist.",
        "context": {"ids": missing}, "errors": [], "links": {},
    }  # fmt: skip
    return 207, {**body, "numErrors": 1, "errors": [error]}


def _page(items: list[Any], after: str | None, size: int) -> dict[str, Any]:
    begin = int(after or 0)
    page: dict[str, Any] = {"results": items[begin : begin + size]}
    if begin + size < len(items):
        page["paging"] = {"next": {"after": str(begin + size)}}
    return page


def _seen(record: Record) -> dict[str, str]:
    """What the index knows: times in milliseconds, phone numbers without their country."""
    seen = dict(record.properties)
    for name, source in (("phone_number", "phone"), ("mobile_number", "mobilephone")):
        digits = re.sub(r"\D", "", seen.get(source, ""))
        seen[f"hs_searchable_calculated_{name}"] = digits[-10:]
    for name in ("lastmodifieddate", "hs_lastmodifieddate"):
        seen[name] = str(int(record.updated.timestamp() * 1000))
    seen["hs_createdate"] = str(int(record.created.timestamp() * 1000))
    return seen


def _fits(seen: Mapping[str, str], one: Mapping[str, str]) -> bool:
    known, value = seen.get(one["propertyName"], ""), one["value"]
    if one["operator"] == "EQ":
        return known.lower() == value.lower()
    if one["operator"] == "GTE":
        return int(known) >= int(value)
    if one["operator"] == "CONTAINS_TOKEN":
        if value.startswith("*"):
            return known.endswith(value[1:])
        words = re.split(r"[\s;]+", known.lower())
        return all(word in words for word in value.lower().split())
    raise AssertionError(f"the fake does not know {one['operator']}")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return text.isdigit()


def _parsed(raw: bytes) -> Any:
    return json.loads(raw) if raw else None


def _form(raw: bytes) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(raw.decode()).items()}


def _rule(method: str, path: str, name: str) -> Rule:
    return Rule(path, methods=[method], endpoint=name)


_OBJECTS = f"/crm/objects/{VERSION}/<kind>"
ROUTES = Map(
    [
        _rule("POST", "/oauth/2026-03/token", "token"),
        _rule("POST", "/oauth/2026-03/token/introspect", "introspect"),
        _rule("GET", "/account-info/2026-03/details", "details"),
        _rule("GET", f"/crm/properties/{VERSION}/<kind>", "properties"),
        _rule("GET", f"/crm/pipelines/{VERSION}/<kind>", "pipelines"),
        _rule("GET", f"/crm/owners/{VERSION}", "owners"),
        _rule("GET", f"{_OBJECTS}/<id_>", "one"),
        _rule("PATCH", f"{_OBJECTS}/<id_>", "update"),
        _rule("POST", _OBJECTS, "create"),
        _rule("POST", f"{_OBJECTS}/search", "search"),
        _rule("POST", f"{_OBJECTS}/batch/read", "batch_read"),
        _rule("POST", f"{_OBJECTS}/batch/upsert", "upsert"),
        _rule("POST", f"/crm/associations/{VERSION}/<kind>/<other>/batch/read", "link_batch"),
    ]
)
