"""CRM vendors: repeats have one effect, own writes are known, kinds are answered and shown apart."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from services.demonstration import posts
from services.ingest.commands import source
from services.ingest.endpoints import Endpoints
from services.ingest.hook import Endpoint
from services.ingest.pages import endpoint_states
from services.ingest.relay import relay
from services.ingest.source import Outcome
from services.ingest.sources import SOURCES
from services.ingest.store import accepted
from shared.bus.envelope import decode
from shared.db import reading
from shared.domain.topics import Topic
from tests.ingest.home import Home
from tests.vectors import Server, Store, body_of, judge

FOLDER = Path(__file__).parents[1] / "fixtures" / "webhooks"
CRMS = (
    "hubspot",
    "jobber",
    "pipedrive",
    "salesforce-callout",
    "salesforce-outbound-message",
    "servicetitan",
)
CHANGES = {"created", "updated", "merged", "restored"}
FIXTURES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for name in (*CRMS, "demo-crm")
    for path in sorted((FOLDER / name).glob("*.json"))
}
OM = "salesforce-outbound-message"


def again(name: str, *changed: tuple[str, str]) -> dict[str, Any]:
    """The fixture once more, with parts of its body replaced."""
    vector = FIXTURES[name]
    body = body_of(vector).decode()
    for old, new in changed:
        assert old in body
        body = body.replace(old, new)
    return {**vector, "id": f"{name} again", "body": body}


def events_of(name: str) -> list[dict[str, Any]]:
    return list(FIXTURES[name].get("events", []))


@pytest.mark.parametrize("name", [n for n in FIXTURES if events_of(n)])
def test_every_change_in_a_crm_names_its_record_and_the_kind_of_change(name: str) -> None:
    for event in events_of(name):
        if event["kind"] == "form":
            continue
        assert event["kind"] == "record_change"
        assert event["record"]["id"]
        assert event["facts"]["change"] in CHANGES


@pytest.mark.parametrize("name", [n for n in FIXTURES if n.rpartition("__")[2] in {
    "own_write", "own_app", "by_hand", "other_app", "valid"} and events_of(n)])  # fmt: skip
def test_an_own_write_is_known_and_nobody_else_s_is_taken_for_one(
    name: str, tmp_path: Path, server: Server
) -> None:
    [event] = judge([FIXTURES[name]], tmp_path, server).events
    is_own = name.endswith(("__own_write", "__own_app"))
    assert event.is_own_write == is_own
    if is_own:
        assert not event.is_new_record


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("pipedrive/change.deal__valid", ('"attempt": 1', '"attempt": 4')),
        ("pipedrive/updated.deal__valid", ('"retry": 0', '"retry": 3')),
        ("hubspot/contact.creation__valid", ('"attemptNumber": 0', '"attemptNumber": 0')),
        ("jobber/CLIENT_UPDATE__valid", ("CLIENT_UPDATE", "CLIENT_UPDATE")),
        ("servicetitan/job.completed__valid", ("job.completed", "job.completed")),
        ("salesforce-callout/Contact__valid", ("Contact", "Contact")),
        (f"{OM}/Contact__two", ("Contact", "Contact")),
    ],
)
def test_a_retry_has_no_second_effect(
    name: str, changed: tuple[str, str], tmp_path: Path, server: Server
) -> None:
    first, repeat = FIXTURES[name], again(name, changed)
    seen = judge([first, repeat, repeat], tmp_path, server)
    assert seen.is_verified
    assert seen.status in {200, 204}
    assert seen.count == 0
    assert seen.events == ()


def test_of_a_repeated_envelope_only_what_is_new_counts_and_it_is_acknowledged(
    tmp_path: Path, server: Server
) -> None:
    one, two = FIXTURES[f"{OM}/Contact__valid"], FIXTURES[f"{OM}/Contact__two"]
    seen = judge([one, two], tmp_path, server)
    assert seen.dedup_keys == ("04l24000002nrC1AAI",)
    assert "<Ack>true</Ack>" in seen.body


def test_two_webhooks_of_pipedrive_and_two_changes_in_one_second_are_not_repeats(
    tmp_path: Path, server: Server
) -> None:
    name = "pipedrive/change.deal__valid"
    other = again(name, ('"webhook_id": "31"', '"webhook_id": "32"'))
    assert judge([FIXTURES[name], other], tmp_path / "a", server).count == 1
    name = "pipedrive/updated.deal__valid"
    other = again(name, ("1795391999384700", "1795391999384701"))
    assert judge([FIXTURES[name], other], tmp_path / "b", server).count == 1


def test_a_message_that_cannot_be_stored_whole_is_not_acknowledged(store: Store) -> None:
    vector = FIXTURES[f"{OM}/Contact__two"]
    store.web.endpoints.add(OM, secrets=(vector["secret"],))
    with store.web.engine.begin() as connection:
        # The second of the two notifications meets a rule of the database.
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON accepted WHEN NEW.position = 1 "
                "BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
        )
    client = store.app().test_client()
    answer = client.post(f"/hooks/{OM}", data=body_of(vector), headers=vector["headers"])
    assert answer.status_code >= 500
    assert b"Ack" not in answer.data
    with reading(store.web.engine) as connection:
        assert connection.scalar(select(func.count(accepted.c.id))) == 0


def test_a_refused_message_is_not_acknowledged() -> None:
    answers = SOURCES[OM].answers
    for outcome in (Outcome.REFUSED, Outcome.NOT_JSON, Outcome.BAD_PAYLOAD, Outcome.BUSY):
        assert answers[outcome].status >= 400
        assert "Ack" not in answers[outcome].body
    for outcome in (Outcome.STORED, Outcome.DUPLICATE, Outcome.IGNORED, Outcome.UNKNOWN_KIND):
        assert "<Ack>true</Ack>" in answers[outcome].body


def test_handled_ignored_and_unknown_kinds_are_answered_told_and_shown_apart(
    store: Store,
) -> None:
    secret = FIXTURES["jobber/CLIENT_UPDATE__valid"]["secret"]
    store.web.endpoints.add("jobber", secrets=(secret,))
    client = store.app().test_client()
    answers = {}
    for name in ("CLIENT_UPDATE__valid", "CLIENT_DESTROY__ignored", "MOON_RISE__unknown"):
        vector = FIXTURES[f"jobber/{name}"]
        answer = client.post("/hooks/jobber", data=body_of(vector), headers=vector["headers"])
        assert answer.status_code == 200
        answers[name] = answer.text
    assert len(set(answers.values())) == 3
    [state] = endpoint_states(store.web)
    assert state.today == {
        "accepted": 3,
        "duplicate": 0,
        "refused": 0,
        "ignored": 1,
        "unknown-kind": 1,
    }
    assert state.last is not None
    assert (state.last.reason, state.last.detail) == (
        "unknown-kind",
        "this kind is not known to the source",
    )
    relay(store.worker)
    told = [decode(message.text) for message in store.published.messages]
    assert [one.topic for one in told] == [
        Topic.EVENT_RECEIVED,
        Topic.EVENT_REJECTED,
        Topic.EVENT_REJECTED,
    ]
    assert [one.body.get("reason") for one in told[1:]] == ["ignored", "unknown-kind"]


def test_a_batch_with_an_unknown_kind_is_told_as_one_and_the_rest_goes_on() -> None:
    hubspot = SOURCES["hubspot"]
    assert hubspot.fate(["contact.creation", "contact.deletion"]) is Outcome.STORED
    assert hubspot.fate(["contact.creation", "moon.rise"]) is Outcome.UNKNOWN_KIND
    assert hubspot.fate(["contact.deletion", "deal.deletion"]) is Outcome.IGNORED
    assert SOURCES["zapier"].fate(["anything"]) is Outcome.STORED


def test_jobber_is_answered_well_within_its_second(tmp_path: Path, server: Server) -> None:
    vector = FIXTURES["jobber/CLIENT_UPDATE__valid"]
    store = Store.fresh(tmp_path, "https://hooks.example.com")
    path, app = store.open(vector), store.app()
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        assert server.post(app, path, vector)[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    store.close()
    assert slowest < 1


def test_the_relay_reads_with_the_options_that_the_endpoint_had_at_the_door(store: Store) -> None:
    vector = FIXTURES["pipedrive/change.person__own_write"]
    store.web.endpoints.add("pipedrive", secrets=(vector["secret"],), options=vector["options"])
    client = store.app().test_client()
    client.post("/hooks/pipedrive", data=body_of(vector), headers=vector["headers"])
    (store.folder / "endpoints.toml").unlink()
    relay(store.worker)
    [message] = store.published.messages
    assert decode(message.text).noun().is_own_write


def test_two_organisations_may_be_pinned_and_a_token_is_none_of_them() -> None:
    vector = FIXTURES[f"{OM}/Contact__valid"]
    verify = SOURCES[OM].verify
    hook = _hook(vector)
    both = Endpoint(source=OM, secrets=("00D24000000ZZZZEA4", vector["secret"][:15]))
    assert verify(hook, both).ok
    assert not verify(hook, Endpoint(source=OM, secrets=("00D24000000ZZZZEA4",))).ok
    assert verify(hook, Endpoint(source=OM, secrets=("a-token",))).reason == "no-secret"
    assert verify(hook, Endpoint(source=OM, secrets=(vector["secret"][:14],))).reason == "no-secret"


def _hook(vector: dict[str, Any]) -> Any:
    from tests.ingest.test_signatures import _hook as hook_of

    return hook_of(vector)


@pytest.mark.parametrize("name", [name for name in CRMS if name != "hubspot"])
def test_the_command_says_what_to_paste_where_and_what_may_be_set(
    name: str, tmp_path: Path
) -> None:
    home, setup = Home(endpoints=tmp_path / "endpoints.toml"), SOURCES[name].setup
    said = CliRunner().invoke(source, ["add", name], obj=home).output
    [endpoint] = Endpoints(home.endpoints).all()
    assert f"{home.public_url}{endpoint.path}" in said
    assert setup.screen in said
    assert setup.credential in said
    for option in setup.options:
        assert f"Option   {option} = " in said
    if setup.made_by == "us":
        assert endpoint.secrets[0] in said
    else:
        assert endpoint.secrets == ()
    assert ("rotate" in said) == (setup.made_by == "vendor")
    assert (endpoint.name == "default") == (name != OM)
    assert len(endpoint.path) > 60 or name != OM


def test_the_demonstration_posts_every_crm_and_all_are_taken(store: Store) -> None:
    for name in SOURCES:
        store.web.endpoints.add(name, "demo")
    secrets = {endpoint.source: endpoint.secrets[0] for endpoint in store.web.endpoints.all()}
    client = store.app().test_client()
    made = [post for post in posts(secrets, "run-1") if post.source in CRMS]
    assert {post.source for post in made} == set(CRMS)
    from datetime import UTC, datetime

    from services.demonstration import sign_hubspot

    store.now = datetime.now(UTC)
    for post in made:
        headers = dict(post.headers)
        if post.source == "hubspot":
            headers |= sign_hubspot(post, store.web.public_url, secrets["hubspot"])
        answer = client.post(post.path, data=post.body, headers=headers)
        assert answer.status_code in {200, 204}, (post.what, answer.text)
    relay(store.worker)
    told = [decode(message.text) for message in store.published.messages]
    assert {one.topic for one in told} == {Topic.EVENT_RECEIVED}
    assert len(told) == len(made) + 1  # One envelope holds two notifications.
