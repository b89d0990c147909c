"""The story of `countersign demo --crm VENDOR`, driven from outside, for every vendor alike."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.demonstrating import FURTHER
from shared.domain.schema import now
from shared.people import People
from tests.product import Client, Product, eventually

DANA = "dana.miller@example.com"
NEW_PHONE = "+12025550186"


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    product: Product
    client: Client


@contextmanager
def demonstrating(folder: Path, vendor: str, *, sandbox: bool = False) -> Iterator[Demonstrated]:
    """The command, and somebody signed in to the installation that it made beside its own."""
    port = _two_free_ports()
    product = Product(
        folder=folder,
        port=port,
        crm_port=port + 1,
        main=("services", "demo", "--crm", vendor, *(["--sandbox"] if sandbox else [])),
        extra={"DATA_DIR": str(folder / "home"), "PORT": str(port - FURTHER)},
    )
    product.start()
    own = folder / f"home-{vendor}{'-sandbox' if sandbox else ''}"
    token = People(own / "people.toml", clock=now).make_token("admin", "tests")
    try:
        yield Demonstrated(product=product, client=Client(product, token))
    finally:
        assert product.stop() == 0


def _two_free_ports() -> int:
    """A free port with a free one after it: for the product, and for its demo CRM.

    Below those that the system gives by itself: the vendor's double gets one of these first.
    """
    for _ in range(100):
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1))
            return port
    raise OSError("no two free ports")


def card_for(client: Client, field: str, value: str) -> Any:
    """The pending card that proposes this value, as soon as it is there."""

    def found() -> Any:
        for row in client.get("/api/cards")["rows"]:
            if any((one["field"], one["after"]) == (field, value) for one in row["fields"]):
                return client.get(f"/api/cards/{row['id']}")
        return None

    return eventually(found)


def approved(client: Client, card: Any) -> Any:
    """The change of this card, written and read back."""
    id_ = card["row"]["id"]
    now = client.get(f"/api/cards/{id_}/now")
    assert now["reachable"] is True, now
    answer = client.post(f"/api/cards/{id_}/approve", card_digest=now["card_digest"])
    assert answer.status_code == 200, answer.text

    def applied() -> Any:
        change = client.get(f"/api/cards/{id_}")["change"]
        assert not change or change["state"] not in {"failed", "stale"}, change
        return change if change and change["state"] == "applied" and change["read_at"] else None

    return eventually(applied, why=lambda: str(client.get(f"/api/cards/{id_}")["change"]))


def live_value(client: Client, card: Any, field: str) -> Any:
    """What the CRM's double holds, read by a process that cannot write."""
    fields = client.get(f"/api/cards/{card['row']['id']}/now")["fields"]
    return next(one["value"] for one in fields if one["field"] == field)


def searched(client: Client, topic: str = "change.applied") -> Any:
    rows = client.get("/api/search", q=DANA)["rows"]
    return [row for row in rows if row["topic"] == topic]
