"""A person is erased: no store of ours holds a word of them any more, and every proof stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.demonstration import posts, send
from shared.bus.publisher import Publisher
from shared.bus.transports.sqlite import url_of
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import virtual_host
from tests.product import Client, Product, eventually, running

DANA = "dana.miller@example.com"
PLANTED = (b"dana.miller", b"555 0186", b"2025550186", b"2025550101", b"Miller Bakery")
# The CRM is an outside system with a copy of its own; people and keys hold no customer.
OURS = ("ingest", "classifier", "writer", "audit", "search", "bus", "sessions")


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    with running(tmp_path) as product:
        yield product


def deliver(product: Product) -> None:
    """The mail in which a customer tells a new number, always the same."""
    secrets = product.secrets()
    [mail] = [one for one in posts(secrets, "always") if one.what.endswith("new phone number")]
    status = send(mail, base_url=product.url, public_url=product.url, secrets=secrets)
    assert status == 200


def stores(product: Product) -> list[Path]:
    folder = product.folder / "data"
    files = [path for name in OURS for path in folder.glob(f"{name}.db*")]
    return [path for path in (*files, *(folder / "raw").rglob("*")) if path.is_file()]


def held(product: Product) -> list[tuple[str, bytes]]:
    found = []
    for path in stores(product):
        content = path.read_bytes()
        found += [(path.name, planted) for planted in PLANTED if planted in content]
    return found


def card_of_dana(client: Client) -> str:
    rows = client.get("/api/cards")["rows"]
    return next((row["id"] for row in rows if row["title"] == "Dana Miller"), "")


def test_nothing_of_an_erased_person_is_left_and_the_log_verifies(product: Product) -> None:
    client = product.client()
    deliver(product)
    card = eventually(lambda: card_of_dana(client))
    digest = client.get(f"/api/cards/{card}/now")["card_digest"]
    assert client.post(f"/api/cards/{card}/approve", card_digest=digest).ok
    eventually(lambda: (client.get(f"/api/cards/{card}")["change"] or {}).get("read_at"))
    event = client.get(f"/api/cards/{card}")["row"]["event_id"]
    asked = client.post("/api/asks", record="demo/contacts/1001", kind="summary").json()["id"]
    eventually(lambda: client.get(f"/api/asks/{asked}")["is_answered"])
    bus = Publisher(url_of(product.folder / "data" / "bus.db"))
    bus.park("writer", "m-dead", f'{{"chain": "{event}", "who": "{DANA}"}}', "BadPayload: planted")
    bus.close()
    eventually(lambda: client.get("/api/search", q=DANA)["rows"])
    assert held(product) != []

    unasked = product.command("erase", DANA, "--reason", "nobody says yes")
    assert unasked.returncode == 1
    assert client.get("/api/search", q=DANA)["rows"] != []
    said = product.command("erase", DANA, "--reason", "asked for it", "--yes")
    assert said.returncode == 0, said.stdout + said.stderr

    eventually(lambda: not held(product), why=lambda: str(held(product)))
    assert client.get("/api/search", q=DANA)["rows"] == []
    assert client.session.get(f"{client.url}/api/cards/{card}", timeout=9).status_code == 404
    assert client.session.get(f"{client.url}/api/asks/{asked}", timeout=9).status_code == 404
    story = client.get(f"/api/chains/{event}")
    assert story["erased"]
    verified = product.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_sent_again_an_erased_message_brings_nothing_back(product: Product) -> None:
    """Its id is still known."""
    client = product.client()
    deliver(product)
    eventually(lambda: card_of_dana(client))
    assert product.command("erase", DANA, "--reason", "asked", "--yes").returncode == 0
    eventually(lambda: not held(product), why=lambda: str(held(product)))
    accepted = client.get("/api/log/balance")["accepted"]
    deliver(product)
    time.sleep(1.5)
    assert client.get("/api/log/balance")["accepted"] == accepted
    assert held(product) == []


def test_each_service_has_the_right_to_forget(tmp_path: Path) -> None:
    """On RabbitMQ and PostgreSQL, each part with the rights of its own role alone."""
    with virtual_host() as host, fresh_postgresql() as url:
        main = ("tests.contracts.with_roles",)
        with running(tmp_path, main=main, BROKER_URL=host.url, DATABASE_URL=url) as product:
            client = product.client()
            deliver(product)
            card = eventually(lambda: card_of_dana(client))
            digest = client.get(f"/api/cards/{card}/now")["card_digest"]
            assert client.post(f"/api/cards/{card}/approve", card_digest=digest).ok
            eventually(lambda: (client.get(f"/api/cards/{card}")["change"] or {}).get("read_at"))
            said = product.command("erase", DANA, "--reason", "asked", "--yes")
            assert said.returncode == 0, said.stdout + said.stderr
            eventually(lambda: not client.get("/api/cards", tab="decided")["rows"])
            eventually(lambda: client.get("/api/log/balance")["waiting"] == 0)
            dead = product.command("dead", "list")
            assert "No dead letters" in dead.stdout, dead.stdout
