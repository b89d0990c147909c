"""What the pages and the API show of a note or task: its text, its evidence, how it ended."""

from __future__ import annotations

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
from tests.writer.test_appending import DUE, SENTENCE, SUBJECT, in_crm, opened, propose, settle
from tests.writer.test_trial_pages import words
from tests.writer.world import CONTACT, World, running_world

FLAT = " ".join(SENTENCE.split())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, policy=opened()) as found:
        yield found


@pytest.fixture
def app(world: World) -> Iterator[FlaskClient]:
    assert SERVICE.web is not None
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


def test_a_card_shows_the_note_its_evidence_and_no_old_value(
    world: World, app: FlaskClient
) -> None:
    card = propose(world)
    page = words(app, f"/cards/{card}?live=1")
    assert "Append a note to Dana Miller" in page
    assert FLAT in page
    assert "Where Text comes from" in page
    assert "Nothing is overwritten: the note is added once and read back." in page
    for column in ("At proposal", "Now in the CRM", "Proposed"):
        assert column not in page
    form = app.get(f"/cards/{card}?live=1").text
    assert '<textarea id="value-text" name="value.text"' in form
    assert 'value="dropped"' not in form, "a note is rejected as a whole, with a reason"
    queue = words(app, "/queue")
    assert FLAT in queue
    assert "becomes" not in queue


def test_the_page_of_a_decided_note_says_that_it_was_read_back_and_stays(
    world: World, app: FlaskClient
) -> None:
    card = propose(world)
    digest = app.get(f"/api/cards/{card}").json["card_digest"]  # type: ignore[index]
    said = app.post(f"/api/cards/{card}/approve", json={"card_digest": digest})
    assert said.status_code == 200, said.text
    settle(world, card)
    page = words(app, f"/cards/{card}")
    assert "Written and read back" in page
    assert "What was appended" in page
    assert "Before" not in page
    assert "A note replaced nothing, and none is ever deleted by us" in page
    assert "Propose the old value back" not in page
    assert "written, read back" in words(app, "/decided")
    assert len(in_crm(world, "note")) == 1

    shown = app.get(f"/api/cards/{card}").json
    assert shown is not None
    assert (shown["row"]["kind"], shown["row"]["headline"]) == (
        "note",
        "Append a note to Dana Miller",
    )
    assert "replaced nothing" in shown["change"]["undo"]
    assert app.post(f"/api/changes/{shown['change']['id']}/undo").status_code == 409


def test_a_task_shows_its_day_which_alone_can_be_left_out(world: World, app: FlaskClient) -> None:
    card = propose(world, "task")
    page = words(app, f"/cards/{card}?live=1")
    assert "Append a task to Dana Miller" in page
    assert SUBJECT in page
    assert f"Due {DUE}" in page
    form = app.get(f"/cards/{card}?live=1").text
    assert 'name="verdict.due" value="dropped"' in form
    assert 'name="verdict.subject" value="dropped"' not in form


def test_the_demo_crm_shows_note_and_task_to_its_people(world: World) -> None:
    for kind in ("note", "task"):
        card = propose(world, kind)
        world.approve(card)
        settle(world, card)
    text = world.crm.session.get(f"{world.crm.url}/contacts/1001", timeout=5).text
    page = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert f"{SUBJECT} due {DUE}" in page
    assert FLAT in page
    items = world.worker.readers["demo"].history(CONTACT)  # type: ignore[attr-defined]
    assert {(one.kind, one.text) for one in items if one.kind in {"note", "task"}} >= {
        ("note", f"Countersign: {SENTENCE}"),
        ("task", f"Countersign: {SUBJECT}"),
    }
