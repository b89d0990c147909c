"""The page of the sources and the raw bytes: who may see them, and that looking is logged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from services.ingest.endpoints import Endpoints
from services.ingest.inbox import Refusal
from services.ingest.mailboxes.configured import Mailboxes
from services.ingest.service import SERVICE
from services.ingest.store import accepted
from shared.bus.envelope import decode
from shared.db import open_database, reading
from shared.domain.topics import Topic
from shared.people import People
from shared.sessions import Sessions
from shared.sessions import metadata as session_tables
from shared.web import build_app
from tests.ingest.senders import SOURCE, change
from tests.ingest.test_inbox import accept
from tests.vectors import Store


@pytest.fixture
def people(tmp_path: Path) -> People:
    people = People(tmp_path / "people.toml", clock=lambda: datetime.now(UTC))
    for id_ in ("admin", "approver", "support", "auditor"):
        people.add(id_.title(), roles=(id_,))
    return people


@pytest.fixture
def client(store: Store, people: People, tmp_path: Path) -> FlaskClient:
    engine = open_database(f"sqlite:///{tmp_path}/sessions.db")
    session_tables.create_all(engine)
    assert SERVICE.web is not None
    app = build_app(
        [("ingest", SERVICE.web, store.web)],
        people,
        public_url=store.web.public_url,
        sessions=Sessions(engine=engine, clock=lambda: datetime.now(UTC)),
    )
    return app.test_client()


def as_(people: People, id_: str, **more: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {people.make_token(id_, 'test')}", **more}}


def test_the_page_shows_addresses_verdicts_and_open_questions_but_no_secret(
    store: Store, people: People, client: FlaskClient
) -> None:
    empty = client.get("/status/sources", **as_(people, "admin", Accept="text/html"))
    assert "No endpoint is open yet" in empty.text
    store.web.endpoints.add(SOURCE, secrets=("whsec_kept-to-ourselves",))
    (store.folder / "endpoints.toml").write_text(
        (store.folder / "endpoints.toml").read_text() + '[[endpoint]]\nsource = "zapier"\n'
    )
    accept(store, "a", change("c-1"))
    page = client.get("/status/sources", **as_(people, "admin", Accept="text/html"))
    assert page.status_code == 200
    assert "https://hooks.example.com/hooks/demo-crm" in page.text
    assert "has no secret, so it refuses" in page.text
    assert "accepted" in page.text
    assert "kept-to-ourselves" not in page.text
    listed = client.get("/api/sources", **as_(people, "admin")).get_json()["sources"]
    assert [(s["source"], s["is_open"]) for s in listed] == [(SOURCE, True), ("zapier", False)]


def test_a_broken_file_is_shown_to_the_admin(
    store: Store, people: People, client: FlaskClient
) -> None:
    (store.folder / "endpoints.toml").write_text("[[endpoint]")
    page = client.get("/status/sources", **as_(people, "admin", Accept="text/html"))
    assert "cannot be read as TOML" in page.text


ANYWHERE = ("", "/zapier", "/zapier/acme", "/mailbox")
ACTS = {
    "/zapier": {"name": "acme"},
    "/zapier/acme/rotate": {},
    "/zapier/acme/drop": {"mark": "00000000"},
    "/zapier/acme/options": {},
    "/zapier/acme/remove": {},
}


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_is_wrong_with_file_or_key_is_said_on_every_page_and_act(
    store: Store, people: People, client: FlaskClient, *, is_lost: bool
) -> None:
    if is_lost:
        Endpoints(store.folder / "endpoints.toml").add("zapier", "acme", secrets=("a-word",))
        (store.folder / "keys" / "endpoints.key").unlink()
    else:
        (store.folder / "endpoints.toml").write_text('[[endpoint]\nsecrets = ["a-word"]')
    why = "restore it from backup" if is_lost else "endpoints.toml cannot be read as TOML"
    admin, reader = as_(people, "admin"), as_(people, "admin", Accept="text/html")
    pages = [client.get(f"/status/sources{path}", **reader) for path in ANYWHERE]
    pages += [client.post(f"/status/sources{p}", data=body, **reader) for p, body in ACTS.items()]
    calls = [client.get(f"/api/sources{path}", **admin) for path in ("", "/zapier/acme")]
    calls += [client.post(f"/api/sources{p}", json=body, **admin) for p, body in ACTS.items()]
    assert {one.status_code for one in (*pages, *calls)} == {503}
    assert all(why in one.text for one in pages)
    assert all(why in one.get_json()["error"]["message"] for one in calls)
    assert not any("a-word" in one.text for one in (*pages, *calls))


@pytest.mark.parametrize(
    "body",
    [{"secret": "a\ud800"}, {"name\udfff": "a"}, {"name": ["\ud800"]}, {"secret": "a\0"}],
)
def test_half_a_character_is_refused_and_nothing_is_left_of_it(
    store: Store, people: People, client: FlaskClient, body: dict[str, Any]
) -> None:
    answer = client.post("/api/sources/zapier", json=body, **as_(people, "admin"))
    assert answer.status_code == 422
    assert "half a character" in answer.get_json()["error"]["message"]
    assert not list(store.folder.glob("*endpoints.toml*"))


def test_a_broken_file_makes_the_door_answer_that_it_is_busy(
    store: Store, client: FlaskClient
) -> None:
    (store.folder / "endpoints.toml").write_text("[[endpoint]")
    answer = client.post("/hooks/zapier", data=b"{}")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_raw_bytes_are_for_two_roles_and_looking_at_them_is_logged(
    store: Store, people: People, client: FlaskClient
) -> None:
    body = change("c-1")
    accept(store, "a", body)
    with reading(store.web.engine) as connection:
        event = connection.scalar(select(accepted.c.id))
    for id_ in ("support", "auditor"):
        assert client.get(f"/raw/{event}", **as_(people, id_)).status_code == 403
    assert client.get(f"/raw/{event}").status_code in {303, 401}
    answer = client.get(f"/raw/{event}", **as_(people, "approver"))
    assert answer.data == body
    assert answer.headers["Content-Disposition"].startswith("attachment")
    with reading(store.web.engine) as connection:
        [waiting] = store.web.outbox.unsent(connection)
    told = decode(waiting.text)
    assert (told.topic, told.actor, told.chain) == (
        Topic.RECORD_UNMASKED,
        "person:approver",
        event,
    )
    assert client.get("/raw/nothing", **as_(people, "admin")).status_code == 404


def test_the_page_shows_each_mailbox_with_its_last_mail_and_what_it_lacks(
    store: Store, people: People, client: FlaskClient
) -> None:
    polling = store.worker.polling
    assert polling is not None
    file = store.folder / "mailboxes.toml"
    file.write_text('[[mailbox]]\nname = "sales"\nhost = "mail.example.com"\nuser = "<b>sales"\n')
    polling = replace(polling, mailboxes=Mailboxes(file), clock=store.web.clock)
    polling.round()
    store.web.inbox.refuse(
        Refusal(
            source="mailbox",
            endpoint="sales",
            reason="too-large",
            detail="mail 7 of INBOX",
            received_at=store.now,
        )
    )
    page = client.get("/status/sources", **as_(people, "admin", Accept="text/html"))
    assert "Mailbox · sales" in page.text
    assert "no password: give password_file" in page.text
    assert "too-large – mail 7 of INBOX" in page.text
    [box] = client.get("/api/sources", **as_(people, "admin")).json["mailboxes"]
    assert box["problem"].startswith("no password")
    assert box["today"] == {"accepted": 0, "duplicate": 0, "refused": 1}
    assert client.get("/status/sources", **as_(people, "approver")).status_code == 403
