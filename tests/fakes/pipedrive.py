"""A Pipedrive of one's own: records, change logs, notes, fields, users, tokens, over WSGI.

What it knows beyond shapes: the keys of v1 in a body of v2 are ignored, a list of e-mails replaces
the whole list, a deleted or merged record answers with ``is_deleted``, the search is literal and
may lag behind, numbers and addresses stay as they were typed, and every deletion is counted.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from tests.fakes.pipedrive_rules import (
    KEYS,
    PARENTS,
    ROUTES,
    SINGULAR,
    TYPES,
    plain,
    scopes_of,
    texts,
)

API_TOKEN = "a-token-of-a-user"
CLIENT = ("client", "a secret")
REFRESH = "refresh-1"
REGION = "3f1c" * 10
MARK = "ab12" * 10
BUDGET = "77aa" * 10
ORDER = "0d0e" * 10
LOCKED = "5e5e" * 10
OURS, ROBIN = 900, 26


@dataclass(kw_only=True)
class Grant:
    user: int
    scopes: str
    until: datetime


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _v1(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


class Refused(HTTPException):
    """An answer in the form that Pipedrive gives its refusals."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        body = {"success": False, "error": error, "errorCode": status, **more}
        super().__init__(response=_json(body, status))


def _json(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


@dataclass
class Pipedrive:
    scopes: str = (
        "contacts:full deals:full leads:full activities:full search:read recents:read base"
    )
    lifetime: int = 3600
    api_domain: str = ""
    # By object type and number, as v2 (leads: v1) shows them.
    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    users: dict[int, str] = field(default_factory=lambda: {OURS: "Countersign", ROBIN: "Robin"})
    fields: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    has_v1_fields: bool = True
    unindexed: set[str] = field(default_factory=set)
    tokens: dict[str, Grant] = field(default_factory=dict)
    refresh_token: str = REFRESH
    # The scopes of other apps, by their refresh token.
    further: dict[str, str] = field(default_factory=dict)
    token_calls: int = 0
    effects: int = 0
    destroyed: Counter[str] = field(default_factory=Counter)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self._ids = itertools.count(5000)
        self.tokens[API_TOKEN] = Grant(
            user=OURS, scopes="*", until=datetime.max.replace(tzinfo=UTC)
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer = self._answer(request)
        except HTTPException as error:
            answer = error.get_response(environ)
        answer.headers["x-ratelimit-limit"] = "1000"
        answer.headers["x-ratelimit-remaining"] = "999"
        answer.headers["x-ratelimit-reset"] = "2"
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method == "DELETE" or "/merge" in request.path:
            self.destroyed[f"{request.method} {request.path}"] += 1
        try:
            endpoint, values = ROUTES.bind_to_environ(request.environ).match()
        except MethodNotAllowed as error:
            raise Refused(405, "Method not allowed") from error
        except NotFound as error:
            raise Refused(404, "Unknown method") from error
        if endpoint != "token":
            self._require_right(request)
        return Response.force_type(getattr(self, f"_{endpoint}")(request, **values))

    # Rights

    def _token(self, request: Request) -> Response:
        self.token_calls += 1
        pair = base64.b64encode(":".join(CLIENT).encode()).decode()
        if request.headers.get("Authorization") != f"Basic {pair}":
            return _json({"error": "invalid_client"}, 401)
        if request.form.get("grant_type") != "refresh_token":
            return _json({"error": "unsupported_grant_type"}, 400)
        known = {self.refresh_token: self.scopes, **self.further}
        refresh = request.form.get("refresh_token", "")
        if refresh not in known:
            return _json({"error": "invalid_grant", "success": False}, 400)
        text = f"access-{self.token_calls}"
        until = self.clock() + timedelta(seconds=self.lifetime)
        self.tokens[text] = Grant(user=OURS, scopes=known[refresh], until=until)
        answer = {
            "access_token": text,
            "token_type": "Bearer",
            "refresh_token": refresh,
            "scope": known[refresh],
            "expires_in": self.lifetime,
            "api_domain": self.api_domain,
        }
        return _json(answer)

    def _grant(self, request: Request) -> Grant:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant = self.tokens.get(request.headers.get("x-api-token") or bearer)
        if grant is None or grant.until <= self.clock():
            more = "Please check developers.pipedrive.com"
            raise Refused(401, "unauthorized access", error_info=more)
        return grant

    def _require_right(self, request: Request) -> None:
        scopes = self._grant(request).scopes.split()
        right = "read" if request.method == "GET" else "full"
        wanted = scopes_of(request.path, right)
        if "*" not in scopes and not wanted & set(scopes):
            more = "Please check developers.pipedrive.com"
            raise Refused(403, "Scope and URL mismatch", error_info=more)

    # Records

    def _record(self, request: Request, number: Any, plural: str = "leads") -> Response:
        row = self._row(plural, str(number))
        if request.method == "PATCH":
            if row.get("is_deleted"):
                raise Refused(404, f"{SINGULAR.get(plural, 'Item')} not found")
            body = json.loads(request.get_data())
            self.set(plural, str(number), self._taken(plural, body), user=self._grant(request).user)
            self.effects += 1
        return _json({"success": True, "data": row})

    def _row(self, plural: str, number: str) -> dict[str, Any]:
        row = self.records.get(plural, {}).get(number)
        if row is None:
            raise Refused(404, f"{SINGULAR.get(plural, 'Item')} not found")
        return row

    def _taken(self, plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What Pipedrive makes of a body: names that it does not know are passed over."""
        if body.get("is_deleted") or body.get("status") == "deleted":
            self.destroyed["deleted by a body"] += 1
        known = set(KEYS[plural].split()) | {"custom_fields"}
        own = {name for name in body if len(name) == 40} if plural == "leads" else set()
        return {name: value for name, value in body.items() if name in known | own}

    def set(self, plural: str, number: str, values: Mapping[str, Any], *, user: int) -> None:
        row = self.records[plural][number]
        own = values.get("custom_fields") or {}
        row.setdefault("custom_fields", {})
        for target, given in ((row, values), (row["custom_fields"], own)):
            for name, value in given.items():
                if name != "custom_fields" and target.get(name) != value:
                    self._log(plural, number, name, target.get(name), value, user)
                    target[name] = value
        if plural == "leads":
            row.pop("custom_fields")
        if "name" in values:
            row["first_name"], _, row["last_name"] = values["name"].rpartition(" ")
        row["update_time"] = _stamp(self.clock())

    def _log(self, plural: str, number: str, name: str, old: Any, new: Any, user: int) -> None:
        key = {"emails": "email", "phones": "phone", "owner_id": "user_id"}.get(name, name)
        change = {
            "type": plural,
            "id": number,
            "field_key": key,
            "old_value": plain(old),
            "new_value": plain(new),
            "actor_user_id": user,
            "time": _v1(self.clock()),
            "change_source": "api" if user == OURS else "app",
            "is_bulk_update_flag": False,
        }
        self.changes.insert(0, change)

    def _collection(self, request: Request, plural: str) -> Response:
        if request.method == "POST":
            body = self._taken(plural, json.loads(request.get_data()))
            if plural == "activities":
                body = self._checked(body)
            id_ = self.add(plural, **body)
            self.effects += 1
            return _json({"success": True, "data": self.records[plural][id_]})
        rows = [row for row in self.records.get(plural, {}).values() if not row.get("is_deleted")]
        for name in ("person_id", "deal_id", "org_id", "lead_id"):
            if value := request.args.get(name):
                rows = [row for row in rows if str(row.get(name)) == value]
        since = request.args.get("updated_since", "")
        rows = [row for row in rows if row["update_time"] >= since]
        rows.sort(
            key=lambda row: row[request.args.get("sort_by", "id")],
            reverse=request.args.get("sort_direction") == "desc",
        )
        start, limit = int(request.args.get("cursor", 0)), int(request.args.get("limit", 100))
        more = {"next_cursor": str(start + limit)} if len(rows) > start + limit else {}
        page = rows[start : start + limit]
        return _json({"success": True, "data": page, "additional_data": more})

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new activity: an unknown type, a day that is none, a parent that is not there."""
        if body.get("type", "call") not in TYPES:
            raise Refused(400, "type is not an active activity type")
        if (due := body.get("due_date")) and not re.fullmatch(r"\d{4}-\d\d-\d\d", due):
            raise Refused(400, "due_date must be a date in the format YYYY-MM-DD")
        for name, parent in PARENTS.items():
            if name in body and str(body[name]) not in self.records.get(parent, {}):
                raise Refused(400, f"{name}: no such item")
        return {"done": False, "due_date": "", "note": "", "type": "call", **body}

    def _leads(self, request: Request) -> Response:
        """A list of v1, which counts what it gives."""
        rows = list(self.records.get("leads", {}).values())
        start, limit = int(request.args.get("start", 0)), int(request.args.get("limit", 100))
        is_more = len(rows) > start + limit
        more = {"start": start, "limit": limit, "more_items_in_collection": is_more}
        page = rows[start : start + limit]
        return _json({"success": True, "data": page, "additional_data": {"pagination": more}})

    def add(self, plural: str, number: str | None = None, **values: Any) -> str:
        id_ = number or str(next(self._ids))
        stamp = _stamp(self.clock())
        row = {
            "id": id_ if plural == "leads" else int(id_),
            "add_time": stamp,
            "update_time": stamp,
            "owner_id": OURS,
            **values,
        }
        if plural == "persons" and "name" in row:
            row["first_name"], _, row["last_name"] = row["name"].rpartition(" ")
        if plural != "leads":
            row.setdefault("is_deleted", False)
        self.records.setdefault(plural, {})[id_] = row
        return id_

    # Search

    def _search(self, request: Request, plural: str) -> Response:
        items = self._hits(request, [plural])
        return _json({"success": True, "data": {"items": items}, "additional_data": {}})

    def _item_search(self, request: Request) -> Response:
        types = [f"{one}s" for one in request.args["item_types"].split(",")]
        data = {"items": self._hits(request, types), "related_items": []}
        return _json({"success": True, "data": data, "additional_data": {}})

    def _hits(self, request: Request, types: list[str]) -> list[dict[str, Any]]:
        term, kind = request.args["term"].casefold(), request.args.get("fields", "")
        exact = request.args.get("exact_match") == "true"
        found = []
        for type_ in types:
            for id_, row in self.records.get(type_, {}).items():
                known = [text.casefold() for text in texts(row, kind)]
                is_hit = any(term == text if exact else term in text for text in known)
                if is_hit and id_ not in self.unindexed:
                    found.append({"result_score": 1.0, "item": self._item(type_, row)})
        return found

    def _item(self, plural: str, row: dict[str, Any]) -> dict[str, Any]:
        item = {"id": row["id"], "type": plural[:-1], "name": row.get("name") or row.get("title")}
        if plural == "persons":
            item["emails"] = [one["value"] for one in row.get("emails") or ()]
            item["phones"] = [one["value"] for one in row.get("phones") or ()]
        if plural == "persons" and row.get("org_id"):
            organization = self.records["organizations"][str(row["org_id"])]
            item["organization"] = {"id": organization["id"], "name": organization["name"]}
        return item

    # History

    def _log_of(self, plural: str, number: int) -> list[dict[str, Any]]:
        self._row(plural, str(number))
        return [one for one in self.changes if (one["type"], one["id"]) == (plural, str(number))]

    def _changelog(self, request: Request, plural: str, number: int) -> Response:
        rows = [
            {key: value for key, value in row.items() if key not in {"type", "id"}}
            for row in self._log_of(plural, number)
        ]
        start, limit = int(request.args.get("cursor", 0)), int(request.args.get("limit", 100))
        more = {"next_cursor": str(start + limit)} if len(rows) > start + limit else {}
        page = rows[start : start + limit]
        return _json({"success": True, "data": page, "additional_data": more})

    def _flow(self, request: Request, plural: str, number: int) -> Response:
        kind = {"persons": "personChange", "deals": "dealChange"}.get(plural, "organizationChange")
        data = [
            {
                "object": kind,
                "timestamp": row["time"],
                "data": {**row, "user_id": row["actor_user_id"], "log_time": row["time"]},
            }
            for row in self._log_of(plural, number)
        ]
        key = {"persons": "person_id", "deals": "deal_id"}.get(plural, "org_id")
        data += [
            {"object": "activity", "timestamp": row["add_time"], "data": row}
            for row in self.records.get("activities", {}).values()
            if row.get(key) == number
        ]
        more = {"start": 0, "limit": 100, "more_items_in_collection": False}
        return _json({"success": True, "data": data, "additional_data": more})

    def _notes(self, request: Request) -> Response:
        if request.method == "POST":
            body = json.loads(request.get_data())
            if not body.get("content"):
                raise Refused(400, "content is required")
            note = self.note(user=self._grant(request).user, **body)
            self.effects += 1
            return _json({"success": True, "data": note})
        rows = list(reversed(self.notes))
        for name in ("person_id", "deal_id", "org_id", "lead_id", "user_id"):
            if value := request.args.get(name):
                rows = [row for row in rows if str(row.get(name)) == value]
        more = {"start": 0, "limit": 500, "more_items_in_collection": False}
        return _json({"success": True, "data": rows, "additional_data": {"pagination": more}})

    def note(self, *, content: str, user: int = ROBIN, **parents: Any) -> dict[str, Any]:
        at = _v1(self.clock())
        row = {
            "id": next(self._ids),
            "active_flag": True,
            "content": content,
            "add_time": at,
            "update_time": at,
            "user_id": user,
            "user": {"name": self.users[user]},
            **parents,
        }
        self.notes.append(row)
        return row

    def _note(self, request: Request, number: int) -> Response:
        row = next((row for row in self.notes if row["id"] == number), None)
        if row is None:
            raise Refused(404, "Note not found")
        return _json({"success": True, "data": row})

    # Fields, stages, users

    def _newer_fields(self, request: Request, one: str) -> Response:
        rows = [
            {
                "field_name": row["name"],
                "field_code": row["key"],
                "field_type": row["field_type"],
                "options": row.get("options"),
                "subfields": None,
                "is_custom_field": len(row["key"]) == 40,
                "is_optional_response_field": False,
            }
            for row in self.fields[f"{one}s"]
        ]
        return _json({"success": True, "data": rows, "additional_data": {"next_cursor": None}})

    def _older_fields(self, request: Request, one: str) -> Response:
        if not self.has_v1_fields:
            raise Refused(404, "Unknown method")
        more = {"start": 0, "limit": 500, "more_items_in_collection": False}
        rows = [
            {"edit_flag": len(row["key"]) == 40, "bulk_edit_allowed": True, **row}
            for row in self.fields[f"{one}s"]
        ]
        return _json({"success": True, "data": rows, "additional_data": {"pagination": more}})

    def _stages(self, request: Request) -> Response:
        rows = [
            {"id": 3, "order_nr": 2, "name": "Proposal", "is_deleted": False, "pipeline_id": 1},
            {"id": 2, "order_nr": 1, "name": "Contact made", "is_deleted": False, "pipeline_id": 1},
            {"id": 9, "order_nr": 3, "name": "Old", "is_deleted": True, "pipeline_id": 1},
        ]
        return _json({"success": True, "data": rows, "additional_data": {}})

    def _pipelines(self, request: Request) -> Response:
        rows = [{"id": 1, "name": "Sales", "order_nr": 1, "is_deleted": False}]
        return _json({"success": True, "data": rows, "additional_data": {}})

    def _me(self, request: Request) -> Response:
        user = self._grant(request).user
        access = [{"app": "sales", "admin": False, "permission_set_id": "a-set"}]
        data = {"id": user, "name": self.users[user], "access": access}
        return _json({"success": True, "data": data})

    def _user(self, request: Request, number: int) -> Response:
        if number not in self.users:
            raise Refused(404, "User not found")
        return _json({"success": True, "data": {"id": number, "name": self.users[number]}})
