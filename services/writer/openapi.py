"""The OpenAPI 3.1 description, generated from the schemas of the acts and the views."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apispec import APISpec

    from services.writer.routes import Operation

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                name: {"type": ["string", "null"]}
                for name in ("code", "message", "not_done", "advice", "id")
            },
        }
    },
}
ERRORS = {
    "400": "The request is not understood",
    "401": "Nobody is signed in",
    "403": "A rule refuses",
    "404": "There is no such thing",
    "409": "Somebody was first, or what was shown has changed",
    "422": "The body has the wrong shape",
    "503": "Something is not reachable; try again",
}
PLAIN = {str: "string", int: "integer", bool: "boolean", type(None): "null", float: "number"}


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document, ready for JSON."""
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    spec = APISpec(
        title="Countersign review API",
        version="1",
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin()],
        info={"description": "Cards, decisions, worklist, drafts and the stop switch."},
    )
    spec.components.schema("Error", ERROR)
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    for operation in operations:
        path = "/api" + re.sub(r"<(\w+)>", r"{\1}", operation.path)
        spec.path(path=path, operations={operation.method.lower(): _operation(spec, operation)})
    return dict(spec.to_dict())


def _operation(spec: APISpec, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"For {', '.join(operation.roles)}.",
        "security": [{"token": []}],
        "parameters": _parameters(operation),
        "responses": _responses(spec, operation),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameters(operation: Operation) -> list[Any]:
    parameters: list[Any] = [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"<(\w+)>", operation.path)
    ]
    if operation.query is not None:
        parameters.append({"in": "query", "schema": operation.query})
    return parameters


def _responses(spec: APISpec, operation: Operation) -> dict[str, Any]:
    responses = {
        code: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for code, text in ERRORS.items()
    }
    schema = _answer(spec, operation.answer)
    return {"200": {"description": "Done", "content": {"application/json": {"schema": schema}}}} | (
        responses
    )


def _answer(spec: APISpec, answer: Any) -> dict[str, Any]:
    if answer is None:
        return {"type": "object"}
    if isinstance(answer, tuple):
        items = {"type": "array", "items": _schema(spec, answer[0])}
        return {"type": "object", "required": ["items"], "properties": {"items": items}}
    return _schema(spec, answer)


def _schema(spec: APISpec, hint: Any) -> dict[str, Any]:
    """The JSON schema of a type that a view uses."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _reference(spec, hint)
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(one) for one in hint]}
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return {"anyOf": [_schema(spec, arg) for arg in typing.get_args(hint)]}
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": _schema(spec, args[0])}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "prefixItems": [_schema(spec, arg) for arg in args]}
    raise TypeError(f"no schema for {hint}")


def _reference(spec: APISpec, view: type) -> dict[str, Any]:
    """The view as a component of its own, described once."""
    name = view.__name__
    if name not in spec.components.schemas:
        spec.components.schemas[name] = {}  # Named before its fields: views may nest.
        hints = typing.get_type_hints(view)
        spec.components.schemas[name] = {
            "type": "object",
            "description": (view.__doc__ or "").strip().split("\n")[0],
            "required": list(hints),
            "properties": {field: _schema(spec, hint) for field, hint in hints.items()},
        }
    return {"$ref": f"#/components/schemas/{name}"}
