"""A complaint becomes a note in the CRM: its own words, a person's approval, and found in the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.demonstration import posts, send
from services.installation import SHIPPED_POLICY
from tests.product import Client, Product, eventually, running

ROSA = "rosa.delgado@example.com"
WAITED = (
    "I have been waiting three weeks for the survey of my roof and nobody calls back. "
    "This is not acceptable."
)


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """An installation whose admin has opened what the shipped policy closes."""
    (tmp_path / "data").mkdir()
    text = SHIPPED_POLICY.read_text(encoding="utf-8")
    assert text.count('mode = "never"') == 3
    opened = text.replace('mode = "never"', 'mode = "review"')
    (tmp_path / "data" / "policy.toml").write_text(opened, encoding="utf-8")
    with running(tmp_path) as product:
        yield product


def complain(product: Product) -> None:
    secrets = product.secrets()
    [mail] = [one for one in posts(secrets, "once") if one.what == "A customer complains"]
    assert send(mail, base_url=product.url, public_url=product.url, secrets=secrets) == 200


def cards_of(client: Client) -> dict[str, Any]:
    return {row["kind"]: row for row in client.get("/api/cards")["rows"]}


def approved(client: Client, card: str) -> Any:
    digest = client.get(f"/api/cards/{card}/now")["card_digest"]
    answer = client.post(f"/api/cards/{card}/approve", card_digest=digest)
    assert answer.ok, answer.text

    def applied() -> Any:
        change = client.get(f"/api/cards/{card}")["change"]
        return change if change and change["state"] == "applied" else None

    return eventually(applied)


def test_a_complaint_becomes_a_note_that_a_person_approved_and_anybody_can_find(
    product: Product,
) -> None:
    assert product.command("policy", "check").returncode == 0
    client = product.client()
    complain(product)
    found = eventually(lambda: len(cards_of(client)) == 3 and cards_of(client))
    assert set(found) == {"update", "note", "task"}
    note = found["note"]
    assert note["headline"].startswith("Append a note to Rosa Delgado")
    assert [field["after"] for field in note["fields"]] == [WAITED]

    record = note["record"].removeprefix("demo/")
    before = product.crm(f"/api/{record}/history")["notes"]
    change = approved(client, note["id"])
    assert (change["matches"], change["fields"][0]["read_back"]) == (True, WAITED)
    after = product.crm(f"/api/{record}/history")["notes"]
    [new] = [one for one in after if one not in before]
    assert (new["text"], new["change_id"]) == (WAITED, change["id"])

    task = approved(client, found["task"]["id"])
    [made] = product.crm(f"/api/{record}/tasks")["results"]
    assert (made["change_id"], made["due"]) == (task["id"], None)
    assert made["subject"] in WAITED

    rows = eventually(
        lambda: [
            row
            for row in client.get("/api/search", q="acceptable survey roof")["rows"]
            if row["topic"] == "change.applied"
        ]
    )
    story = client.get(f"/api/chains/{rows[0]['chain']}")
    told = " ".join(line["sentence"] for line in story["timeline"])
    assert "approved the note" in told
    assert f"The note was appended to demo/{record} and read back" in told
    assert f"The task was appended to demo/{record} and read back" in told
    verified = product.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
