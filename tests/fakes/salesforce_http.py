"""A call of the double of Salesforce as it came over HTTP, and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.salesforce_org import RefusedWrite


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    content_type: str = ""

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RefusedWrite(400, "JSON_PARSER_ERROR", "Unexpected character", None) from error

    def fields(self) -> dict[str, Any]:
        found = self.json()
        if not isinstance(found, dict):
            raise RefusedWrite(
                400, "JSON_PARSER_ERROR", "Cannot deserialize instance of sobject", None
            )
        return {name: value for name, value in found.items() if name != "attributes"}


@dataclass(kw_only=True)
class Response:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def request_of(environ: dict[str, Any]) -> Request:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query=dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
        headers=headers,
        body=environ["wsgi.input"].read(length) if length else b"",
        content_type=environ.get("CONTENT_TYPE", ""),
    )
