"""What Pipedrive takes, where, with which scope, and what its search looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from werkzeug.routing import Map, Rule

SINGULAR = {"persons": "Person", "deals": "Deal", "organizations": "Organization"}
KEYS = {
    "persons": "name owner_id org_id emails phones visible_to label_ids postal_address notes im "
    "birthday job_title marketing_status",
    "deals": "title owner_id person_id org_id pipeline_id stage_id value currency is_deleted "
    "is_archived status probability lost_reason visible_to expected_close_date label_ids",
    "organizations": "name owner_id visible_to label_ids address website linkedin industry "
    "annual_revenue employee_count",
    "activities": "subject type owner_id deal_id lead_id person_id org_id due_date due_time "
    "duration busy done location public_description priority note",
    "leads": "title owner_id label_ids person_id organization_id is_archived value "
    "expected_close_date visible_to was_seen",
}

TYPES = frozenset({"call", "meeting", "task", "deadline", "email", "lunch"})
PARENTS = {
    "person_id": "persons",
    "deal_id": "deals",
    "org_id": "organizations",
    "lead_id": "leads",
}

ROUTES = Map(
    [
        Rule("/oauth/token", endpoint="token", methods=["POST"]),
        Rule("/v1/users/me", endpoint="me", methods=["GET"]),
        Rule("/v1/users/<int:number>", endpoint="user", methods=["GET"]),
        Rule("/v1/notes", endpoint="notes", methods=["GET", "POST"]),
        Rule("/v1/notes/<int:number>", endpoint="note", methods=["GET"]),
        Rule("/v1/leads", endpoint="leads", methods=["GET"]),
        Rule("/v1/leads/<number>", endpoint="record", methods=["GET", "PATCH"]),
        Rule(
            "/v1/<any(persons,deals,organizations):plural>/<int:number>/changelog",
            endpoint="changelog",
        ),
        Rule(
            "/v1/<any(persons,deals,organizations):plural>/<int:number>/flow",
            endpoint="flow",
        ),
        Rule("/v1/<any(person,deal,organization):one>Fields", endpoint="older_fields"),
        Rule("/api/v2/<any(person,deal,organization):one>Fields", endpoint="newer_fields"),
        Rule("/api/v2/<any(persons,deals):plural>/search", endpoint="search"),
        Rule("/api/v2/itemSearch", endpoint="item_search"),
        Rule("/api/v2/stages", endpoint="stages"),
        Rule("/api/v2/pipelines", endpoint="pipelines"),
        Rule(
            "/api/v2/<any(persons,deals,organizations,activities):plural>",
            endpoint="collection",
            methods=["GET", "POST"],
        ),
        Rule(
            "/api/v2/<any(persons,deals,organizations,activities):plural>/<int:number>",
            endpoint="record",
            methods=["GET", "PATCH"],
        ),
    ]
)


def plain(value: Any) -> str | None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return next((one["value"] for one in value if one.get("primary")), value[0]["value"])
    return value if value is None or isinstance(value, str) else json.dumps(value)


def texts(row: Mapping[str, Any], kind: str) -> list[str]:
    if kind in {"email", "phone"}:
        return [one["value"] for one in row.get(f"{kind}s") or ()]
    if kind == "custom_fields":
        return [str(value) for value in (row.get("custom_fields") or {}).values() if value]
    return [str(row.get("name") or row.get("title") or "")]


def scopes_of(path: str, right: str) -> set[str]:
    """Any of these opens the path, as the description lists them."""
    if path.endswith(("/changelog", "/flow")):
        return {"recents:read"}
    if path.endswith("/users/me"):
        return {"base"}
    if "/users/" in path:
        return {"users:read"}
    areas = {"contacts"}
    if "/notes" in path:
        areas = {"contacts", "deals"}
    elif any(part in path for part in ("/deal", "/stages", "/pipelines")):
        areas = {"deals"}
    elif "/leads" in path or "/activities" in path:
        areas = {"leads" if "/leads" in path else "activities"}
    if path.endswith("/itemSearch"):
        return {"search:read"}
    rights = {"full"} if right == "full" else {"read", "full"}
    found = {f"{area}:{one}" for area in areas for one in rights}
    return found | ({"search:read"} if path.endswith("/search") else set())
