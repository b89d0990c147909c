"""The stranger's story through the API: from a real webhook to an approved, proved change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from services.processes import DOOR, calls
from shared.web import NAV
from tests.contracts.elasticsearch import search_url
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import virtual_host
from tests.journey.composed import Composed, composed
from tests.journey.containers import ONCE, Containers, containers
from tests.product import Client, Product, eventually, running

DANA = "dana.miller@example.com"
GRACE = "grace.whitfield@example.org"
NEW_PHONE = "+12025550186"


WAYS = ["embedded", "distributed", "composed"]
# It builds the image and takes minutes: only where it is asked for (`make containers`).
WAYS += ["containers"] if os.environ.get("TEST_CONTAINERS") else []


@pytest.fixture(scope="module", params=WAYS)
def product(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """On files alone, on servers with least rights, each process alone, and in its container."""
    folder = tmp_path_factory.mktemp("product")
    if request.param == "embedded":
        with running(folder) as product:
            yield product
        return
    if request.param == "composed":
        with composed(folder) as product:
            yield product
        return
    if request.param == "containers":
        with containers(folder) as product:
            yield product
        return
    with virtual_host() as host, fresh_postgresql() as url, search_url() as search:
        urls = {"BROKER_URL": host.url, "DATABASE_URL": url, "SEARCH_URL": search}
        with running(folder, main=("tests.contracts.with_roles",), **urls) as product:
            yield product


@pytest.fixture(scope="module")
def client(product: Product) -> Client:
    return product.client()


def card_for(client: Client, field: str, value: str) -> Any:
    """The pending card that proposes this value, as soon as it is there."""

    def found() -> Any:
        for row in client.get("/api/cards")["rows"]:
            for one in row["fields"]:
                if one["field"] == field and one["after"] == value:
                    return client.get(f"/api/cards/{row['id']}")
        return None

    return eventually(found)


def dana(product: Product) -> Any:
    [match] = product.crm(f"/api/search?email={DANA}")["results"]
    return product.crm(f"/api/contacts/{match['id']}")


def test_the_whole_story(product: Product, client: Client) -> None:
    said = product.command("demo")
    assert said.returncode == 0, said.stdout + said.stderr

    card = card_for(client, "phone", NEW_PHONE)
    [line] = card["lines"]
    assert (line["before"], line["proposed"]) == ("+12025550101", NEW_PHONE)
    assert line["evidence"]["quote"] in "+1 202 555 0186"
    now = client.get(f"/api/cards/{card['row']['id']}/now")
    assert now["reachable"] is True
    assert now["fields"] == [{"field": "phone", "value": "+12025550101", "moved": False}]

    answer = client.post(f"/api/cards/{card['row']['id']}/approve", card_digest=now["card_digest"])
    assert answer.status_code == 200, answer.text
    eventually(lambda: dana(product)["fields"]["phone"] == NEW_PHONE)

    change = eventually(lambda: _applied(client, card["row"]["id"]))
    assert change["fields"][0]["read_back"] == NEW_PHONE
    assert change["receipt_seq"] is not None

    hits = eventually(lambda: _story_is_searchable(client))
    story = client.get(f"/api/chains/{hits[0]['chain']}")
    assert story["complete"] is True
    assert len(story["answers"]) == 8
    topics = [entry["topic"] for entry in story["timeline"]]
    order = [
        "event.received",
        "event.classified",
        "decision.made",
        "change.intended",
        "change.applied",
    ]
    assert [topic for topic in topics if topic in order] == order

    verified = product.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _applied(client: Client, card_id: str) -> Any:
    change = client.get(f"/api/cards/{card_id}")["change"]
    return change if change and change["state"] == "applied" and change["read_at"] else None


def _story_is_searchable(client: Client) -> Any:
    rows = client.get("/api/search", q=DANA)["rows"]
    return rows if any(row["topic"] == "change.applied" for row in rows) else None


def test_a_decision_is_made_once(product: Product, client: Client) -> None:
    decided = client.get("/api/cards", tab="decided")["rows"]
    assert decided
    answer = client.post(
        f"/api/cards/{decided[0]['id']}/reject", reason="other", comment="too late"
    )
    assert answer.status_code == 409


def test_an_edited_value_is_written_byte_for_byte(product: Product, client: Client) -> None:
    card = card_for(client, "phone", "+12025550193")
    digest = client.get(f"/api/cards/{card['row']['id']}/now")["card_digest"]
    fields = {"phone": {"verdict": "edited", "value": "+12025550194"}}
    answer = client.post(
        f"/api/cards/{card['row']['id']}/approve", card_digest=digest, fields=fields
    )
    assert answer.status_code == 200, answer.text
    change = eventually(lambda: _applied(client, card["row"]["id"]))
    assert change["fields"][0]["read_back"] == "+12025550194"


def test_an_edit_beyond_the_policy_is_refused_by_name(client: Client) -> None:
    rows = eventually(lambda: client.get("/api/cards")["rows"])
    card = client.get(f"/api/cards/{rows[0]['id']}")
    fields = {
        line["field"]: {"verdict": "edited", "value": "x\u0000" + "y" * 5000}
        for line in card["lines"]
    }
    answer = client.post(
        f"/api/cards/{rows[0]['id']}/approve", card_digest=card["card_digest"], fields=fields
    )
    assert answer.status_code in {403, 422}
    assert card["lines"][0]["field"] in answer.text


def test_a_rejection_needs_a_reason_and_is_in_the_log(client: Client) -> None:
    row = eventually(lambda: client.get("/api/cards")["rows"])[0]
    refused = client.post(f"/api/cards/{row['id']}/reject", reason="because")
    assert refused.status_code == 422
    answer = client.post(f"/api/cards/{row['id']}/reject", reason="not_asked_for", comment="no")
    assert answer.status_code == 200, answer.text

    def logged() -> bool:
        story = client.get(f"/api/chains/{row['event_id']}")
        return any(line["topic"] == "decision.made" for line in story["timeline"])

    eventually(logged)


def test_the_complaint_and_the_injection_wait_for_a_person(client: Client) -> None:
    rows = eventually(lambda: _with_flag(client, "injection"))
    assert not any(
        row["id"] for row in client.get("/api/cards")["rows"] if "credit_limit" in str(row)
    )
    assert rows


def _with_flag(client: Client, flag: str) -> list[Any]:
    return [row for row in client.get("/api/worklist")["items"] if flag in row["flags"]]


def test_a_question_about_a_customer_is_answered_and_told_and_counts_as_no_event(
    product: Product, client: Client
) -> None:
    asked = client.post("/api/asks", record="demo/contacts/1001", kind="summary").json()["id"]
    eventually(lambda: client.get(f"/api/asks/{asked}")["is_answered"])

    def told() -> bool:
        answer = client.session.get(f"{client.url}/api/chains/{asked}", timeout=20)
        return answer.ok and "event.classified" in answer.text

    eventually(told)
    assert client.get("/api/log/balance")["difference"] == 0


def test_every_accepted_event_is_accounted_for(product: Product, client: Client) -> None:
    def balanced() -> bool:
        counts = client.get("/api/log/balance")
        assert counts["difference"] == 0
        return counts["accepted"] >= 9 and counts["waiting"] == 0

    eventually(balanced)


def test_nothing_waits_any_more_and_the_ages_say_so(product: Product, client: Client) -> None:
    def handled() -> bool:
        text = product.figures()
        ages = {
            line.split('"')[1]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("countersign_queue_age_seconds{")
        }
        assert set(ages) == {"ingest", "classifier", "writer", "audit"}
        return not any(ages.values())

    eventually(handled)


def test_each_part_has_signed_in_as_its_role(product: Product, client: Client) -> None:
    if "DATABASE_URL" not in product.extra:
        return  # Files have no roles; of the composed form each secret names one.
    engine = create_engine(product.extra["DATABASE_URL"])
    with engine.connect() as connection:
        users = connection.exec_driver_sql(
            "SELECT usename FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        assert set(users.scalars()) == {"ingest", "classifier", "writer", "audit", "reconciler"}
    engine.dispose()


def test_passwords_of_the_servers_change_while_senders_go_on(
    product: Product, client: Client
) -> None:
    """No request is refused meanwhile, nobody is restarted, and whoever comes back is let in."""
    if not isinstance(product, Composed | Containers):
        return
    old = product.owner()
    with senders(product) as said:
        product.change_passwords()
        before = len(said)
        eventually(lambda: len(said) > before + 1, 60)  # One round began after it.
    assert before
    assert [one.stdout for one in said if one.returncode] == []
    assert product.owner() != old
    if isinstance(product, Composed):
        with pytest.raises(OperationalError, match="password authentication failed"):
            create_engine(old).connect()
    product.cut_all_connections()
    eventually(lambda: product.command("demo").returncode == 0, 60, product.said)
    search = f"{client.url}/api/search?q={DANA}"
    # Each process of the pages hears by one call that its password for search is an old one.
    eventually(lambda: all(client.session.get(search).ok for _ in range(8)), 90, product.said)

    def closed() -> bool:
        counts = client.get("/api/log/balance")
        assert counts["difference"] == 0
        return counts["waiting"] == 0

    eventually(closed, 60, product.said)


def test_nobody_reaches_whom_the_table_does_not_name(product: Product) -> None:
    if isinstance(product, Containers):
        mine = {pair for pair in calls() if pair[0] not in {*ONCE, DOOR}}
        assert product.calls() == mine


def test_a_backup_is_taken_of_the_running_processes(product: Product) -> None:
    file = product.folder / "all.zip"
    if isinstance(product, Containers):
        return  # Taken and restored at the end.
    said = product.command("backup", str(file))
    assert said.returncode == 0, said.stderr
    assert {f"files/{name}.toml" for name in ("people", "endpoints", "policy")} <= set(
        ZipFile(file).namelist()
    )


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["keys", "rotate", "decisions"], "secrets --rotate NAME"),
        (["reload"], "docker compose restart"),
        (["migrate", "--to-database", "x", "--to-broker", "y"], "ops restore FILE"),
        (["backup", "/tmp/none.zip", "--with-keys"], "secrets:/secrets/made"),
    ],
)
def test_what_one_process_cannot_do_it_says_who_can(
    product: Product, words: list[str], instead: str
) -> None:
    if isinstance(product, Composed | Containers):
        said = product.command(*words)
        assert said.returncode == 1
        assert instead in said.stderr


EVERYDAY = [
    ("exec -T writer-web countersign", "people list", "stop", "resume"),
    ("exec -T ingest-web countersign", "source add jobber"),
    ("exec -T ingest-worker countersign", "mailboxes check"),
    ("exec -T writer-worker countersign", "doctor", "policy check", "notices list", "crm --help"),
    ("exec -T audit-worker countersign", "reindex", "verify"),
    ("run --rm setup", "dead list"),
    ("run --rm secrets", "secrets --list"),
]
ROTATED = [
    ("decisions", ""),
    ("checkpoints", ""),
    ("ledger", "exec -T audit-worker countersign keys rewrap"),
    ("endpoints", "run --rm setup"),
    ("crm-read-grants", "restart classifier-worker writer-web writer-worker"),
    ("metrics", "restart ingest-web writer-web audit-web"),
]


def test_every_command_of_the_papers_works_where_they_say(product: Product) -> None:
    if isinstance(product, Containers):
        for place, *commands in EVERYDAY:
            for command in commands:
                product.compose(*f"{place} {command}".split())
        for name, then in ROTATED:
            product.compose(*f"run --rm secrets secrets --rotate {name}".split())
            if then:
                product.compose(*then.split())
        eventually(lambda: product.command("demo").returncode == 0, 90)
        eventually(lambda: "OK. Entries: " in product.command("verify").stdout, 90)


@contextmanager
def senders(product: Product) -> Iterator[list[Any]]:
    """Everything of the demonstration again and again; what each round said."""
    said: list[Any] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            said.append(product.command("demo"))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "path",
    ["/queue", "/look", "/decided", "/search", "/status", "/people", "/policy", "/status/sources"],
)
def test_every_page_answers_and_leads_to_all_others(client: Client, path: str) -> None:
    """Whichever process serves it."""
    answer = client.session.get(client.url + path, headers={"Accept": "text/html"}, timeout=20)
    assert answer.status_code == 200, answer.text
    for item in NAV:
        assert f'href="{item.path}"' in answer.text, item.path


def test_a_person_is_erased_by_the_process_that_holds_the_log(
    product: Product, client: Client
) -> None:
    assert eventually(lambda: client.get("/api/search", q=GRACE)["rows"])
    said = product.command("erase", GRACE, "--reason", "asked for it", "--yes")
    assert said.returncode == 0, said.stdout + said.stderr
    assert client.get("/api/search", q=GRACE)["rows"] == []
    assert product.command("verify").returncode == 0


def test_everyday_commands_work_where_the_paper_says(product: Product) -> None:
    said = product.command("sign-out-everyone")
    assert "sessions have ended" in said.stdout, said.stderr
    said = product.command("notices", "list")
    assert "Nobody is told anything" in said.stdout, said.stderr


def test_a_second_start_goes_on_where_it_was(product: Product, client: Client) -> None:
    before = client.get("/api/cards", tab="decided")["total"]
    assert product.stop() == 0
    product.start()
    assert client.get("/api/cards", tab="decided")["total"] == before
    assert product.command("verify").returncode == 0


def test_everything_that_was_lost_comes_back_from_a_backup(
    product: Product, client: Client
) -> None:
    if not isinstance(product, Containers):
        return  # tests/backup does it on one machine, in a second.
    before = client.get("/api/log/balance")["accepted"]
    assert "OK. Entries: " in product.back_up_and_lose_everything()
    assert client.get("/api/log/balance")["accepted"] == before
    assert product.command("resume").returncode == 0
    assert product.command("demo").returncode == 0
    assert product.command("verify").returncode == 0
    eventually(lambda: client.get("/api/log/balance")["waiting"] == 0, 60)
