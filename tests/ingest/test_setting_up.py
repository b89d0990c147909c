"""An admin sets an endpoint up on the pages and through the API, and sees what comes in."""

from __future__ import annotations

import json
import re
from datetime import timedelta, timezone
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from services.ingest.hook import Endpoint
from services.ingest.relay import relay, retain
from services.ingest.retention import days_by_source
from services.ingest.sources import SOURCES
from services.ingest.store import accepted, deliveries, raw_files
from shared.bus.envelope import decode
from shared.db import reading, writing
from shared.domain.schema import parse_instant
from shared.domain.topics import Topic
from shared.people import People
from tests.ingest.senders import SOURCE, change
from tests.ingest.test_inbox import accept, hook
from tests.ingest.test_pages import as_, client, people
from tests.ingest.test_sources import published
from tests.vectors import Store, body_of

__all__ = ["client", "people"]


@pytest.fixture
def admin(people: People) -> dict[str, Any]:
    return as_(people, "admin")


def told(store: Store) -> list[tuple[str, str | None, str]]:
    """What the log hears of sources: ``(actor, endpoint, action)``."""
    with reading(store.web.engine) as connection:
        found = [decode(one.text) for one in store.web.outbox.unsent(connection)]
    return [
        (one.actor, one.body["endpoint"], one.body["action"])
        for one in found
        if one.topic is Topic.SOURCE_CHANGED
    ]


def test_an_endpoint_is_opened_tried_rotated_and_closed_through_the_api(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    opened = client.post("/api/sources/zapier", json={"name": "acme"}, **admin)
    assert opened.status_code == 201
    first = opened.get_json()["secret"]
    assert opened.get_json()["url"] == "https://hooks.example.com/hooks/zapier/acme"

    def post(token: str) -> int:
        headers = {"X-Ingest-Token": token, "Content-Type": "application/json"}
        return client.post("/hooks/zapier/acme", data=b'{"id":"1"}', headers=headers).status_code

    assert (post(first), post("wrong")) == (200, 401)
    second = client.post("/api/sources/zapier/acme/rotate", json={}, **admin).get_json()["secret"]
    assert (post(first), post(second)) == (200, 200)
    one = client.get("/api/sources/zapier/acme", **admin)
    assert first not in one.text
    assert second not in one.text
    mark = one.get_json()["held"][1]["mark"]
    assert (
        client.post("/api/sources/zapier/acme/drop", json={"mark": mark}, **admin).status_code
        == 204
    )
    assert (post(first), post(second)) == (401, 200)
    assert client.post("/api/sources/zapier/acme/remove", json={}, **admin).status_code == 204
    assert post(second) == 404
    actor = "person:admin"
    assert told(store) == [
        (actor, "acme", action) for action in ("opened", "rotated", "dropped", "removed")
    ]


def test_the_page_shows_a_secret_once_and_what_to_enter_where(
    client: FlaskClient, admin: dict[str, Any]
) -> None:
    opened = client.post("/status/sources/make", data={"name": "acme"}, **_page(admin))
    assert opened.status_code == 201
    assert "https://hooks.example.com/hooks/make/acme" in opened.text
    assert "a keychain entry with this user and password" in opened.text
    [password] = re.findall(r'data-copy="([\w-]{30,})"', opened.text)
    page = client.get("/status/sources/make/acme", **_page(admin))
    assert password not in page.text
    assert "No request has come yet" in page.text
    for path in ("/status/sources", "/status/sources/make"):
        assert "acme" in client.get(path, **_page(admin)).text


def _page(admin: dict[str, Any]) -> dict[str, Any]:
    return {"headers": {**admin["headers"], "Accept": "text/html"}}


def test_a_secret_of_the_vendors_making_has_to_be_given_and_until_then_it_refuses(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    opened = client.post("/api/sources/jobber", json={}, **admin)
    assert opened.get_json()["secret"] is None
    assert (
        "it refuses every request"
        in client.get("/status/sources/jobber/default", **_page(admin)).text
    )
    assert client.post("/api/sources/jobber/default/rotate", json={}, **admin).status_code == 422
    given = {"secret": "the-client-secret"}
    assert client.post("/api/sources/jobber/default/rotate", json=given, **admin).status_code == 200
    found = store.web.endpoints.find("jobber", "default")
    assert found is not None
    assert found.secrets == ("the-client-secret",)
    again = client.post("/api/sources/jobber", json={}, **admin)
    assert again.status_code == 409


def test_options_are_checked_against_what_the_source_declares_and_count_at_once(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    client.post(
        "/api/sources/generic-hmac", json={"secret": "s", "option-header": "X-Sig"}, **admin
    )
    path = "/api/sources/generic-hmac/default/options"
    wrong = client.post(path, json={"option-encoding": "rot13"}, **admin)
    assert wrong.status_code == 422
    assert "one of hex, base64, base64url" in wrong.text
    assert client.post(path, json={"option-surprise": "1"}, **admin).status_code == 422
    form = client.get("/status/sources/generic-hmac/default", **_page(admin)).text
    assert 'value="X-Sig"' in form
    assert 'placeholder="x-signature"' in form
    assert client.post(path, json={"option-header": "X-Other"}, **admin).status_code == 204
    found = store.web.endpoints.find("generic-hmac", "default")
    assert found is not None
    assert found.options == {"header": "X-Other"}
    assert told(store)[-1] == ("person:admin", "default", "configured")


def test_a_test_shows_the_next_request_also_a_refused_one_with_its_reason(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    client.post("/api/sources/zapier", json={"secret": "right"}, **admin)
    since = {"since": store.now.isoformat()}
    path = "/fragment/sources/zapier/default"
    assert "Waiting for a request" in client.get(path, query_string=since, **_page(admin)).text
    client.post("/hooks/zapier", data=b"{}", headers={"X-Ingest-Token": "wrong"})
    refused = client.get(path, query_string=since, **_page(admin)).text
    assert "A request came and was refused" in refused
    assert "the secret here is not the one" in refused
    store.now += timedelta(seconds=1)
    later = {"since": store.now.isoformat()}
    assert "Waiting for a request" in client.get(path, query_string=later, **_page(admin)).text
    headers = {"X-Ingest-Token": "right", "Content-Type": "application/json"}
    client.post("/hooks/zapier", data=b'{"id":"1"}', headers=headers)
    assert "It works" in client.get(path, query_string=later, **_page(admin)).text
    assert client.get(path, query_string={"since": "soon"}, **_page(admin)).status_code == 422


def test_handled_ignored_and_unknown_kinds_are_three_answers_each_counted(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    store.web.endpoints.add("hubspot", secrets=("s",))
    source = SOURCES["hubspot"]
    for number, kind in enumerate(
        ("contact.creation", "contact.creation", "contact.deletion", "robot.creation")
    ):
        event = {"subscriptionType": kind, "objectId": number, "portalId": 1, "eventId": number}
        request = hook(store, str(number), json.dumps([event]).encode())
        found = [source.identify(raw, request) for raw in source.split(request)]
        store.web.inbox.accept(source, Endpoint(source="hubspot"), request, found)
    relay(store.worker)
    with writing(store.web.engine) as connection:  # A replay is no new happening.
        connection.execute(update(accepted).values(sent_at=None, replays=1))
    relay(store.worker)
    seen = client.get("/api/sources/hubspot/default", **admin).get_json()["seen"]
    assert {(one["name"], one["answer"], one["count"]) for one in seen} == {
        ("contact.creation", "handled", 2),
        ("contact.deletion", "ignored", 1),
        ("robot.creation", "unknown", 1),
    }
    page = client.get("/status/sources/hubspot/default", **_page(admin)).text
    for word in ("handled", "ignored", "unknown", "robot.creation"):
        assert word in page


def test_the_retention_of_a_source_counts_for_what_is_kept_and_a_card_says_what_is_gone(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    accept(store, "small", change("c-1"))
    accept(store, "large", change("c-2", note="x" * 70_000))
    relay(store.worker)
    with reading(store.web.engine) as connection:
        ids = list(connection.scalars(select(accepted.c.id).order_by(accepted.c.seq)))
        before = connection.scalar(select(raw_files.c.expires_at))
    for id_ in ids:
        assert "Download" in client.get(f"/fragment/raw/{id_}", **admin).text
    kept = client.post(f"/api/sources/{SOURCE}/retention", json={"days": 5}, **admin)
    assert kept.status_code == 204
    with reading(store.web.engine) as connection:
        after = connection.scalar(select(raw_files.c.expires_at))
    assert before is not None
    assert after is not None
    assert parse_instant(before) - parse_instant(after) == timedelta(days=85)
    store.now += timedelta(days=6)
    retain(store.worker)
    for id_ in ids:
        assert "raw input gone" in client.get(f"/fragment/raw/{id_}", **admin).text
        assert client.get(f"/raw/{id_}", **admin).status_code == 404
    with reading(store.web.engine) as connection:
        hashes = list(connection.scalars(select(deliveries.c.raw_sha256)))
    assert all(len(one) == 64 for one in hashes)
    wrong = client.post(f"/api/sources/{SOURCE}/retention", json={"days": 0}, **admin)
    assert wrong.status_code == 422
    assert "Raw bytes can be kept" in wrong.text
    assert told(store) == [("person:admin", None, "retention")]


def test_a_form_that_is_sent_twice_changes_the_secret_once(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    client.post("/api/sources/zapier", json={"name": "acme"}, **admin)
    page = client.get("/status/sources/zapier/acme", **_page(admin)).text
    [newest] = re.findall(r'name="newest" value="(\w+)"', page)
    data = {"secret": "", "newest": newest}
    statuses = [
        client.post("/status/sources/zapier/acme/rotate", data=data, **_page(admin)).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 409]
    held = client.get("/api/sources/zapier/acme", **admin).get_json()["held"]
    assert [len(held), held[1]["mark"]] == [2, newest]
    for _ in range(2):
        given = {"secret": "of-the-vendor"}
        answer = client.post("/api/sources/zapier/acme/rotate", json=given, **admin)
        assert answer.status_code == 200
    held = client.get("/api/sources/zapier/acme", **admin).get_json()["held"]
    assert len({one["mark"] for one in held}) == 2
    assert [action for _, _, action in told(store)] == ["opened", "rotated", "rotated"]


def test_mails_are_kept_as_long_as_an_admin_sets(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    page = client.get("/status/sources/mailbox", **_page(admin))
    assert page.status_code == 200
    assert "Open an endpoint" not in page.text
    assert "countersign mailboxes check" in page.text
    saved = client.post("/status/sources/mailbox/retention", data={"days": 7}, **_page(admin))
    assert saved.status_code == 303
    with reading(store.web.engine) as connection:
        assert days_by_source(connection)["mailbox"] == 7
    again = client.get(saved.headers["Location"], **_page(admin))
    assert 'value="7"' in again.text
    assert client.post("/api/sources/mailbox", json={}, **admin).status_code == 404


def test_an_awaited_test_counts_from_its_instant_however_that_is_written(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    client.post("/api/sources/zapier", json={"name": "acme"}, **admin)
    since = (store.now + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-9)))
    client.post("/hooks/zapier/acme", data=b"{}")
    page = client.get(
        "/status/sources/zapier/acme", query_string={"since": since.isoformat()}, **_page(admin)
    )
    assert page.status_code == 200
    early = client.get(
        "/status/sources/zapier/acme",
        query_string={"since": (since - timedelta(hours=2)).isoformat()},
        **_page(admin),
    )
    assert "Waiting for" in page.text
    assert "Waiting for" not in early.text


def test_a_change_that_cannot_be_logged_is_not_made(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    store.web.outbox.outbox.drop(store.web.engine)
    assert client.post("/api/sources/zapier", json={}, **admin).status_code >= 500
    store.web.outbox.outbox.create(store.web.engine)
    client.post("/api/sources/zapier", json={}, **admin)
    assert told(store) == [("person:admin", "default", "opened")]


def test_a_subscription_is_confirmed_by_a_click_and_only_at_the_sender(
    store: Store, client: FlaskClient, admin: dict[str, Any]
) -> None:
    vector = published("sns-subscription-confirmation")
    path = store.open(vector)
    posted = client.post(path, data=body_of(vector), headers=vector["headers"])
    assert posted.status_code == 200
    page = client.get("/status/sources/aws-sns/default", **_page(admin)).text
    assert "asks to be confirmed" in page
    [address] = re.findall(r'href="(https://[^"]+)"', page)
    assert re.match(
        r"https://sns\.[a-z0-9-]+\.amazonaws\.com/\?Action=ConfirmSubscription", address
    )
