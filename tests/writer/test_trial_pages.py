"""What the pages and the API say of a trial and of its promotion."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from services.writer.service import SERVICE
from shared.db import open_database
from shared.service import Web
from shared.sessions import Sessions
from shared.web import build_app
from tests.writer.trial_stage import AFTER, TRIAL, Rehearsal, rehearsal


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path) as found:
        yield found


@pytest.fixture
def app(stage: Rehearsal) -> Iterator[FlaskClient]:
    assert SERVICE.web is not None
    world = stage.world
    part = Web(settings=object, wire=lambda _: world.web, blueprints=SERVICE.web.blueprints)
    engine = open_database(f"sqlite:///{world.folder}/sessions.db")
    built = build_app(
        [("writer", part, world.web)],
        world.people,
        public_url="http://127.0.0.1:8080",
        sessions=Sessions(engine=engine, clock=world.clock),
    )
    client = built.test_client()
    token = world.people.make_token("ada", "test")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    yield client
    engine.dispose()


def words(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def test_the_pages_say_where_a_card_goes_and_what_was_tried(
    stage: Rehearsal, app: FlaskClient
) -> None:
    card = stage.propose().id
    page = words(app, f"/cards/{card}?live=1")
    assert f"A trial: only {TRIAL} is written" in page
    assert f"a person approves it before it is tried in {TRIAL}" in page
    assert f"Try in {TRIAL}" in page
    assert 'name="value.phone"' in app.get(f"/cards/{card}?live=1").text
    assert "trial" in words(app, "/queue")

    stage.try_out(card)
    page = words(app, f"/cards/{card}")
    assert f"Tried in {TRIAL} and read back" in page
    assert "The live record is as it was." in page
    assert "Propose the old value back" not in page
    follow_up = app.get(f"/api/cards/{card}").json["change"]["promotion"]  # type: ignore[index]
    assert f"/cards/{follow_up}" in app.get(f"/cards/{card}").text
    assert "tried, read back" in words(app, "/decided")

    page = words(app, f"/cards/{follow_up}?live=1")
    assert f"Tried in {TRIAL}: looked like this Phone {AFTER}" in page
    assert "Promote to live" in page
    assert 'name="value.phone"' not in app.get(f"/cards/{follow_up}?live=1").text
    assert "promotion" in words(app, "/queue")
    stage.try_out(follow_up)
    assert "Written and read back" in words(app, f"/cards/{follow_up}")
    assert f"sandbox in {TRIAL}" in words(app, "/policy")


def test_the_api_refuses_another_value_than_the_one_that_was_tried(
    stage: Rehearsal, app: FlaskClient
) -> None:
    card = stage.propose().id
    stage.try_out(card)
    follow_up = app.get(f"/api/cards/{card}").json["change"]["promotion"]  # type: ignore[index]
    digest = app.get(f"/api/cards/{follow_up}/now").json["card_digest"]  # type: ignore[index]
    edited = {"phone": {"verdict": "edited", "value": "+12025550142"}}
    body = {"card_digest": digest, "fields": edited}
    answer = app.post(f"/api/cards/{follow_up}/approve", json=body)
    assert answer.status_code == 403
    assert "tried with another value" in answer.text
    assert stage.live.writes() == []
