"""The REST API of the double of Salesforce: rows, descriptions, questions, collections.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_list.htm
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from tests.fakes.salesforce_http import Request, Response, request_of
from tests.fakes.salesforce_literals import Refused
from tests.fakes.salesforce_org import Org, RefusedWrite, User, is_writable
from tests.fakes.salesforce_schema import SObject, described_field
from tests.fakes.salesforce_sign_in import TOKEN_PATH, SignIn
from tests.fakes.salesforce_soql import Answered, answer
from tests.fakes.salesforce_view import View, attributes, shown

OLDEST, NEWEST = 20, 67


@dataclass(kw_only=True)
class Api:
    """``limit`` are the calls of a day; ``page`` is how many rows an answer holds."""

    org: Org
    sign_in: SignIn
    limit: int = 15_000
    used: int = 0
    page: int = 2_000
    cursors: dict[str, Answered] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = self.answer(request_of(environ))
        body = b"" if response.body is None else json.dumps(response.body).encode()
        headers = [("Content-Type", "application/json;charset=UTF-8"), *response.headers.items()]
        if response.status not in {204, 304}:
            headers.append(("Content-Length", str(len(body))))
        start_response(f"{response.status} Answer", headers)
        return [body]

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == TOKEN_PATH:
            return self.sign_in.token(request)
        try:
            # One call after the other, as the CRM locks a row that is written.
            with self.lock:
                response = self.called(request)
        except RefusedWrite as refusal:
            response = Response(status=refusal.status, body=refusal.errors)
        except Refused as refusal:
            error = {"message": refusal.message, "errorCode": refusal.code}
            response = Response(status=400, body=[error])
        response.headers["Sforce-Limit-Info"] = f"api-usage={self.used}/{self.limit}"
        return response

    def called(self, request: Request) -> Response:
        if request.path == "/services/data":
            rows = [
                {"label": "x", "url": f"/services/data/v{n}.0", "version": f"{n}.0"}
                for n in range(OLDEST, NEWEST + 1)
            ]
            return Response(status=200, body=rows)
        user = self.sign_in.user(request)
        if self.used >= self.limit:
            raise RefusedWrite(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", None)
        self.used += 1
        if request.body and "json" not in request.content_type:
            raise RefusedWrite(
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                f"Content type {request.content_type} is not supported.",
                None,
            )
        found = re.fullmatch(r"/services/data/v(\d+)\.0(/.*?)?/?", request.path)
        if not found or not OLDEST <= int(found[1]) <= NEWEST:
            raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)
        return self.routed(request, user, f"v{found[1]}.0", (found[2] or "").strip("/").split("/"))

    def routed(self, request: Request, user: User, version: str, parts: list[str]) -> Response:
        match request.method, parts:
            case "GET", [""]:
                return Response(status=200, body={"sobjects": f"/services/data/{version}/sobjects"})
            case "GET", ["limits"]:
                left = {"Max": self.limit, "Remaining": self.limit - self.used}
                return Response(status=200, body={"DailyApiRequests": left})
            case "GET", ["query" | "queryAll" as kind]:
                found = answer(
                    request.query.get("q", ""), View(self.org, user), everything=kind == "queryAll"
                )
                return Response(status=200, body=self.paged(found, user, version, 0, ""))
            case "GET", ["query" | "queryAll", cursor]:
                key, _, at = cursor.rpartition("-")
                if key not in self.cursors or not at.isdigit():
                    raise RefusedWrite(400, "INVALID_QUERY_LOCATOR", "invalid query locator", None)
                return Response(
                    status=200, body=self.paged(self.cursors[key], user, version, int(at), key)
                )
            case "GET", ["sobjects"]:
                rows = [self.summary(one, user, version) for one in self.org.schema.values()]
                return Response(
                    status=200, body={"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": rows}
                )
            case (("POST" | "PATCH"), ["composite", "sobjects"]):
                return self.collection(request, user)
            case _, ["sobjects", name, *rest]:
                try:
                    sobject = self.org.sobject(name)
                except Refused as error:
                    raise RefusedWrite(
                        404, "NOT_FOUND", "The requested resource does not exist", None
                    ) from error
                return self.rows(request, user, version, sobject, rest)
        raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)

    def rows(
        self, request: Request, user: User, version: str, sobject: SObject, rest: list[str]
    ) -> Response:
        org = self.org
        match request.method, rest:
            case "GET", []:
                return Response(
                    status=200,
                    body={
                        "objectDescribe": self.summary(sobject, user, version),
                        "recentItems": [],
                    },
                )
            case "POST", []:
                return _created(org.create(sobject, request.fields(), user))
            case "GET", ["describe"]:
                return self.described(request, user, version, sobject)
            case "GET", [id_]:
                return self.one(request, user, version, sobject, org.get(sobject.name, id_))
            case "PATCH", [id_]:
                row = org.get(sobject.name, id_)
                _require_unchanged(request, row)
                values = request.fields()
                if "Id" in values:
                    raise RefusedWrite(
                        400,
                        "INVALID_FIELD",
                        "The Id field should not be specified in the sobject data.",
                        ["Id"],
                    )
                org.update(sobject, row, values, user)
                if request.headers.get("sforce-auto-assign", "TRUE").upper() != "FALSE":
                    org.assign(sobject, row, user)
                return Response(status=204)
            case "GET", [name, value]:
                found = self.by_external_id(sobject, name, value)
                if not found:
                    raise RefusedWrite(
                        404, "NOT_FOUND", "The requested resource does not exist", None
                    )
                return self.one(request, user, version, sobject, found[0])
            case "PATCH", [name, value]:
                return self.upsert(request, user, version, sobject, name, value)
        allowed = {0: "GET,POST,HEAD", 1: "GET,PATCH,HEAD", 2: "GET,PATCH,HEAD"}.get(len(rest))
        if allowed is None:
            raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)
        raise RefusedWrite(
            405,
            "METHOD_NOT_ALLOWED",
            f"HTTP Method '{request.method}' not allowed. Allowed are {allowed}",
            None,
        )

    def one(
        self, request: Request, user: User, version: str, sobject: SObject, row: dict[str, Any]
    ) -> Response:
        if not user.may("read", sobject.name):
            raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)
        view = View(self.org, user)
        known = view.visible(sobject)
        wanted = (
            request.query.get("fields", "").split(",") if "fields" in request.query else list(known)
        )
        for name in wanted:
            if name not in known:
                raise RefusedWrite(
                    400,
                    "INVALID_FIELD",
                    f"No such column '{name}' on sobject of type {sobject.name}",
                    None,
                )
        body = {
            "attributes": attributes(sobject.name, row, version),
            **{name: row.get(name) for name in wanted},
        }
        changed = _at(row["LastModifiedDate"])
        since = request.headers.get("if-modified-since")
        if since and changed <= parsedate_to_datetime(since):
            return Response(status=304)
        stamp = format_datetime(changed, usegmt=True)
        return Response(
            status=200, body={**body, "Id": row["Id"]}, headers={"Last-Modified": stamp}
        )

    def by_external_id(self, sobject: SObject, name: str, value: str) -> list[dict[str, Any]]:
        known = sobject.fields.get(name)
        if known is None or not known.external_id:
            raise RefusedWrite(
                404,
                "NOT_FOUND",
                f"Provided external ID field does not exist or is not accessible: {name}",
                None,
            )
        return self.org.by_field(sobject, name, value)

    def upsert(
        self, request: Request, user: User, version: str, sobject: SObject, name: str, value: str
    ) -> Response:
        found, values = self.by_external_id(sobject, name, value), request.fields()
        if name in values:
            raise RefusedWrite(
                400,
                "INVALID_FIELD",
                f"The {name} field should not be specified in the sobject data.",
                [name],
            )
        if len(found) > 1:
            return Response(
                status=300,
                body=[
                    f"/services/data/{version}/sobjects/{sobject.name}/{row['Id']}" for row in found
                ],
            )
        if found:
            _require_unchanged(request, found[0])
            self.org.update(sobject, found[0], values, user)
            return Response(
                status=200,
                body={"id": found[0]["Id"], "success": True, "errors": [], "created": False},
            )
        if request.query.get("updateOnly") == "true":
            raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)
        made = _created(self.org.create(sobject, {**values, name: value}, user))
        made.body["created"] = True
        return made

    def collection(self, request: Request, user: User) -> Response:
        """Several rows in one call: 200, and each row says whether it was taken."""
        said = request.json()
        rows = said.get("records") if isinstance(said, dict) else None
        if not isinstance(rows, list) or not 0 < len(rows) <= 200:
            raise RefusedWrite(400, "JSON_PARSER_ERROR", "records: 1 to 200 rows", None)
        before = (json.loads(json.dumps(self.org.records)), self.org.effects)
        results = [self._row_of_collection(row, request.method, user) for row in rows]
        if said.get("allOrNone") and not all(result["success"] for result in results):
            self.org.records, self.org.effects = before
            text = "Record rolled back because not all records were valid and the request was using AllOrNone header"
            rolled = {
                "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                "message": text,
                "fields": [],
            }
            results = [
                {"success": False, "errors": [rolled]} if one["success"] else one for one in results
            ]
        return Response(status=200, body=results)

    def _row_of_collection(self, row: Any, method: str, user: User) -> dict[str, Any]:
        try:
            sobject = self.org.sobject(row["attributes"]["type"])
            values = {
                name: value for name, value in row.items() if name not in {"attributes", "id", "Id"}
            }
            id_ = row.get("id", row.get("Id", ""))
            if method == "PATCH":
                self.org.update(sobject, self.org.get(sobject.name, id_), values, user)
            else:
                id_ = self.org.create(sobject, values, user)
        except (RefusedWrite, Refused, KeyError, TypeError) as error:
            first = (
                error.errors[0]
                if isinstance(error, RefusedWrite)
                else {"errorCode": "INVALID_TYPE", "message": str(error)}
            )
            return {
                "success": False,
                "errors": [
                    {
                        "statusCode": first["errorCode"],
                        "message": first["message"],
                        "fields": first.get("fields", []),
                    }
                ],
            }
        return {"id": id_, "success": True, "errors": []}

    def paged(self, found: Answered, user: User, version: str, at: int, key: str) -> dict[str, Any]:
        if found.columns is None:
            return {"totalSize": len(found.rows), "done": True, "records": []}
        end = at + self.page
        view = View(self.org, user)
        body: dict[str, Any] = {"totalSize": len(found.rows), "done": end >= len(found.rows)}
        if not body["done"]:
            key = key or f"01gak{len(self.cursors):010d}"
            self.cursors[key] = found
            body["nextRecordsUrl"] = f"/services/data/{version}/query/{key}-{end}"
        rows = found.rows[at:end]
        return body | {"records": [shown(found, row, view, version) for row in rows]}

    def summary(self, sobject: SObject, user: User, version: str) -> dict[str, Any]:
        return {
            "name": sobject.name, "label": sobject.name, "labelPlural": f"{sobject.name}s", "keyPrefix": sobject.prefix,
            "custom": sobject.name.endswith("__c"), "queryable": user.may("read", sobject.name),
            "createable": user.may("create", sobject.name), "updateable": user.may("update", sobject.name),
            "deletable": user.may("delete", sobject.name), "retrieveable": True, "searchable": True,
            "urls": {"sobject": f"/services/data/{version}/sobjects/{sobject.name}"},
        }  # fmt: skip

    def described(self, request: Request, user: User, version: str, sobject: SObject) -> Response:
        since = request.headers.get("if-modified-since")
        if since and self.org.described_at.replace(microsecond=0) <= parsedate_to_datetime(since):
            return Response(status=304)
        may = {right: user.may(right, sobject.name) for right in ("update", "create")}
        fields = [
            described_field(
                one,
                may_update=may["update"] and is_writable(sobject, one, user, is_new=False),
                may_create=may["create"] and is_writable(sobject, one, user, is_new=True),
            )
            for one in View(self.org, user).visible(sobject).values()
        ]
        body = {
            **self.summary(sobject, user, version),
            "fields": fields,
            "childRelationships": [],
            "recordTypeInfos": [],
        }
        stamp = format_datetime(self.org.described_at, usegmt=True)
        return Response(status=200, body=body, headers={"Last-Modified": stamp})


def _require_unchanged(request: Request, row: Mapping[str, Any]) -> None:
    """The condition on a write, by whole seconds."""
    given = request.headers.get("if-unmodified-since")
    if given is None:
        return
    try:
        when = parsedate_to_datetime(given)
    except ValueError as error:
        raise RefusedWrite(400, "INVALID_HEADER", "invalid If-Unmodified-Since", None) from error
    if _at(row["LastModifiedDate"]) > when.astimezone(UTC):
        raise RefusedWrite(412, "PRECONDITION_FAILED", "The record has been modified since", None)


def _created(id_: str) -> Response:
    return Response(status=201, body={"id": id_, "success": True, "errors": []})


def _at(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).astimezone(UTC)
