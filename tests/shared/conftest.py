from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, jsonify, render_template, request
from flask.testing import FlaskClient

from shared.access import ROLES, body_limit, bound_to, current_person, flash, public, role
from shared.db import open_database
from shared.errors import BadPayload, NotApproved, StoreUnavailable
from shared.people import People
from shared.readiness import Readiness
from shared.sessions import Sessions
from shared.web import Banner, Measure, build_app
from tests.databases import fresh_database

HERE = Path(__file__).parent


@dataclass
class Clock:
    at: datetime = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass
class WebStub:
    """Stands for a service's declaration: only `blueprints` is asked for by the builder."""

    blueprints: tuple[Callable[[Any], Blueprint], ...]


def sample_pages(_: Any) -> Blueprint:
    pages = Blueprint("pages", __name__, template_folder=str(HERE / "templates"))

    @pages.get("/styleguide")
    @pages.get("/queue")
    @role("approver", "admin")
    def queue() -> Any:
        return render_template("styleguide.html")

    @pages.get("/search")
    @role("support", "admin", "auditor")
    def search() -> Any:
        return "search"

    @pages.post("/decide")
    @pages.post("/api/decide")
    @role("approver")
    def decide() -> Any:
        flash("Approved.")
        return jsonify({"by": current_person().id, "level": current_person().auth_level})

    @pages.post("/decide/<digest>")
    @role("approver")
    def decide_one(digest: str) -> Any:
        bound_to(digest)
        return "decided"

    @pages.post("/hooks/test")
    @public(raw=True)
    def hook() -> Any:
        return str(len(request.get_data()))

    @pages.post("/hooks/large")
    @public(raw=True)
    @body_limit(1024 * 1024)
    def large() -> Any:
        return str(len(request.get_data()))

    @pages.get("/fails/<how>")
    @public
    def fails(how: str) -> Any:
        errors = {
            "bug": KeyError("a secret value"),
            "down": StoreUnavailable("disk I/O error in /secret/place"),
            "wrong": BadPayload("the amount is missing"),
            "rule": NotApproved("This field is read-only.", rule="read-only"),
        }
        raise errors[how]

    return pages


@dataclass
class Office:
    """One installation with people, and browsers to visit it with."""

    folder: Path
    public_url: str = "http://localhost"
    clock: Clock = field(default_factory=Clock)
    changes: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    opened: list[tuple[str, str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    part = ("sample", WebStub(blueprints=(sample_pages,)), None)

    def __post_init__(self) -> None:
        self.people = People(
            self.folder / "people.toml",
            clock=self.clock,
            on_change=lambda *change: self.changes.append(change),
        )
        engine = open_database(fresh_database(self.folder, "sessions"))
        self.sessions = Sessions(engine=engine, clock=self.clock)
        self.sessions.create_tables()
        self.app = self.build()

    def build(self, **more: Any) -> Flask:
        options: dict[str, Any] = {
            "public_url": self.public_url,
            "sessions": self.sessions,
            "on_session": lambda *opened: self.opened.append(opened),
            "counts": lambda _: {"queue": 12},
            "banner": lambda: Banner(text="Writing is stopped by Ada since 14:02."),
            "readiness": Readiness(checks={"store": lambda: None}),
            "measures": [lambda: [Measure(name="countersign_open_cards", help="Cards.", value=3)]],
        }
        return build_app([self.part], self.people, **{**options, **self.options, **more})

    def sign_in(self, person: str, client: FlaskClient | None = None) -> FlaskClient:
        client = client or self.app.test_client()
        answer = client.post(f"/sign-in/{self.people.make_link(person)}", **self.base)
        assert answer.status_code == 303, answer.text
        return client

    @property
    def base(self) -> dict[str, str]:
        return {"base_url": self.public_url}


def form_token(page: str) -> str:
    found = re.search(r'name="csrf" (?:value|content)="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    for name in ROLES:
        made.people.add(name, roles=[name], email=f"{name}@example.com")
    made.changes.clear()
    return made


@pytest.fixture
def make_office() -> type[Office]:
    return Office


@pytest.fixture
def csrf_of() -> Callable[[str], str]:
    return form_token
