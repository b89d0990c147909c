"""What a CRM says of its fields is kept, and asked for anew when the CRM hints that it changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.writer.crm.pipedrive import PipedriveWriter
from shared.crm import kept as keeping
from shared.crm.accounts import Account
from shared.crm.kept import MINUTES, YOUNG, Kept, expect
from shared.crm.pipedrive import PipedriveReader
from shared.errors import Rejected
from tests.fakes.faulty_crm import served
from tests.fakes.jobber_fixtures import running_jobber
from tests.fakes.pipedrive_stage import ACCOUNT, CRM, JENNY, filled
from tests.writer.trial_stage import DANA, phone, policy_of, rehearsal

NEW_KEY = "9e9e" * 10


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_kept_for_its_time_and_no_longer() -> None:
    clock, asked = Clock(), list[str]()
    kept = Kept(lambda key: asked.append(key) or len(asked), clock=clock)
    assert [kept.get("a"), kept.get("a")] == [1, 1]
    clock.now += MINUTES + 1
    assert kept.get("a") == 2


def test_a_doubt_asks_anew_unless_the_answer_is_young() -> None:
    clock, asked = Clock(), list[str]()
    kept = Kept(lambda key: asked.append(key) or len(asked), clock=clock)
    kept.doubt("a")
    assert kept.get("a") == 1
    kept.doubt("a")
    assert kept.get("a") == 1, "one hint after the other must not flood the CRM"
    clock.now += YOUNG + 1
    kept.doubt("a")
    assert kept.get("a") == 2


def test_only_a_name_that_is_not_known_is_a_hint() -> None:
    clock, asked = Clock(), list[str]()
    kept: Kept[Mapping[str, int]] = Kept(lambda key: asked.append(key) or {"x": 1}, clock=clock)
    kept.get("a")
    clock.now += YOUNG + 1
    expect(kept, "a", ["x"])
    kept.get("a")
    assert len(asked) == 1
    expect(kept, "a", ["x", "y"])
    kept.get("a")
    assert len(asked) == 2


@pytest.fixture
def _nothing_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if some time had gone by since every answer."""
    monkeypatch.setattr(keeping, "YOUNG", 0.0)


@pytest.mark.usefixtures("_nothing_is_young")
def test_a_new_field_of_pipedrive_is_known_as_soon_as_a_record_has_it() -> None:
    app = filled()
    with served(app) as url:
        reader = PipedriveReader(account(url), timeout=5)
        assert NEW_KEY not in reader.fields("persons")
        app.fields["persons"].append({"key": NEW_KEY, "name": "Roof", "field_type": "varchar"})
        reader.read(JENNY)
        assert NEW_KEY not in reader.fields("persons"), "nothing hints at it yet"
        app.set("persons", JENNY.id, {"custom_fields": {NEW_KEY: "flat"}}, user=26)
        reader.read(JENNY)
        assert reader.fields("persons")[NEW_KEY].label == "Roof"


@pytest.mark.usefixtures("_nothing_is_young")
def test_the_writer_of_pipedrive_asks_before_it_refuses_a_field_that_it_does_not_know() -> None:
    app = filled()
    with served(app) as url:
        writer = PipedriveWriter(account(url), timeout=5)
        writer.update(JENNY, {"job_title": "Mason"}, change_id="c-1")
        with pytest.raises(Rejected):
            writer.update(JENNY, {NEW_KEY: "flat"}, change_id="c-2")
        app.fields["persons"].append({"key": NEW_KEY, "name": "Roof", "field_type": "varchar"})
        writer.update(JENNY, {NEW_KEY: "flat"}, change_id="c-3")
        assert app.records["persons"][JENNY.id]["custom_fields"][NEW_KEY] == "flat"


def account(url: str) -> Account:
    return Account(name=CRM, vendor=CRM, options={**ACCOUNT, "url": url})


@pytest.mark.usefixtures("_nothing_is_young")
def test_a_new_field_of_jobber_is_known_as_soon_as_a_client_has_it(tmp_path: Path) -> None:
    with running_jobber(tmp_path) as running:
        reader = running.reader()
        assert "customFields.Storeys" not in reader.fields("clients")
        storeys = running.jobber.configuration("Storeys", "TEXT")
        running.jobber.row(running.dana)["custom"][storeys] = "2"
        reader.read(running.dana)
        assert reader.fields("clients")["customFields.Storeys"].label == "Storeys"


@pytest.mark.usefixtures("_nothing_is_young")
def test_after_a_refusal_the_fields_are_asked_for_anew(tmp_path: Path) -> None:
    """HubSpot, and every vendor by the case of `tests.crm.kit`: the gate doubts what it knew."""
    with rehearsal(tmp_path, policy_of("live")) as stage:
        reader = stage.world.worker.readers[DANA.crm]
        assert not reader.fields("contacts")["phone"].read_only
        [row] = [one for one in stage.live.rows["contacts"] if one["name"] == "phone"]
        row["modificationMetadata"]["readOnlyValue"] = True
        card = stage.propose(phone()).id
        stage.world.approve(card)
        assert not reader.fields("contacts")["phone"].read_only, "kept for some minutes"
        assert stage.settle(card) == "failed"
        assert reader.fields("contacts")["phone"].read_only
