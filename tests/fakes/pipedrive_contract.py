"""Pipedrive's two descriptions as one strict contract, and the way through Prism to the fake.

The descriptions lie beside the repository (``../shared/specs``). What they lack and the connector
asks for stands here: the field lists of v1 and the change log and flow of organizations.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import requests

from tests.beside import beside

_OBJECT = {"type": "object", "additionalProperties": True}
_HOP = {"transfer-encoding", "connection", "keep-alive", "content-length", "date", "server"}


@functools.cache
def contract() -> dict[str, Any]:
    """Unknown keys in the bodies are refused, which the vendor's own descriptions allow."""
    newer, older = (_read(f"pipedrive-{version}.json") for version in ("v2", "v1"))
    paths = {**newer["paths"], **older["paths"], **_missing(older["paths"])}
    for operations in paths.values():
        for operation in operations.values():
            if isinstance(operation, dict):
                _close(operation)
    return {**newer, "paths": paths}


def operations() -> Iterator[tuple[str, str]]:
    """Every write that the contract has, as method and path."""
    for path, found in contract()["paths"].items():
        yield from (
            (method.upper(), path) for method in found if method in {"post", "patch", "put"}
        )


def _read(name: str) -> Any:
    return json.loads(beside(f"specs/{name}").read_text())


def _close(operation: dict[str, Any]) -> None:
    content = (operation.get("requestBody") or {}).get("content") or {}
    schema = (content.get("application/json") or {}).get("schema") or {}
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)


def _missing(older: dict[str, Any]) -> dict[str, Any]:
    """Written after the documentation of v1, in the words of the description."""
    page = [_query("start", "integer"), _query("limit", "integer")]
    row = {
        "type": "object",
        "required": ["key", "name", "field_type"],
        "properties": {
            "key": {"type": "string"},
            "name": {"type": "string"},
            "field_type": {"type": "string"},
            "edit_flag": {"type": "boolean"},
            "bulk_edit_allowed": {"type": "boolean"},
        },
    }
    lists = {
        f"/v1/{name}Fields": {"get": _operation(page, {"type": "array", "items": row})}
        for name in ("person", "deal", "organization")
    }
    organizations = {
        path.replace("persons", "organizations"): older[path]
        for path in ("/v1/persons/{id}/changelog", "/v1/persons/{id}/flow")
    }
    return {**lists, **organizations}


def _query(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}}


def _operation(parameters: list[Any], data: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": ["success", "data"], "properties": {"data": data}}
    answer = {"description": "Success", "content": {"application/json": {"schema": schema}}}
    secured = [{"api_key": []}, {"oauth2": []}]
    return {"security": secured, "parameters": parameters, "responses": {"200": answer}}


@dataclass
class Checked:
    """A WSGI app that sends every call on to Prism, and keeps what broke the contract."""

    prism: str
    contract: dict[str, Any]
    violations: list[str] = field(default_factory=list)
    bodies: list[tuple[str, str, Any]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._forms = [
            (re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path) + "$"), path)
            # A path without variables comes before one that would take its last part for an id.
            for path in sorted(self.contract["paths"], key=lambda path: path.count("{"))
        ]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self._note(method, path, query, body)
        headers = {
            name[5:].replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name != "HTTP_HOST"
        }
        if kind := environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = kind
        answer = self._session.request(
            method,
            f"{self.prism}{path}" + (f"?{query}" if query else ""),
            data=body or None,
            headers=headers,
            timeout=20,
            allow_redirects=False,
        )
        broken = [
            one
            for one in json.loads(answer.headers.get("sl-violations", "[]"))
            # The descriptions name hardly any refusal; those of the fake are in Pipedrive's form.
            if "Unable to match the returned status code" not in one["message"]
        ]
        if broken or b"stoplight.io/prism" in answer.content:
            self.violations.append(f"{method} {path}: {broken} {answer.text[:500]}")
        kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
        kept = [pair for pair in kept if pair[0].lower() != "content-encoding"]
        start_response(
            f"{answer.status_code} {answer.reason}",
            [*kept, ("Content-Length", str(len(answer.content)))],
        )
        return [answer.content]

    def _note(self, method: str, path: str, query: str, body: bytes) -> None:
        """A parameter that the description does not have is one that Pipedrive ignores."""
        template = next((name for form, name in self._forms if form.match(path)), None)
        if template is None:
            self.violations.append(f"{method} {path}: no such path")
            return
        operation = self.contract["paths"][template].get(method.lower()) or {}
        known = {one["name"] for one in operation.get("parameters") or () if one["in"] == "query"}
        unknown = {name for name, _ in parse_qsl(query, keep_blank_values=True)} - known
        if unknown:
            self.violations.append(f"{method} {template}: unknown parameters {sorted(unknown)}")
        self.seen.add((method, template))
        if body[:1] == b"{":
            self.bodies.append((method, template, json.loads(body)))


def fixture(name: str) -> Any:
    """An answer recorded from Pipedrive itself."""
    return _read(str(Path("fixtures") / "pipedrive" / name))
