"""Every route × every role against one table; a route without a row here fails the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from services.embedded import prepare_databases
from services.installation import Installation, RunSettings
from services.wiring import web_application
from shared.access import ROLES
from shared.people import People
from shared.web import NAV

NOBODY: frozenset[str] = frozenset()
ANYBODY = "public"  # No sign-in: health, sign-in itself. The door of the hooks has no view.
EVERYBODY = frozenset(ROLES)
ADMIN = frozenset({"admin"})
READERS_OF_PEOPLE = frozenset({"admin", "auditor"})
DECIDERS = frozenset({"approver", "admin"})
CARD_READERS = frozenset({"approver", "admin", "auditor"})  # Support sees masked values only.
LOG_READERS = frozenset({"support", "admin", "auditor"})

# "METHOD /rule": who may call it.
FOUNDATION: dict[str, Any] = {
    "GET /": EVERYBODY,
    "GET /healthz": ANYBODY,
    "GET /readyz": ANYBODY,
    "GET /metrics": ANYBODY,  # The view itself asks for this machine, a token or a role.
    "GET /static/<name>": ANYBODY,
    "GET /fragment/banner": EVERYBODY,
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
PRODUCT: dict[str, Any] = {
    "GET /api/asks": CARD_READERS,
    "GET /api/asks/<id>": CARD_READERS,
    "POST /api/asks": DECIDERS,
    "GET /api/cards": CARD_READERS,
    "GET /api/cards/<id>": CARD_READERS,
    "POST /api/cards/<id>/again": DECIDERS,
    "POST /api/cards/<id>/approve": DECIDERS,
    "POST /api/cards/<id>/assign": DECIDERS,
    "POST /api/cards/<id>/claim": DECIDERS,
    "GET /api/cards/<id>/now": CARD_READERS,
    "POST /api/cards/<id>/opened": DECIDERS,
    "POST /api/cards/<id>/reject": DECIDERS,
    "POST /api/cards/<id>/release": DECIDERS,
    "POST /api/cards/<id>/reread": DECIDERS,
    "POST /api/cards/<id>/snooze": DECIDERS,
    "GET /api/cards/counts": CARD_READERS,
    "GET /api/chains/<chain>": EVERYBODY,
    "POST /api/changes/<id>/settle": DECIDERS,
    "POST /api/changes/<id>/undo": DECIDERS,
    "GET /api/drafts": CARD_READERS,
    "POST /api/drafts/<id>/discard": DECIDERS,
    "GET /api/drafts/<id>/duplicates": CARD_READERS,
    "POST /api/drafts/<id>/promote": DECIDERS,
    "GET /api/entries/<int:seq>": EVERYBODY,
    "GET /api/log/balance": LOG_READERS,
    "GET /api/log/checkpoint": EVERYBODY,
    "GET /api/log/complete": EVERYBODY,
    "GET /api/log/export": READERS_OF_PEOPLE,
    "GET /api/openapi.json": CARD_READERS,
    "GET /api/crms": CARD_READERS,
    "GET /api/policy": CARD_READERS,
    "GET /api/records": CARD_READERS,
    "POST /api/resume": DECIDERS,
    "GET /api/search": EVERYBODY,
    "GET /api/sources": ADMIN,
    "GET /api/stop": CARD_READERS,
    "POST /api/stop": DECIDERS,
    "POST /api/unmask": LOG_READERS,
    "GET /api/worklist": CARD_READERS,
    "GET /api/worklist/<id>": CARD_READERS,
    "POST /api/worklist/<id>": DECIDERS,
    "GET /ask": CARD_READERS,
    "POST /ask": DECIDERS,
    "GET /ask/<ask_id>": CARD_READERS,
    "GET /fragment/ask/<ask_id>": CARD_READERS,
    "GET /cards/<card_id>": CARD_READERS,
    "POST /cards/<card_id>/again": DECIDERS,
    "POST /cards/<card_id>/approve": DECIDERS,
    "POST /cards/<card_id>/assign": DECIDERS,
    "POST /cards/<card_id>/claim": DECIDERS,
    "POST /cards/<card_id>/opened": DECIDERS,
    "POST /cards/<card_id>/reject": DECIDERS,
    "POST /cards/<card_id>/release": DECIDERS,
    "POST /cards/<card_id>/reread": DECIDERS,
    "POST /changes/<change_id>/settle": DECIDERS,
    "POST /changes/<change_id>/undo": DECIDERS,
    "GET /decided": CARD_READERS,
    "GET /drafts": CARD_READERS,
    "GET /drafts/<change_id>": CARD_READERS,
    "POST /drafts/<change_id>/discard": DECIDERS,
    "POST /drafts/<change_id>/promote": DECIDERS,
    "GET /entries/<int:seq>": EVERYBODY,
    "GET /fragment/cards/<card_id>/change": CARD_READERS,
    "GET /fragment/cards/<card_id>/now": CARD_READERS,
    "GET /fragment/writing": EVERYBODY,
    "GET /log": LOG_READERS,
    "GET /look": CARD_READERS,
    "GET /look/<event_id>": CARD_READERS,
    "POST /look/<event_id>": DECIDERS,
    "GET /crms": CARD_READERS,
    "GET /crms/<crm>/survey": ADMIN,
    "GET /policy": CARD_READERS,
    "GET /queue": CARD_READERS,
    "GET /raw/<id_>": DECIDERS,
    "GET /search": EVERYBODY,
    "GET /status": EVERYBODY,
    "GET /status/dead": ADMIN,
    "GET /api/dead": ADMIN,
    "POST /status/dead/replay": ADMIN,
    "POST /api/dead/replay": ADMIN,
    "POST /status/dead/drop": ADMIN,
    "POST /api/dead/drop": ADMIN,
    "GET /status/sources": ADMIN,
    "GET /api/sources/<source>/<name>": ADMIN,
    "POST /api/sources/<source>": ADMIN,
    "POST /api/sources/<source>/<name>/drop": ADMIN,
    "POST /api/sources/<source>/<name>/options": ADMIN,
    "POST /api/sources/<source>/<name>/remove": ADMIN,
    "POST /api/sources/<source>/<name>/rotate": ADMIN,
    "POST /api/sources/<source>/retention": ADMIN,
    "GET /fragment/sources/<source>/<name>": ADMIN,
    "GET /status/sources/<source>": ADMIN,
    "GET /status/sources/<source>/<name>": ADMIN,
    "POST /status/sources/<source>": ADMIN,
    "POST /status/sources/<source>/<name>/drop": ADMIN,
    "POST /status/sources/<source>/<name>/options": ADMIN,
    "POST /status/sources/<source>/<name>/remove": ADMIN,
    "POST /status/sources/<source>/<name>/rotate": ADMIN,
    "POST /status/sources/<source>/retention": ADMIN,
    "GET /fragment/raw/<id_>": CARD_READERS,
    "GET /stories/<chain>": EVERYBODY,
    "POST /stories/<chain>/unmask": LOG_READERS,
    "POST /writing/resume": DECIDERS,
    "POST /writing/stop": DECIDERS,
}
TABLE = {**FOUNDATION, **PRODUCT}


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
    """The whole web application with one person per role, and the API token of each."""
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    prepare_databases(home)
    people = People(home.people)
    for role in ROLES:
        people.add(role, roles=[role])
    people.add("second admin", roles=["admin"])
    return web_application(home), {role: people.make_token(role, "test") for role in ROLES}


def test_every_route_has_a_row_and_every_row_a_route(
    installation: tuple[Flask, dict[str, str]],
) -> None:
    assert set(routes_of(installation[0])) == set(TABLE)


def test_the_nav_of_other_processes_shows_what_their_pages_allow() -> None:
    assert {item.path: item.roles for item in NAV} == {
        item.path: TABLE[f"GET {item.path}"] for item in NAV
    }


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
