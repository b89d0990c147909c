"""Every route × every role against one table; a route without a row here fails the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from shared.access import ROLES
from shared.db import open_database
from shared.people import People
from shared.sessions import Sessions
from shared.web import build_app

NOBODY: frozenset[str] = frozenset()
ANYBODY = "public"  # No sign-in: signed hooks, health, sign-in itself.
EVERYBODY = frozenset(ROLES)
ADMIN = frozenset({"admin"})
READERS_OF_PEOPLE = frozenset({"admin", "auditor"})

# "METHOD /rule": who may call it.
FOUNDATION: dict[str, Any] = {
    "GET /": EVERYBODY,
    "GET /healthz": ANYBODY,
    "GET /readyz": ANYBODY,
    "GET /metrics": ANYBODY,  # The view itself asks for this machine, a token or a role.
    "GET /static/<name>": ANYBODY,
    "GET /fragment/nav": EVERYBODY,
    "GET /sign-in": ANYBODY,
    "POST /sign-in": ANYBODY,
    "GET /sign-in/<secret>": ANYBODY,
    "POST /sign-in/<secret>": ANYBODY,
    "POST /sign-out": EVERYBODY,
    "GET /people": READERS_OF_PEOPLE,
    "GET /people/<person>": READERS_OF_PEOPLE,
    "GET /api/people": READERS_OF_PEOPLE,
    "POST /people": ADMIN,
    "POST /api/people": ADMIN,
    "POST /people/<person>/link": ADMIN,
    "POST /api/people/<person>/link": ADMIN,
    "POST /people/<person>/roles": ADMIN,
    "POST /api/people/<person>/roles": ADMIN,
    "POST /people/<person>/disable": ADMIN,
    "POST /api/people/<person>/disable": ADMIN,
    "POST /people/<person>/enable": ADMIN,
    "POST /api/people/<person>/enable": ADMIN,
    "GET /account": EVERYBODY,
    "GET /api/account": EVERYBODY,
    "POST /account/sessions/<session>/end": EVERYBODY,
    "POST /account/sign-out-everywhere": EVERYBODY,
    "POST /account/tokens": EVERYBODY,
    "POST /account/tokens/<token>/drop": EVERYBODY,
    "POST /account/password": EVERYBODY,
}
TABLE = {**FOUNDATION}


def routes_of(app: Flask) -> dict[str, str]:
    """``METHOD /rule`` of every route, with a path that matches it."""
    found = {}
    for rule in app.url_map.iter_rules():
        path = str(rule)
        for name in rule.arguments:
            converter = rule._converters[name]
            text = "1" if "Integer" in type(converter).__name__ else "nobody-here"
            path = path.replace(next(p for p in _spellings(path) if p.endswith(f"{name}>")), text)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            found[f"{method} {rule}"] = path
    return found


def _spellings(path: str) -> list[str]:
    return [f"<{part.split('>')[0]}>" for part in path.split("<")[1:]]


@pytest.fixture
def installation(tmp_path: Path) -> tuple[Flask, dict[str, str]]:
    """The application with one person per role, and the API token of each."""
    people = People(tmp_path / "people.toml")
    for role in ROLES:
        people.add(role, roles=[role])
    people.add("second admin", roles=["admin"])
    sessions = Sessions(engine=open_database(f"sqlite:///{tmp_path}/sessions.db"))
    sessions.create_tables()
    app = build_app(all_parts(tmp_path), people, public_url="http://localhost", sessions=sessions)
    return app, {role: people.make_token(role, "test") for role in ROLES}


def all_parts(_: Path) -> list[tuple[str, Any, Any]]:
    """The web parts of the services, wired on files in the folder."""
    return []


def test_every_route_has_a_row_and_every_row_a_route(
    installation: tuple[Flask, dict[str, str]],
) -> None:
    assert set(routes_of(installation[0])) == set(TABLE)


def test_every_role_may_call_exactly_what_the_table_says(
    installation: tuple[Flask, dict[str, str]],
) -> None:
    app, tokens = installation
    wrong = []
    for route, path in routes_of(app).items():
        method, allowed = route.split(" ")[0], TABLE[route]
        for role in ROLES:
            bearer = {"Authorization": f"Bearer {tokens[role]}", "Accept": "application/json"}
            answer = app.test_client().open(path, method=method, headers=bearer)
            may = allowed == ANYBODY or role in allowed
            if _is_shut(answer) is may:
                wrong.append(f"{role}: {route} answered {answer.status_code}")
    assert wrong == []


def test_nobody_who_is_not_signed_in_gets_past_the_door(
    installation: tuple[Flask, dict[str, str]],
) -> None:
    app, _ = installation
    for route, path in routes_of(app).items():
        if TABLE[route] == ANYBODY:
            continue
        answer = app.test_client().open(
            path, method=route.split(" ")[0], headers={"Accept": "application/json"}
        )
        assert answer.status_code == 401, route


def _is_shut(answer: Any) -> bool:
    """The door's own words: a view behind it may refuse for reasons of its own."""
    error = (answer.get_json() or {}).get("error", {}) if answer.is_json else {}
    message = str(error.get("message", ""))
    return message.startswith("This is for:") or error.get("code") == "not_signed_in"
