from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.crm.demo import DemoReader
from shared.domain.record import RecordRef
from shared.errors import CRMUnavailable, NotFound, Rejected
from tests.fakes.crm_fixtures import READ, Crm, running_crm
from tests.fakes.faulty_crm import Fault, status

DANA = RecordRef(crm="demo", type="contacts", id="1001")
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Crm]:
    with running_crm(tmp_path) as crm:
        yield crm


@pytest.fixture
def reader(crm: Crm) -> DemoReader:
    return DemoReader(crm.url, READ, timeout=1.5, clock=lambda: AT)


def test_a_reading_holds_fields_version_time_title_and_address(
    crm: Crm, reader: DemoReader
) -> None:
    reading = reader.read(DANA)
    assert (reading.ref, reading.title, reading.version, reading.read_at) == (
        DANA,
        "Dana Miller",
        "1",
        AT,
    )
    assert reading.fields["phone"] == "+12025550101"
    assert reading.fields["marketing_consent"] is True
    assert reading.url == f"{crm.url}/contacts/1001"
    assert reading.history == ()
    crm.patch("/api/contacts/1001", {"city": None})
    assert (reader.read(DANA).version, reader.read(DANA).fields["city"]) == ("2", None)


def test_history_tells_notes_and_changes_newest_first(crm: Crm, reader: DemoReader) -> None:
    crm.patch("/api/contacts/1001", {"city": "Olney"}, "run-1")
    items = reader.history(DANA)
    assert [item.at for item in items] == sorted((item.at for item in items), reverse=True)
    assert items[0].text == "Countersign: city from Rockville to Olney"
    assert {item.kind for item in items} == {"note", "change", "created"}
    assert any("water comes in above the oven" in item.text for item in items)


def test_field_changes_say_who_changed_what(crm: Crm, reader: DemoReader) -> None:
    crm.patch("/api/contacts/1001", {"city": "Olney"}, "run-1")
    newest = reader.field_changes(DANA)[0]
    assert (newest.ref, newest.field, newest.old, newest.new) == (
        DANA,
        "city",
        "Rockville",
        "Olney",
    )
    assert (newest.by, newest.change_id) == ("Countersign", "run-1")


def test_search_takes_the_first_key_that_finds_anything(reader: DemoReader) -> None:
    def found(**keys: str) -> list[str]:
        return [str(reading.ref) for reading in reader.search(**keys)]

    assert found(email="DANA.miller@example.com", phone="+12025550102") == ["demo/contacts/1001"]
    assert found(email="nobody@example.com", phone="+12025550102") == ["demo/contacts/1002"]
    assert found(phone="+12025550110") == ["demo/contacts/1016", "demo/contacts/1017"]
    assert found(external_id="MB-0003") == ["demo/contacts/1003"]
    assert found(order_number="MR-10234") == ["demo/deals/5001"]
    assert found(email="nobody@example.com") == found() == []


def test_a_person_finds_candidates_by_what_they_type(reader: DemoReader) -> None:
    for text, expected in [
        ("dana.miller@example.com", ("demo/contacts/1001", "found by email")),
        ("+1 202 555 0101", ("demo/contacts/1001", "found by phone")),
        ("MR-10234", ("demo/deals/5001", "found by order number")),
    ]:
        assert [(str(it.record), it.why) for it in reader.candidates(text)] == [expected]
    assert reader.candidates("nobody") == []


def test_metadata_comes_in_neutral_words(reader: DemoReader) -> None:
    fields = reader.fields("contacts")
    assert fields["preferred_channel"].allowed_values == ("email", "phone", "text", "post")
    assert (fields["notes_summary"].type, fields["marketing_consent"].type) == ("text", "boolean")
    classes = {
        name: fields[name].field_class for name in ("owner", "credit_limit", "lifecycle", "city")
    }
    assert classes == {
        "owner": "owner",
        "credit_limit": "money",
        "lifecycle": "stage",
        "city": None,
    }
    assert fields["external_id"].read_only
    assert fields["city"].max_length == 80
    assert list(reader.stages()["deals"].items())[:2] == [
        ("new", "New enquiry"),
        ("site_visit", "Site visit"),
    ]
    assert reader.capabilities.conditional_write
    assert "contacts:write" not in reader.scopes()


def test_duplicates_come_with_the_reason(reader: DemoReader) -> None:
    likely = reader.duplicates(
        {"last_name": "Else", "phone": "+12025550103", "city": None, "email": None}
    )
    assert [(str(it.record), it.title, it.why) for it in likely] == [
        ("demo/contacts/1003", "Rosa Delgado", "same phone number")
    ]


def test_changes_by_us_are_complete_over_many_pages(crm: Crm, reader: DemoReader) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=1)
    fields = {
        "first_name": "A",
        "city": "B",
        "country": "C",
        "company": "D",
        "job_title": "E",
        "address": "F",
    }
    for number in range(100):
        crm.patch("/api/contacts/1001", fields, f"run-{number}")
    changes = reader.changes_by_us(begun)
    assert len(changes) == 600
    assert len({change.change_id for change in changes}) == 100
    assert reader.changes_by_us(datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, Rejected), (401, Rejected), (403, Rejected), (404, NotFound), (405, Rejected), (409, Rejected),
     (412, Rejected), (422, Rejected), (302, Rejected), (429, CRMUnavailable), (500, CRMUnavailable),
     (502, CRMUnavailable), (503, CRMUnavailable), (504, CRMUnavailable)],
)  # fmt: skip
def test_each_refusal_has_its_meaning(
    crm: Crm, reader: DemoReader, code: int, error: type[Exception]
) -> None:
    crm.faulty.script("GET", status(code, Location=f"{crm.url}/api/contacts/1002"))
    with pytest.raises(error) as caught:
        reader.read(DANA)
    assert type(caught.value) is error
    assert str(code) in str(caught.value)
    assert len(crm.faulty.calls) == 1


def test_the_wait_that_the_crm_asks_for_is_named(crm: Crm, reader: DemoReader) -> None:
    crm.faulty.script("GET", status(429, Retry_After="30"))
    with pytest.raises(CRMUnavailable, match="wait 30 s"):
        reader.read(DANA)


@pytest.mark.parametrize("kind", ["cut", "cut-body"])
def test_a_lost_connection_is_tried_once_more_and_no_more(
    crm: Crm, reader: DemoReader, kind: str
) -> None:
    crm.faulty.script("GET", Fault(kind=kind))
    assert reader.read(DANA).title == "Dana Miller"
    assert len(crm.faulty.calls) == 2
    crm.faulty.script("GET", Fault(kind=kind), Fault(kind=kind))
    with pytest.raises(CRMUnavailable):
        reader.read(DANA)
    assert len(crm.faulty.calls) == 4


@pytest.mark.parametrize("fault", [Fault(kind="hang"), Fault(kind="drip", has_effect=True)])
def test_a_slow_crm_is_given_up_within_the_time_out(
    crm: Crm, reader: DemoReader, fault: Fault
) -> None:
    crm.faulty.script("GET", fault)
    begun = time.monotonic()
    with pytest.raises(CRMUnavailable):
        reader.read(DANA)
    assert time.monotonic() - begun < 4.5
    assert len(crm.faulty.calls) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"id":"1001"}', b'{"fields":{"a":NaN}}', b'{"type":"contacts","id":"1001","title":"x","fields":[],"version":1,"url":"/"}'],
)  # fmt: skip
def test_a_success_of_another_shape_is_an_outage_and_not_a_reading(
    crm: Crm, reader: DemoReader, body: bytes
) -> None:
    crm.faulty.script("GET", status(200, body))
    with pytest.raises(CRMUnavailable):
        reader.read(DANA)
    crm.faulty.script("GET", status(200, b'{"results":[{"id":"1001"}]}'))
    with pytest.raises(CRMUnavailable):
        reader.search(email="a@example.com")


def test_a_crm_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(CRMUnavailable):
        DemoReader("http://127.0.0.1:9", READ, timeout=0.5).read(DANA)


@pytest.mark.parametrize(
    ("type_", "id_"),
    [("contacts", "../deals/5001"), ("contacts", ".."), ("contacts", "1001?x=1"), ("contacts", "1001/history"),
     ("contacts", ""), ("contacts", "1001\n"), ("../api/contacts", "1001"), ("users", "1"), ("contacts", "%2e%2e")],
)  # fmt: skip
def test_an_id_cannot_lead_to_another_address(
    crm: Crm, reader: DemoReader, type_: str, id_: str
) -> None:
    with pytest.raises(NotFound):
        reader.read(RecordRef(crm="demo", type=type_, id=id_))
    assert crm.faulty.calls == []


def test_numbers_that_other_systems_would_round_become_text(crm: Crm, reader: DemoReader) -> None:
    body = b'{"type":"contacts","id":"1001","title":"x","version":1,"url":"/c","fields":{"a":1.10,"b":9007199254740993,"c":[1],"d":7,"e":false}}'
    crm.faulty.script("GET", status(200, body))
    assert reader.read(DANA).fields == {
        "a": "1.10",
        "b": "9007199254740993",
        "c": "[1]",
        "d": 7,
        "e": False,
    }


def test_reading_sends_nothing_but_get(crm: Crm, reader: DemoReader) -> None:
    acts: list[Callable[[], object]] = [
        lambda: reader.read(DANA), lambda: reader.history(DANA), lambda: reader.field_changes(DANA),
        lambda: reader.search(email="a@example.com"), lambda: reader.candidates("x"), reader.stages,
        lambda: reader.fields("deals"), lambda: reader.duplicates({"last_name": "X"}), reader.scopes,
        lambda: reader.changes_by_us(AT), lambda: reader.sample("contacts"),
        lambda: reader.doubt_fields("contacts"),
    ]  # fmt: skip
    for act in acts:
        act()
    assert {method for method, _ in crm.faulty.calls} == {"GET"}
    public = {
        name
        for name in vars(DemoReader)
        if not name.startswith("_") and callable(getattr(DemoReader, name)) and name != "of"
    }
    assert len(public) == len(acts)
