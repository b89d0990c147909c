"""The API does what the pages do, by the same acts; GET changes nothing; OpenAPI describes it all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from services.writer.routes import OPERATIONS
from services.writer.service import SERVICE
from services.writer.tables import metadata
from shared.db import open_database, reading
from shared.domain.topics import Topic
from shared.service import Web
from shared.sessions import Sessions
from shared.web import build_app
from tests.writer.world import NEW_PHONE, OLD_PHONE, World


class Client:
    """A person with a token of their own."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str, status: int = 200) -> Any:
        answer = self._client.get(path, headers=self._headers)
        assert answer.status_code == status, answer.text
        return answer.json

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self._client.post(path, json=body or {}, headers=self._headers)
        assert answer.status_code == status, answer.text
        return answer.json


@pytest.fixture
def app(world: World) -> Iterator[FlaskClient]:
    web = SERVICE.web
    assert web is not None
    part = Web(settings=object, wire=lambda _: world.web, blueprints=web.blueprints)
    engine = open_database(f"sqlite:///{world.folder}/sessions.db")
    built = build_app(
        [("writer", part, world.web)],
        world.people,
        public_url="http://127.0.0.1:8080",
        sessions=Sessions(engine=engine, clock=world.clock),
    )
    yield built.test_client()
    engine.dispose()


@pytest.fixture
def ada(world: World, app: FlaskClient) -> Client:
    return Client(app, world.people.make_token("ada", "test"))


def test_a_card_is_read_approved_and_written_through_the_api(world: World, ada: Client) -> None:
    made = world.propose()
    [row] = ada.get("/api/cards")["rows"]
    assert row["id"] == made.id
    assert row["headline"] == "Phone of Dana Miller"
    card = ada.get(f"/api/cards/{made.id}")
    [line] = card["lines"]
    assert line["evidence"]["quote"] == NEW_PHONE
    now = ada.get(f"/api/cards/{made.id}/now")
    assert now["fields"] == [{"field": "phone", "value": OLD_PHONE, "moved": False}]
    ada.post(f"/api/cards/{made.id}/opened", {"card_digest": now["card_digest"]})
    decided = ada.post(f"/api/cards/{made.id}/approve", {"card_digest": now["card_digest"]})
    assert decided["state"] == "approved"
    world.pump()
    change = ada.get(f"/api/cards/{made.id}")["change"]
    assert (change["state"], change["fields"][0]["read_back"]) == ("applied", NEW_PHONE)
    assert ada.get("/api/cards?tab=decided")["rows"][0]["outcome"] == "written, read back"
    fresh = ada.post(f"/api/changes/{change['id']}/undo")["id"]
    assert ada.get(f"/api/cards/{fresh}")["undoes"] == change["id"]


def test_the_second_decision_hears_who_was_first(world: World, ada: Client) -> None:
    card = world.propose()
    ada.post(f"/api/cards/{card.id}/reject", {"reason": "other"})
    error = ada.post(f"/api/cards/{card.id}/reject", {"reason": "other"}, status=409)["error"]
    assert "by ada" in error["message"]


def test_a_wrong_body_is_named_by_field_and_never_a_500(world: World, ada: Client) -> None:
    card = world.propose()
    path = f"/api/cards/{card.id}"
    assert "card_digest" in ada.post(f"{path}/approve", {}, status=422)["error"]["message"]
    extra = {"card_digest": "x", "record": "demo/contacts/7"}
    assert "record" in ada.post(f"{path}/approve", extra, status=422)["error"]["message"]
    ada.post(f"{path}/reject", {"reason": "because"}, status=422)
    ada.get("/api/cards?limit=many", status=422)
    ada.get("/api/cards?after=x", status=422)
    ada.get("/api/cards/none", status=404)


def test_a_question_about_a_record_goes_out_and_its_answer_is_shown(
    world: World, ada: Client
) -> None:
    asked = {"record": "demo/contacts/1001", "kind": "reply", "note": "the oven"}
    id_ = ada.post("/api/asks", asked)["id"]
    assert ada.get(f"/api/asks/{id_}")["is_answered"] is False
    world.pump()
    sent = world.last(Topic.ASSIST_REQUESTED)
    assert (sent["id"], sent["kind"], sent["note"]) == (id_, "reply", "the oven")
    assert sent["record"] == {"crm": "demo", "type": "contacts", "id": "1001"}
    world.classify(world.answer(event_id=id_, reply_draft="Hello Dana", summary="Owns a bakery."))
    answer = ada.get(f"/api/asks/{id_}")
    assert answer["is_answered"] is True
    assert (answer["reply_draft"], answer["summary"]) == ("Hello Dana", "Owns a bakery.")
    assert [row["id"] for row in ada.get("/api/asks")["items"]] == [id_]


@pytest.mark.parametrize("record", ["demo", "demo/contacts", "other/contacts/1"])
def test_a_question_about_no_record_of_ours_is_refused(ada: Client, record: str) -> None:
    ada.post("/api/asks", {"record": record, "kind": "summary"}, status=422)
    ada.post("/api/asks", {"record": "demo/contacts/1001", "kind": "again"}, status=422)
    ada.get("/api/asks/none", status=404)


def test_reading_changes_nothing(world: World, ada: Client) -> None:
    card = world.propose()
    before = rows(world)
    for operation in OPERATIONS:
        if operation.method == "GET":
            path = "/api" + operation.path.replace("<id>", card.id)
            path += "?q=dana.miller@example.com" if operation.name == "records" else ""
            answer = ada._client.get(path, headers=ada._headers)
            assert answer.status_code in {200, 404}, (path, answer.text)
    assert rows(world) == before


def rows(world: World) -> dict[str, int | None]:
    with reading(world.worker.engine) as db:
        return {
            table.name: db.scalar(select(func.count()).select_from(table))
            for table in metadata.sorted_tables
        }


def test_the_form_of_a_page_reaches_the_same_act(world: World, ada: Client) -> None:
    card = world.propose()
    form = {
        "card_digest": world.digest(card.id),
        "verdict.phone": "edited",
        "value.phone": "+12025550133",
        "comment": "",
    }
    answer = ada._client.post(f"/cards/{card.id}/approve", data=form, headers=ada._headers)
    assert answer.status_code == 303, answer.text
    world.pump()
    assert world.in_crm() == "+12025550133"


@pytest.mark.parametrize("tab", ["needs_you", "waiting", "decided", "expired"])
def test_every_page_renders_empty_and_full(world: World, ada: Client, tab: str) -> None:
    def pages(*paths: str) -> None:
        for path in paths:
            answer = ada._client.get(path, headers=ada._headers)
            assert answer.status_code == 200, (path, answer.text)

    pages(f"/queue?tab={tab}", "/decided", "/look", "/drafts", "/policy")
    card = world.propose()
    world.classify(world.answer(event_id="look-at-me"))
    pages(f"/queue?tab={tab}", f"/cards/{card.id}", f"/cards/{card.id}?live=1", "/look")
    pages("/look/look-at-me", f"/fragment/cards/{card.id}/now")
    world.approve(card.id)
    world.pump()
    pages(f"/cards/{card.id}", "/decided")


def test_openapi_describes_every_operation_with_its_schemas(ada: Client) -> None:
    document = ada.get("/api/openapi.json")
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == {
        (one.method, "/api" + one.path.replace("<id>", "{id}")) for one in OPERATIONS
    }
    approve = document["paths"]["/api/cards/{id}/approve"]["post"]
    reference = approve["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert "card_digest" in body["required"]
    card = document["components"]["schemas"]["Card"]
    assert card["properties"]["row"] == {"$ref": "#/components/schemas/CardRow"}


def test_support_neither_sees_open_values_nor_decides(world: World, app: FlaskClient) -> None:
    world.people.add("Sue", roles=("support",))
    sue = Client(app, world.people.make_token("sue", "test"))
    card = world.propose()
    sue.get(f"/api/cards/{card.id}", status=403)
    for operation in OPERATIONS:
        if operation.method == "POST":
            path = "/api" + operation.path.replace("<id>", card.id)
            sue.post(path, {}, status=403)
