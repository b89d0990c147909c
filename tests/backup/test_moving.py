"""From files to servers: everything goes on where it was, down to what waited at the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.bus.publisher import Publisher
from shared.bus.transports.sqlite import url_of
from shared.crm.grant_settings import WRITE
from shared.crm.grants import Grants, Pair
from shared.errors import Rejected
from shared.outbox import Outgoing
from tests.backup.world import approved_card, count, has_receipt, started, state_of
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import virtual_host
from tests.product import Product, eventually

ANOTHER = "33333333-3333-5333-8333-333333333333"
OF_TOMORROW = {
    "id": "11111111-1111-5111-8111-111111111111",
    "topic": "event.received",
    "schema": 99,
    "chain": "22222222-2222-5222-8222-222222222222",
    "cause": None,
    "actor": "service:ingest",
    "subject": "event/22222222-2222-5222-8222-222222222222",
    "at": "2026-01-01T00:00:00.000Z",
    "traceparent": "00-22222222222252228222222222222222-8222222222222222-01",
    "body": {"new": True},
}


def send(broker_url: str, message: dict[str, object]) -> None:
    publisher = Publisher(broker_url)
    text = json.dumps(message)
    topic = str(message["topic"])
    assert publisher.send([Outgoing(id=str(message["id"]), topic=topic, text=text)]) == set()
    publisher.close()


@contextmanager
def grants(home: Any) -> Iterator[Grants]:
    found = Grants.at(home.database(WRITE), (home.keys / "crm-write-grants.key").read_text())
    try:
        yield found
    finally:
        found.engine.dispose()


def give_grant(home: Any) -> None:
    with grants(home) as found:
        found.keep("jobber", Pair(access="access", refresh="refresh", seconds=3600))


def grant_of(home: Any) -> str:
    def never(_: str) -> Pair:
        raise AssertionError("the token is good for an hour")

    with grants(home) as found:
        return found.access("jobber", never, patience=1).text


def test_an_approved_card_and_a_parked_message_go_along(tmp_path: Path) -> None:
    old = Product(folder=tmp_path)
    with started(old):
        assert old.command("demo").returncode == 0
        client = old.client()
        assert old.command("stop").returncode == 0
        card = approved_card(client)
        eventually(lambda: has_receipt(client, card))
        send(url_of(tmp_path / "data" / "bus.db"), OF_TOMORROW)
        eventually(lambda: "schema 99" in old.command("dead", "list").stdout)
        refused = old.command("migrate", "--to-database", "postgresql+psycopg://x@127.0.0.1:1/x",
                              "--to-broker", "pika://x@127.0.0.1:1/x")  # fmt: skip
        assert refused.returncode != 0
    before = {
        name: count(old, name, query)
        for name, query in {
            "ingest": "SELECT count(*) FROM accepted",
            "audit": "SELECT count(*) FROM entries",
            "writer": "SELECT count(*) FROM proposals",
        }.items()
    }

    give_grant(old.home())
    with virtual_host() as host, fresh_postgresql() as database:
        to_servers = ("migrate", "--to-database", database, "--to-broker", host.url)
        said = old.command(*to_servers, "--dry-run")
        assert said.returncode == 0, said.stdout + said.stderr
        assert "would be carried" in said.stdout
        said = old.command(*to_servers)
        assert said.returncode == 0, said.stdout + said.stderr
        assert "every table and the root of the log are the same" in said.stdout
        assert "OK. Entries: " in said.stdout
        again = old.command(*to_servers)
        assert again.returncode != 0
        assert "carried to" in again.stderr

        new = replace(old, extra={"BROKER_URL": host.url, "DATABASE_URL": database}, process=None)
        assert grant_of(new.home(database_url=database)) == "access"
        with pytest.raises(Rejected, match="no grant"):
            grant_of(old.home())
        assert count(new, "ingest", "SELECT count(*) FROM accepted") == before["ingest"]
        assert count(new, "writer", "SELECT count(*) FROM proposals") == before["writer"]
        assert count(new, "audit", "SELECT count(*) FROM entries") >= before["audit"]
        refused = old.command("run")
        assert refused.returncode != 0
        assert "carried to" in refused.stderr

        with started(new):
            assert "schema 99" in new.command("dead", "list").stdout
            assert new.command("resume").returncode == 0
            eventually(lambda: state_of(client, card) == "applied")
            send(host.url, {**OF_TOMORROW, "id": ANOTHER})
            eventually(lambda: ANOTHER in new.command("dead", "list").stdout)
            assert new.command("demo").returncode == 0
            eventually(lambda: client.get("/api/log/balance")["waiting"] == 0, 30, new.said)
            assert client.get("/api/log/balance")["difference"] == 0
            assert new.command("verify").returncode == 0
