from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.demo_crm.seed import reset, seed
from services.demo_crm.store import Author
from tests.fakes.crm_fixtures import Crm, running_crm


def test_an_empty_crm_is_filled_once_and_the_same_each_time(tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with running_crm(tmp_path / name) as crm:
            store = crm.app.store
            assert not seed(store)
            seen.append(
                (store.all("contacts"), store.all("deals"), store.history("contacts", "1001"))
            )
    assert seen[0] == seen[1]
    assert (len(seen[0][0]), len(seen[0][1])) == (25, 15)


def test_reset_brings_the_samples_back(crm: Crm) -> None:
    store = crm.app.store
    before = (store.all("contacts"), store.history("contacts", "1001"))
    store.update("contacts", "1001", {"city": "Olney"}, Author(name="Countersign", change_id="c"))
    store.propose({"last_name": "Fields"}, Author(name="Countersign", change_id="d"))
    reset(store)
    assert (store.all("contacts"), store.history("contacts", "1001")) == before
    assert store.all("drafts") == []


def test_a_restart_keeps_what_was_changed(tmp_path: Path) -> None:
    with running_crm(tmp_path) as crm:
        crm.patch("/api/contacts/1001", {"city": "Olney"})
    with running_crm(tmp_path) as crm:
        assert crm.get("/api/contacts/1001")["fields"]["city"] == "Olney"
        assert len(crm.app.store.all("contacts")) == 25


@pytest.mark.parametrize("record_type", ["contacts", "deals"])
def test_the_samples_are_fiction_and_valid(crm: Crm, record_type: str) -> None:
    for record in crm.app.store.all(record_type):
        fields = record.fields
        if record_type == "deals":
            assert re.fullmatch(r"MR-10\d{3}", str(fields["order_number"]))
            assert crm.app.store.get("contacts", str(fields["contact_id"]))
            continue
        assert re.fullmatch(r"[a-z.]+@example\.(com|org|net)", str(fields["email"]))
        assert re.fullmatch(
            r"\+120255501\d\d|\+447700900\d{3}|\+493023125\d{3}", str(fields["phone"])
        )
        unchecked = {"external_id", "created_at", "updated_at"}
        values = {name: value for name, value in fields.items() if name not in unchecked}
        crm.app.store.update(record_type, record.id, values, Author(name="You, in the CRM"))
