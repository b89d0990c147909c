"""HubSpot's connector over real HTTP against a stateful fake of that account."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from services.writer.crm import OutcomeUnknown
from services.writer.crm.hubspot import ALLOWED, HubSpotWriter
from services.writer.crm.registry import writer_of
from shared.crm import readers
from shared.crm.accounts import Account
from shared.crm.hubspot import HubSpotReader
from shared.crm.hubspot_access import Access, heed
from shared.crm.hubspot_fields import field_of, stages_of
from shared.crm.hubspot_objects import LONGEST_QUERY, Objects, rows_of
from shared.crm.pace import Pace
from shared.crm.transport import Answer
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, Conflict, CRMUnavailable, NotFound, Rejected
from tests.beside import beside
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import Fault, served, status
from tests.fakes.hubspot import (
    CLIENT,
    READ_KEY,
    READ_SCOPES,
    REFRESH,
    WRITE_APP,
    WRITE_KEY,
    WRITE_SCOPES,
    HubSpot,
)

DANA = RecordRef(crm="hubspot", type="contacts", id="51")
DEAL = RecordRef(crm="hubspot", type="deals", id="7001")
OPTIONS = {
    "private_address": "yes",
    "calls_per_10_seconds": "100000",
    "searches_per_second": "1000",
    "share": "1",
    "mark_property": "countersign_change",
    "own_app": WRITE_APP,
}


@pytest.fixture
def crm() -> Iterator[HubSpot]:
    crm = HubSpot()
    crm.add(
        "contacts",
        {"firstname": "Dana", "lastname": "Miller", "email": "dana.miller@example.com",
         "phone": "(202) 555-0101", "city": "Rockville", "company": "Miller Bakery",
         "customer_number": "MB-0001", "lifecyclestage": "customer", "passport": "X1"},
        id_=DANA.id,
    )  # fmt: skip
    crm.add("contacts", {"firstname": "Jon", "lastname": "Weber", "company": "Weber Roofs Ltd"})
    crm.add("deals", {"dealname": "Oven", "dealstage": "closedwon", "amount": "1200.50",
                      "order_number": "MR-10234"}, id_=DEAL.id)  # fmt: skip
    crm.link("contacts", DANA.id, "deals", DEAL.id)
    with served(crm.faulty) as crm.url:  # type: ignore[attr-defined]
        yield crm


def account(crm: Any, **more: str) -> Account:
    return Account(name="hubspot", vendor="hubspot", options={"url": crm.url, **OPTIONS, **more})


def reader_of(crm: HubSpot, *, patience: float = 5, **more: str) -> HubSpotReader:
    return HubSpotReader(account(crm, **{"token": READ_KEY, **more}), timeout=patience)


def hubspot_writer(crm: HubSpot, *, patience: float = 5, **more: str) -> HubSpotWriter:
    return HubSpotWriter(account(crm, **{"token": WRITE_KEY, **more}), timeout=patience)


@pytest.fixture
def reader(crm: HubSpot, patience: float) -> HubSpotReader:
    return reader_of(crm, patience=patience)


@pytest.fixture
def writer(crm: HubSpot, patience: float) -> HubSpotWriter:
    return hubspot_writer(crm, patience=patience)


RATE = b'{"status":"error","message":"limit","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}'


class TestHubSpot(ConnectorCases):
    @pytest.fixture
    def stage(self, crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter) -> Stage:
        return Stage(
            reader=reader,
            writer=writer,
            fake=crm,
            ref=DANA,
            field="firstname",
            other="city",
            email="dana.miller@example.com",
            phone="+1 202-555-0101",
            closed={
                "money": ("deals", "amount"),
                "owner": ("contacts", "hubspot_owner_id"),
                "consent": ("contacts", "hs_legal_basis"),
                "stage": ("contacts", "lifecyclestage"),
                "sensitive": ("contacts", "passport"),
                "read_only": ("contacts", "createdate"),
            },
            conditional=False,
            knows_history=True,
            lead={"first_name": "Lee", "last_name": "Fields", "email": "lee@example.com"},
            too_many=status(429, RATE, X_HubSpot_RateLimit_Interval_Milliseconds="1000"),
        )


def fixture(name: str) -> bytes:
    return beside(f"specs/fixtures/hubspot/{name}.json").read_bytes()


def paths(crm: HubSpot) -> list[tuple[str, str]]:
    return list(crm.faulty.calls)


# What a person finds.


def test_values_are_strings_and_an_emptied_one_is_no_value(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    writer.update(DANA, {"city": None, "zip": 20850, "preferred": "email"}, change_id="c")
    fields = reader.read(DANA).fields
    assert (fields["city"], fields["zip"], fields["preferred"]) == (None, "20850", "email")
    assert crm.records["contacts"]["51"].history["city"][0]["value"] == ""
    assert reader.read(DEAL).fields["amount"] == "1200.50"


def test_a_reading_names_the_record_and_leaves_out_what_is_sensitive_or_the_systems_own(
    reader: HubSpotReader,
) -> None:
    reading = reader.read(DANA)
    assert reading.title == "Dana Miller"
    assert reading.url == "https://app.hubspot.com/contacts/44237313/record/0-1/51"
    assert reading.version is not None
    assert reading.read_at.tzinfo is not None
    assert "passport" not in reading.fields
    assert not any(name.startswith("hs_") for name in reading.fields)


def test_more_properties_than_an_address_holds_travel_in_a_body(
    crm: HubSpot, reader: HubSpotReader
) -> None:
    template = next(one for one in crm.rows["contacts"] if one["name"] == "city")
    crm.rows["contacts"] += [{**template, "name": f"property_number_{n:04}"} for n in range(400)]
    fields = reader.read(DANA).fields
    assert fields["firstname"] == "Dana"
    assert len(",".join(fields)) > LONGEST_QUERY
    assert paths(crm)[-1] == ("POST", "/crm/objects/2026-09/contacts/batch/read")
    with pytest.raises(NotFound):
        reader.read(RecordRef(crm="hubspot", type="contacts", id="999"))


def test_the_metadata_is_asked_for_once_in_some_minutes(
    crm: HubSpot, reader: HubSpotReader
) -> None:
    for _ in range(3):
        reader.read(DANA)
    asked = [path for _, path in paths(crm) if path.endswith("/properties/2026-09/contacts")]
    assert len(asked) == 1


def test_a_merged_record_is_not_read_under_its_old_id(crm: HubSpot, reader: HubSpotReader) -> None:
    crm.merge("contacts", DANA.id, "101")
    with pytest.raises(NotFound, match="merged into 101"):
        reader.read(DANA)


def test_a_write_that_lands_on_the_merged_record_is_no_success(
    crm: HubSpot, writer: HubSpotWriter
) -> None:
    crm.merge("contacts", DANA.id, "101")
    with pytest.raises(OutcomeUnknown):
        writer.update(DANA, {"city": "Olney"}, change_id="c")


@pytest.mark.parametrize(
    "typed", ["+12025550101", "+1 (202) 555-0101", "001 202 555 0101", "202.555.0101", "2025550101"]
)
def test_a_number_is_found_in_any_spelling(crm: HubSpot, typed: str) -> None:
    for region in ({}, {"region": "US"}):
        found = reader_of(crm, **region).search(phone=typed)
        assert [one.ref for one in found] == [DANA]


def test_a_number_of_another_country_with_the_same_end_is_not_the_one(crm: HubSpot) -> None:
    crm.add("contacts", {"lastname": "Else", "phone": "+44 20 2555 0101"})
    assert [one.ref for one in reader_of(crm, region="US").search(phone="+12025550101")] == [DANA]
    assert reader_of(crm).search(phone="0101") == []


def test_another_address_of_a_contact_finds_it_too(crm: HubSpot, reader: HubSpotReader) -> None:
    dana = crm.records["contacts"][DANA.id]
    dana.properties["hs_additional_emails"] = "old@example.com;dm@example.org"
    crm.catch_up()
    assert [one.ref for one in reader.search(email="DM@example.org")] == [DANA]
    assert reader.search(email="m@example.org") == []


def test_orders_and_outside_numbers_are_found_by_the_properties_that_the_account_names(
    crm: HubSpot, reader: HubSpotReader
) -> None:
    assert reader.search(external_id="MB-0001", order_number="MR-10234") == []
    named = reader_of(crm, external_id_property="customer_number", order_property="order_number")
    assert [one.ref for one in named.search(external_id="MB-0001")] == [DANA]
    [deal] = named.search(order_number="MR-10234")
    assert (deal.ref, deal.fields["contact_id"]) == (DEAL, DANA.id)
    assert [one.why for one in named.candidates("MR-10234")] == ["found by order number"]
    assert [(one.record, one.why) for one in named.candidates("51")] == [
        (DANA, "found by record id")
    ]
    assert named.candidates("nobody") == []


def test_likely_duplicates_share_an_address_a_number_or_name_and_company(
    reader: HubSpotReader,
) -> None:
    def why(**fields: str) -> list[tuple[str, str]]:
        return [(one.title, one.why) for one in reader.duplicates(fields)]

    assert why(phone="+12025550101") == [("Dana Miller", "same phone number")]
    assert why(first_name="John", last_name="Weber", company="Weber Roofs") == [
        ("Jon Weber", "similar name and company: Weber Roofs Ltd")
    ]
    assert why(first_name="Jane", last_name="Weber", company="Else") == []
    assert why(city="Rockville") == []


def test_the_index_lags_but_addresses_and_marks_are_looked_up_in_the_records(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    crm.lags = True
    lead = {"last_name": "Fields", "email": "lee@example.com", "phone": "+12025550177"}
    made = writer.create(lead, change_id="change-9")
    assert writer.find("change-9") == made
    assert [one.ref for one in reader.search(email="lee@example.com")] == [made]
    assert [one.record for one in reader.duplicates({"email": "lee@example.com"})] == [made]
    assert reader.search(phone="+12025550177") == []  # What is left to the index.
    crm.catch_up()
    assert [one.ref for one in reader.search(phone="+12025550177")] == [made]


def test_history_tells_activities_deals_and_changes_in_words(
    crm: HubSpot, reader: HubSpotReader
) -> None:
    at = "2026-11-20T10:00:00Z"
    activities: list[tuple[str, dict[str, str]]] = [
        ("tasks", {"hs_task_subject": "Call back", "hs_task_status": "NOT_STARTED"}),
        ("calls", {"hs_call_title": "Asked for a quote", "hs_call_body": "<p>Two&nbsp;ovens</p>"}),
        ("meetings", {"hs_meeting_title": "Site visit"}),
        ("emails", {"hs_email_subject": "Quote", "hs_email_text": "Please send it"}),
        *(("notes", {"hs_note_body": f"<div>Note {n}</div>"}) for n in range(8)),
    ]
    for kind, properties in activities:
        crm.link("contacts", DANA.id, kind, crm.add(kind, {**properties, "hs_timestamp": at}))
    crm.edit(DANA, "lifecyclestage", "opportunity", by="Robin")
    items = reader.history(DANA)
    assert [item.at for item in items] == sorted((item.at for item in items), reverse=True)
    told = {(item.kind, item.text) for item in items}
    assert ("task", "Call back: NOT_STARTED") in told
    assert ("call", "Asked for a quote: Two ovens") in told
    assert ("meeting", "Site visit") in told
    assert ("deal", "Oven: Closed Won") in told
    assert ("change", "Robin: lifecyclestage from customer to opportunity") in told
    assert {text for kind, text in told if kind == "note"} == {f"Note {n}" for n in range(8)}
    assert "mail" not in {item.kind for item in items}


def test_mails_are_told_where_the_account_says_so(crm: HubSpot) -> None:
    mail = {"hs_email_subject": "Quote", "hs_timestamp": "2026-11-20T10:00:00Z"}
    crm.link("contacts", DANA.id, "emails", crm.add("emails", mail))
    with pytest.raises(Rejected, match="scopes"):
        reader_of(crm, mails="yes").history(DANA)
    crm.keys[READ_KEY].scopes = READ_SCOPES | {"sales-email-read"}
    items = reader_of(crm, mails="yes").history(DANA)
    assert ("mail", "Quote") in {(item.kind, item.text) for item in items}


def test_who_changed_what_is_told_by_name_by_number_or_by_source(
    crm: HubSpot, writer: HubSpotWriter
) -> None:
    crm.edit(DANA, "city", "Olney", by="Robin")
    crm.edit(DANA, "city", "Bowie", by="Kim")
    writer.update(DANA, {"city": None}, change_id="c")
    newest = [one for one in reader_of(crm).field_changes(DANA) if one.field == "city"]
    assert [(one.old, one.new, one.by) for one in newest] == [
        ("Bowie", None, "integration 2002"),
        ("Olney", "Bowie", "Kim"),
        ("Rockville", "Olney", "Robin"),
        (None, "Rockville", "import 7"),
    ]
    crm.owners_readable = False
    named = [one.by for one in reader_of(crm).field_changes(DANA) if one.field == "city"]
    assert named[1:3] == ["user 901", "user 900"]


def test_changes_by_us_are_ours_alone_with_the_changes_that_they_belong_to(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    begun = datetime.now(UTC) - timedelta(hours=2)
    crm.edit(DANA, "city", "Olney", by="Robin")
    writer.update(DANA, {"city": "Bowie"}, change_id="change-1")
    crm.edit(DANA, "zip", "20715", by="Robin")
    writer.add_note(DEAL, "Asked for March.", change_id="change-2")
    made = writer.create({"last_name": "Fields", "city": "Laurel"}, change_id="change-3")
    writer.update(made, {"city": "Bowie"}, change_id="change-4")
    found = [(one.kind, one.ref, one.field, one.new, one.change_id) for one in
             reader.changes_by_us(begun) if one.kind != "note"]  # fmt: skip
    assert found == [
        ("field", DANA, "city", "Bowie", None),
        ("created", made, None, None, "change-3"),
        ("field", made, "city", "Bowie", None),
    ]
    [note] = [one for one in reader.changes_by_us(begun) if one.kind == "note"]
    assert (note.ref, note.change_id, note.by) == (DEAL, "change-2", f"integration {WRITE_APP}")
    assert reader.changes_by_us(datetime.now(UTC) + timedelta(hours=1)) == []


def test_nobody_knows_our_writes_where_the_account_does_not_name_our_app(crm: HubSpot) -> None:
    with pytest.raises(Rejected, match="own_app"):
        reader_of(crm, own_app="").changes_by_us(datetime.now(UTC))


def test_reading_asks_and_never_writes(crm: HubSpot) -> None:
    reader = reader_of(crm, external_id_property="customer_number", order_property="order_number")
    acts: list[Callable[[], object]] = [
        lambda: reader.read(DANA), lambda: reader.history(DANA), lambda: reader.field_changes(DANA),
        lambda: reader.search(email="x@example.com", phone="+12025550188", external_id="x",
                              order_number="MR-10234"),
        lambda: reader.candidates("x"), reader.stages, lambda: reader.fields("deals"),
        lambda: reader.duplicates({"last_name": "X"}), reader.scopes,
        lambda: reader.changes_by_us(datetime.now(UTC) - timedelta(hours=2)),
    ]  # fmt: skip
    for act in acts:
        act()
    assert crm.writes() == []
    posts = {path for method, path in paths(crm) if method == "POST"}
    assert posts
    assert all(path.endswith(("/batch/read", "/search")) for path in posts)
    assert {method for method, _ in paths(crm)} == {"GET", "POST"}
    assert crm.forbidden == 0


def test_an_account_opens_only_the_objects_that_it_names(crm: HubSpot) -> None:
    reader = reader_of(crm, objects="contacts, deals")
    assert reader.read(DEAL).title == "Oven"
    with pytest.raises(NotFound, match="opens no companies"):
        reader.fields("companies")
    assert set(reader.stages()) == {"deals"}
    with pytest.raises(ConfigurationError, match="objects are"):
        reader_of(crm, objects="contacts,invoices")


@pytest.mark.parametrize("said", ["soon", "2026-11-20T10:00:00", 1, None])
def test_a_time_that_nobody_can_read_is_an_outage_and_no_history(
    crm: HubSpot, reader: HubSpotReader, said: Any
) -> None:
    crm.records["contacts"][DANA.id].history["city"][0]["timestamp"] = said
    with pytest.raises(CRMUnavailable, match="unknown form"):
        reader.field_changes(DANA)


@pytest.mark.parametrize("kept", [str, int])
def test_the_ids_of_linked_records_may_be_texts_or_numbers(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter, kept: Callable[[str], object]
) -> None:
    writer.add_note(DANA, "Two ovens.", change_id="change-1")
    [note] = crm.records["notes"]
    row = {"from": {"id": DANA.id}, "to": [{"toObjectId": kept(note), "associationTypes": []}]}
    answer = json.dumps({"status": "COMPLETE", "results": [row]}).encode()
    crm.script("read", status(200, answer))
    assert writer.note(DANA, change_id="change-1") == "Two ovens."
    crm.script("read", status(200, answer))
    assert Objects(reader._access).links("contacts", [DANA.id], "notes") == {DANA.id: [note]}


def test_a_note_without_a_text_may_come_without_the_property(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    at = "2026-11-20T10:00:00Z"
    note = {"id": "7", "properties": {}, "createdAt": at, "updatedAt": at, "archived": False}
    for type_ in reader.object_types:
        reader.fields(type_)

    def answering(*rows: object) -> None:
        answers = ({"status": "COMPLETE", "results": [row] if row else []} for row in rows)
        crm.script("read", *(status(200, json.dumps(one).encode()) for one in answers))

    answering({"from": {"id": DANA.id}, "to": [{"toObjectId": "7"}]}, note)
    writer.add_note(DANA, "Two ovens.", change_id="change-1")
    assert crm.effects() == 1
    answering(note, {"from": {"id": "7"}, "to": [{"toObjectId": DANA.id}]})
    answering(*[None] * (len(reader.object_types) - 1))
    [found] = reader.changes_by_us(datetime.now(UTC) + timedelta(hours=1))
    assert (found.kind, found.ref, found.new, found.change_id) == ("note", DANA, None, None)


# What is written.


@pytest.mark.parametrize(
    "name",
    ["hubspot_owner_id", "amount", "deal_currency_code", "dealstage", "pipeline", "lifecyclestage",
     "hs_lead_status", "hs_legal_basis", "hs_email_optout", "createdate", "lastmodifieddate",
     "hs_object_id", "associatedcompanyid", "annualrevenue", "countersign_change"],
)  # fmt: skip
@pytest.mark.parametrize("type_", ["contacts", "companies", "deals"])
def test_closed_properties_are_refused_before_hubspot_is_asked(
    crm: HubSpot, writer: HubSpotWriter, type_: str, name: str
) -> None:
    with pytest.raises(Rejected, match=name):
        writer.update(RecordRef(crm="hubspot", type=type_, id="51"), {name: "1"}, change_id="c")
    assert paths(crm) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"nickname": "D"}, "nickname"), ({"hubspotscore": "1"}, "hubspotscore"),
     ({"preferred": "pigeon"}, "pigeon"), ({"email": "nobody"}, "nobody"), ({}, "something")],
)  # fmt: skip
def test_what_hubspot_refuses_is_refused_with_its_words(
    crm: HubSpot, writer: HubSpotWriter, fields: dict[str, str], said: str
) -> None:
    with pytest.raises(Rejected, match=said):
        writer.update(DANA, fields, change_id="c")
    assert crm.effects() == 0


def test_tickets_are_read_and_not_written(crm: HubSpot, writer: HubSpotWriter) -> None:
    ticket = RecordRef(crm="hubspot", type="tickets", id=crm.add("tickets", {"subject": "Leak"}))
    assert reader_of(crm).read(ticket).title == "Leak"
    with pytest.raises(NotFound):
        writer.update(ticket, {"subject": "x"}, change_id="c")
    with pytest.raises(NotFound):
        writer.add_note(ticket, "x", change_id="c")


def test_a_new_contact_whose_address_somebody_has_is_refused_naming_them(
    crm: HubSpot, writer: HubSpotWriter
) -> None:
    with pytest.raises(Conflict, match="contacts/51"):
        writer.create({"last_name": "M", "email": "Dana.Miller@example.com"}, change_id="c")
    assert crm.effects() == 0
    assert writer.find("c") is None


def test_a_create_sent_twice_is_one_contact(crm: HubSpot, writer: HubSpotWriter) -> None:
    first = writer.create({"last_name": "Fields"}, change_id="change-9")
    assert writer.create({"last_name": "Fields"}, change_id="change-9") == first
    assert sum(one.properties.get("lastname") == "Fields"
               for one in crm.records["contacts"].values()) == 1  # fmt: skip


@pytest.mark.parametrize("has_effect", [False, True])
@pytest.mark.parametrize("kind", ["hang", "cut", "cut-body"])
def test_a_create_without_an_answer_is_found_or_not_and_made_once(
    crm: HubSpot, writer: HubSpotWriter, kind: str, has_effect: bool
) -> None:
    crm.lags = True
    crm.script("write", Fault(kind=kind, has_effect=has_effect))
    with pytest.raises(OutcomeUnknown):
        writer.create({"last_name": "Fields"}, change_id="change-9")
    assert (writer.find("change-9") is not None) is has_effect
    assert len(crm.writes()) == 1


def test_no_contact_is_made_that_could_not_be_found_again(crm: HubSpot) -> None:
    writer = hubspot_writer(crm, mark_property="")
    with pytest.raises(Rejected, match="mark_property"):
        writer.create({"last_name": "Fields"}, change_id="c")
    assert writer.find("c") is None
    assert paths(crm) == []


def test_a_word_that_hubspot_has_no_property_for_is_named_or_has_one_of_ones_own(
    crm: HubSpot, writer: HubSpotWriter
) -> None:
    lead = {"last_name": "X", "preferred_channel": "email", "city": None}
    with pytest.raises(Rejected, match="preferred_channel"):
        writer.create(lead, change_id="c")
    own = {"preferred_channel_property": "preferred"}
    made = hubspot_writer(crm, **own).create(lead, change_id="c")
    reader = reader_of(crm, **own)
    assert reader.read(made).fields[reader.names["preferred_channel"]] == "email"


def test_a_note_says_the_text_alone_and_is_added_once(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    for number in range(8):
        writer.add_note(DANA, f"Note {number}", change_id=f"change-{number}")
    writer.add_note(DANA, 'Said: <b>"7 & 8"</b>\nCountersign change x', change_id="change-8")
    crm.script("write", Fault(kind="cut", has_effect=True))
    with pytest.raises(OutcomeUnknown):
        writer.add_note(DANA, "cut off", change_id="change-9")
    for number in range(10):
        writer.add_note(DANA, "again", change_id=f"change-{number}")
    notes = crm.records["notes"].values()
    assert len(notes) == crm.effects() == 10
    bodies = [one.properties["hs_note_body"] for one in notes]
    assert bodies[8].startswith("<p>Said: &lt;b&gt;&quot;7 &amp; 8&quot;&lt;/b&gt;<br>")
    told = [item.text for item in reader.history(DANA) if item.kind == "note"]
    assert 'Said: <b>"7 & 8"</b>\nCountersign change x\nCountersign change change-8' in told
    assert not any("again" in text for text in told)


def test_a_note_is_linked_to_records_of_each_kind_and_has_an_end(
    crm: HubSpot, writer: HubSpotWriter
) -> None:
    company = RecordRef(crm="hubspot", type="companies", id=crm.add("companies", {"name": "MB"}))
    for number, ref in enumerate((DANA, DEAL, company)):
        writer.add_note(ref, "x", change_id=f"c{number}")
        assert len(crm.links[ref.type, ref.id, "notes"]) == 1
    with pytest.raises(NotFound):
        writer.add_note(RecordRef(crm="hubspot", type="deals", id="1"), "x", change_id="c")
    with pytest.raises(Rejected, match="65536"):
        writer.add_note(DANA, "x" * 70000, change_id="c")


def acts(writer: HubSpotWriter) -> dict[str, Callable[[], object]]:
    return {
        "update": lambda: writer.update(DANA, {"city": "Olney"}, change_id="change-1"),
        "note": lambda: writer.add_note(DANA, "text", change_id="change-1"),
        "create": lambda: writer.create({"last_name": "Fields"}, change_id="change-1"),
    }


ACTS = ["update", "note", "create"]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("code", "body", "error"),
    [(302, b"", Rejected), (400, "400-invalid-properties", Rejected), (401, b"", Rejected),
     (403, "403-missing-scopes", Rejected), (404, b"", NotFound), (405, b"", Rejected),
     (409, "409-contact-exists", Conflict), (414, b"", Rejected), (422, b"", Rejected),
     (423, b"", CRMUnavailable), (429, RATE, CRMUnavailable), (477, b"", CRMUnavailable),
     (503, b"", CRMUnavailable), (500, b"", OutcomeUnknown), (502, b"", OutcomeUnknown),
     (504, b"", OutcomeUnknown), (207, "207-partial-update", Rejected),
     (200, "409-contact-exists", Rejected), (200, b"", OutcomeUnknown), (200, b"[]", OutcomeUnknown),
     (200, b"{}", OutcomeUnknown), (200, b'{"id":"52"}', OutcomeUnknown),
     (200, b'{"status":"COMPLETE","results":[]}', OutcomeUnknown),
     (200, b'{"status":"COMPLETE","results":[{"id":"9","properties":{}}]}', OutcomeUnknown),
     (200, b'{"results":[{"properties":{"countersign_change":"change-1"}}]}', OutcomeUnknown),
     (200, b'{"results":[7],"properties":7}', OutcomeUnknown)],
)  # fmt: skip
def test_each_answer_to_a_write_has_its_meaning(
    crm: HubSpot, writer: HubSpotWriter, act: str, code: int, body: bytes | str,
    error: type[Exception],
) -> None:  # fmt: skip
    crm.script("write", status(code, body if isinstance(body, bytes) else fixture(body)))
    with pytest.raises(error) as caught:
        acts(writer)[act]()
    assert type(caught.value) is error
    assert len(crm.writes()) == 1


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [(302, b"", Rejected), (400, "400-invalid-properties", Rejected), (401, b"", Rejected),
     (403, "403-missing-scopes", Rejected), (404, b"", NotFound), (409, "409-contact-exists", Conflict),
     (414, b"", Rejected), (423, b"", CRMUnavailable), (429, RATE, CRMUnavailable),
     (477, b"", CRMUnavailable), (500, b"", CRMUnavailable), (502, b"", CRMUnavailable),
     (503, b"", CRMUnavailable), (504, b"", CRMUnavailable), (200, "409-contact-exists", Rejected)],
)  # fmt: skip
def test_each_answer_to_a_question_has_its_meaning(
    crm: HubSpot, reader: HubSpotReader, code: int, body: bytes | str, error: type[Exception]
) -> None:
    crm.script("read", status(code, body if isinstance(body, bytes) else fixture(body)))
    with pytest.raises(error) as caught:
        reader.read(DANA)
    assert type(caught.value) is error
    assert len(paths(crm)) == 1


@pytest.mark.parametrize(
    ("answer", "wait"),
    [(Answer(status=429, data=None), 10), (Answer(status=429, data={"policyName": "SECONDLY"}), 1),
     (Answer(status=429, data={"policyName": "DAILY"}), 3600), (Answer(status=423, data=None), 2),
     (Answer(status=429, data=None, headers={"X-HubSpot-RateLimit-Interval-Milliseconds": "5000"}), 5),
     (Answer(status=429, data=None, headers={"Retry-After": "7"}), 7),
     (Answer(status=477, data=None, headers={"Retry-After": "60"}), 60),
     (Answer(status=200, data=None, headers={"X-HubSpot-RateLimit-Remaining": "0"}), 1),
     (Answer(status=200, data=None, headers={"X-HubSpot-RateLimit-Remaining": "9"}), 0),
     (Answer(status=200, data=None, headers={"X-HubSpot-RateLimit-Remaining": "many"}), 0)],
)  # fmt: skip
def test_the_limits_that_hubspot_names_are_kept(answer: Answer, wait: float) -> None:
    slept: list[float] = []
    pace = Pace(1.0, 100.0, clock=lambda: 50.0, sleep=slept.append)
    heed(answer, pace)
    pace.take(10_000)
    assert sum(slept) == wait


def test_a_process_keeps_to_its_part_of_the_limit(crm: HubSpot) -> None:
    crm.limit = 100
    limits = {"calls_per_10_seconds": "100", "share": "0.25"}
    reader = HubSpotReader(account(crm, token=READ_KEY, **limits), timeout=0.3)
    for _ in range(4):
        reader.read(DANA)
    with pytest.raises(CRMUnavailable, match="rate limit"):
        for _ in range(30):
            reader.read(DANA)
    assert len(paths(crm)) <= 25
    assert 429 not in {code for _, _, code in crm.log}


# Rights and tokens.


def oauth(crm: HubSpot, **more: str) -> Account:
    return account(crm, **{**CLIENT, "refresh_token": REFRESH, **more})


def test_a_token_is_fetched_kept_and_fetched_anew(crm: HubSpot) -> None:
    reader = HubSpotReader(oauth(crm), timeout=5)
    for _ in range(3):
        reader.read(DANA)
    assert crm.tokens_given == 1
    crm.keys["access-1"].until = 0.0
    assert reader.read(DANA).title == "Dana Miller"
    assert crm.tokens_given == 2


def test_a_write_with_a_token_that_ended_is_sent_again_and_done_once(crm: HubSpot) -> None:
    crm.oauth_scopes = WRITE_SCOPES
    writer = HubSpotWriter(oauth(crm), timeout=5)
    writer.scopes()
    crm.keys["access-1"].until = 0.0
    writer.update(DANA, {"city": "Olney"}, change_id="c")
    assert (crm.effects(), crm.tokens_given) == (1, 2)


def test_a_token_that_hubspot_will_not_give_stops_every_call(crm: HubSpot) -> None:
    wrong = HubSpotReader(oauth(crm, refresh_token="other-refresh"), timeout=5)
    with pytest.raises(Rejected, match="invalid refresh token") as caught:
        wrong.read(DANA)
    assert "other-refresh" not in str(caught.value)
    assert CLIENT["client_secret"] not in str(caught.value)
    for fault in (status(500), status(429, RATE), status(200, b"{}"), Fault(kind="hang")):
        crm.script("read", fault)
        with pytest.raises(CRMUnavailable):
            HubSpotReader(oauth(crm), timeout=1.5 if fault.kind == "hang" else 5).read(DANA)
    assert crm.writes() == []


def test_scopes_are_hubspots_word_or_said_to_be_unknown(
    crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter
) -> None:
    assert reader.scopes() == writer.scopes() == ("unknown",)
    assert set(HubSpotReader(oauth(crm), timeout=5).scopes()) == READ_SCOPES
    with pytest.raises(Rejected):
        reader_of(crm, token="no-key").scopes()
    told = HubSpotReader(oauth(crm), timeout=5)
    told.scopes()
    crm.script("read", status(200, b'{"active":false}'))
    with pytest.raises(Rejected, match="not active"):
        told.scopes()


def test_the_right_to_write_contacts_does_not_open_reading_them(crm: HubSpot) -> None:
    crm.keys[WRITE_KEY].scopes = WRITE_SCOPES - {"crm.objects.contacts.read"}
    writer = hubspot_writer(crm)
    writer.update(DANA, {"city": "Olney"}, change_id="c")
    with pytest.raises(Rejected, match="scopes"):
        writer.find("c")
    crm.keys[WRITE_KEY].scopes = WRITE_SCOPES
    assert writer.find("c") is None


def test_a_reading_key_cannot_write(crm: HubSpot) -> None:
    with pytest.raises(Rejected, match="scopes"):
        hubspot_writer(crm, token=READ_KEY).update(DANA, {"city": "Olney"}, change_id="c")
    assert crm.effects() == 0


def test_the_registries_know_hubspot_and_refuse_half_an_account(crm: HubSpot) -> None:
    made = readers([account(crm, token=READ_KEY)], timeout=5)["hubspot"]
    assert made.read(DANA).ref == DANA
    assert writer_of(account(crm, token=WRITE_KEY)).find("c") is None
    for half in ({}, {"refresh_token": "x"}, {"client_id": "a", "client_secret": "b"}):
        with pytest.raises(ConfigurationError, match="needs"):
            Access(account(crm, **half), timeout=1)
    for wrong in ({"version": "v3"}, {"share": "none"}, {"private_address": "no"}):
        with pytest.raises(ConfigurationError):
            Access(account(crm, token="k", **wrong), timeout=1)


def test_another_account_of_the_same_crm_goes_by_its_own_name(crm: HubSpot) -> None:
    other = Account(
        name="hubspot-test", vendor="hubspot", options=account(crm, token=READ_KEY).options
    )
    reader = HubSpotReader.of(other, 5)
    assert (
        reader.read(RecordRef(crm="hubspot-test", type="contacts", id="51")).ref.crm
        == "hubspot-test"
    )
    with pytest.raises(NotFound):
        reader.read(DANA)


def test_the_dated_version_is_one_option(crm: HubSpot) -> None:
    with pytest.raises(NotFound):
        reader_of(crm, version="2027-03").fields("contacts")
    assert paths(crm) == [("GET", "/crm/properties/2027-03/contacts")]


# Recorded answers of HubSpot itself.


def test_recorded_properties_have_types_and_classes(crm: HubSpot, reader: HubSpotReader) -> None:
    crm.script("read", status(200, fixture("properties-contacts-sampled")))
    crm.script("read", status(200, fixture("properties-deals-sampled")))
    fields = {**reader.fields("contacts"), **reader.fields("deals")}
    assert {name: (one.type, one.field_class) for name, one in fields.items()} == {
        "address": ("text", None),
        "mobilephone": ("phone", None),
        "autogen": ("boolean", None),
        "hobby__c": ("text", None),
        "associatedcompanyid": ("reference", "read_only"),
        "hs_associated_target_accounts": ("text", "read_only"),
        "hs_date_entered_customer": ("datetime", "read_only"),
        "hubspotscore": ("text", "read_only"),
        "hs_contact_enrichment_opt_out": ("boolean", "consent"),
        "hs_content_membership_status": ("enum", "read_only"),
        "hs_all_assigned_business_unit_ids": ("text", "read_only"),
        "hs_predictivecontactscorebucket": ("enum", "read_only"),
        "hs_first_subscription_create_date": ("datetime", "read_only"),
        "hs_notes_last_activity": ("text", "read_only"),
        "hs_pipeline": ("text", "stage"),
        "pipeline": ("text", "stage"),
        "dealstage": ("text", "stage"),
    }
    assert fields["hs_content_membership_status"].allowed_values == ("active", "inactive")


BASE = {"name": "x", "label": "X", "type": "string", "fieldType": "text", "options": []}


@pytest.mark.parametrize(
    ("row", "class_"),
    [({}, None), ({"calculated": True}, "read_only"), ({"fieldType": "calculation_equation"}, "read_only"),
     ({"modificationMetadata": {"readOnlyValue": True}}, "read_only"), ({"name": "hs_x"}, "read_only"),
     ({"name": "hs_language"}, None), ({"archived": True}, "read_only"),
     ({"numberDisplayHint": "currency"}, "money"), ({"showCurrencySymbol": True}, "money"),
     ({"currencyPropertyName": "c"}, "money"), ({"name": "amount"}, "money"),
     ({"name": "deal_currency_code"}, "money"), ({"name": "hubspot_owner_id"}, "owner"),
     ({"name": "hubspot_team_id"}, "owner"), ({"referencedObjectType": "OWNER"}, "owner"),
     ({"referencedObjectType": "COMPANY"}, "read_only"), ({"name": "hs_legal_basis"}, "consent"),
     ({"name": "hs_email_optout_123"}, "consent"), ({"name": "dealstage"}, "stage"),
     ({"name": "lifecyclestage"}, "stage"), ({"name": "hs_lead_status"}, "stage"),
     ({"dataSensitivity": "sensitive"}, "sensitive"), ({"dataSensitivity": "highly_sensitive"}, "sensitive"),
     ({"name": "mark"}, "read_only")],
)  # fmt: skip
def test_each_mark_of_the_metadata_closes_its_field(
    row: dict[str, Any], class_: str | None
) -> None:
    field = field_of({**BASE, **row}, "mark")
    assert field.field_class == class_
    assert field.read_only or class_ != "read_only"


def test_recorded_pipelines_are_stages_in_order(crm: HubSpot, reader: HubSpotReader) -> None:
    crm.script("read", status(200, fixture("pipelines-deals")))
    assert list(reader.stages()["deals"].items())[:2] == [
        ("appointmentscheduled", "Appointment Scheduled"),
        ("qualifiedtobuy", "Qualified To Buy"),
    ]
    two = [{"label": f"L{n}", "displayOrder": n, "stages": [{"id": f"s{n}", "label": "New", "displayOrder": 0}]}
           for n in (1, 0)]  # fmt: skip
    assert list(stages_of(two).items()) == [("s0", "L0: New"), ("s1", "L1: New")]


def test_recorded_contacts_are_searched_page_by_page(crm: HubSpot, reader: HubSpotReader) -> None:
    reader.fields("contacts")
    crm.script("read", status(200, fixture("contacts-list")))
    [found] = reader.duplicates({"last_name": "Nobody", "email": "b@example.com"})
    assert (found.record.id, found.title, found.why) == (
        "51",
        "b@example.com",
        "same e-mail address",
    )
    assert [path for _, path in paths(crm)].count("/crm/objects/2026-09/contacts/search") == 2


@pytest.mark.parametrize("code", [200, 207])
def test_a_recorded_partial_answer_is_what_is_there_to_a_reader(
    crm: HubSpot, reader: HubSpotReader, code: int
) -> None:
    reader.fields("contacts")
    crm.script("read", status(code, fixture("207-partial-update")))
    assert [one.title for one in reader.search(email="s@example.com")] == [
        "Siena (updated) Dyer (updated)"
    ]
    data = {
        "status": "COMPLETE",
        "results": [],
        "errors": [{"category": "MISSING_SCOPES", "message": "no"}],
    }
    with pytest.raises(Rejected, match="no"):
        rows_of(Answer(status=207, data=data))
    with pytest.raises(CRMUnavailable):
        rows_of(Answer(status=200, data={"status": "PENDING", "results": []}))


def test_recorded_refusals_are_told_in_hubspots_words(crm: HubSpot, writer: HubSpotWriter) -> None:
    for name, code, said in [
        ("400-invalid-properties", 400, "first000name"), ("409-contact-exists", 409, "already exists"),
        ("403-missing-scopes", 403, "scopes are required"), ("207-partial-update", 207, "OBJECT|deleted"),
    ]:  # fmt: skip
        crm.script("write", status(code, fixture(name)))
        with pytest.raises(Rejected, match=said):
            writer.create({"last_name": "X"}, change_id="c")


# The double itself: what it refuses, as the tables of the documentation say.


def post(crm: Any, method: str, path: str, body: Any = None, token: str = WRITE_KEY) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, crm.url + path, json=body, headers=headers, timeout=5)
    return answer.status_code


O = "/crm/objects/2026-09"  # noqa: E741 - the table below reads best with a short name.
SEARCH = {"after": "0", "filterGroups": [], "limit": 1, "properties": [], "sorts": []}
LINK = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}
NOTE = {"properties": {"hs_timestamp": "2026-11-20T10:00:00Z"}}
TASK = {"properties": {**NOTE["properties"], "hs_task_subject": "Call"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [("PATCH", f"{O}/contacts/51", {"properties": {"city": "Olney"}}, 200),
     ("PATCH", f"{O}/contacts/51", {"city": "Olney"}, 400), ("PATCH", f"{O}/contacts/51", [], 400),
     ("PATCH", f"{O}/contacts/51", {"properties": {"zip": 12}}, 400),
     ("PUT", f"{O}/contacts/51", {"properties": {}}, 405),
     ("DELETE", f"{O}/contacts/51", None, 405),
     ("POST", f"{O}/contacts/merge", {}, 405), ("PATCH", "/crm/v3/objects/contacts/51", {}, 404),
     ("POST", f"{O}/contacts", {"properties": {"lastname": "X"}}, 400),
     ("POST", f"{O}/contacts", {"properties": {"lastname": "X"}, "associations": []}, 201),
     ("POST", f"{O}/contacts", {"properties": {"email": "dana.miller@example.com"}, "associations": []}, 409),
     ("POST", f"{O}/contacts/search", {**SEARCH, "filterGroups": [{"filters": [{"operator": "EQUALS"}]}]}, 400),
     ("POST", f"{O}/contacts/search", {**SEARCH, "sorts": ["-createdate"]}, 200),
     ("POST", f"{O}/contacts/search", {**SEARCH, "sorts": [{"propertyName": "createdate"}]}, 400),
     ("POST", f"{O}/contacts/search", {**SEARCH, "after": 0}, 400),
     ("GET", f"{O}/contacts/51?properties=city", None, 200), ("GET", f"{O}/contacts/51?properties=", None, 400),
     ("POST", f"{O}/contacts/search", {"filterGroups": []}, 400), ("POST", f"{O}/contacts/search", [], 400),
     ("POST", f"{O}/notes", {**NOTE, "associations": [{"to": {"id": "51"}, "types": [LINK]}]}, 201),
     ("POST", f"{O}/notes", {**NOTE, "associations": [{"to": {"id": "51"}, "types": [{**LINK, "associationTypeId": "202"}]}]}, 400),
     ("POST", f"{O}/notes", {**NOTE, "associations": [{"to": {"id": "51"}, "types": [{**LINK, "associationCategory": "HUBSPOT"}]}]}, 400),
     ("POST", f"{O}/notes", {"properties": {}, "associations": []}, 400), ("POST", f"{O}/notes", [], 400),
     ("POST", f"{O}/tasks", {**TASK, "associations": [{"to": {"id": "51"}, "types": [{**LINK, "associationTypeId": 204}]}]}, 201),
     ("POST", f"{O}/tasks", {**TASK, "associations": [{"to": {"id": "51"}, "types": [LINK]}]}, 400),
     ("POST", f"{O}/tasks", {"properties": {**TASK["properties"], "hs_timestamp": "2026-12-01"}, "associations": []}, 400),
     ("POST", f"{O}/tasks", {"properties": {**TASK["properties"], "hs_task_status": "OPEN"}, "associations": []}, 400),
     ("POST", f"{O}/tasks", {"properties": {"hs_task_subject": "Call"}, "associations": []}, 400),
     ("POST", f"{O}/contacts/batch/upsert", [], 400), ("POST", f"{O}/contacts/batch/upsert", {"inputs": [{"id": "1"}]}, 400),
     ("POST", f"{O}/contacts/batch/upsert", {"inputs": [{"id": "x", "idProperty": "city", "properties": {}}]}, 400),
     ("POST", f"{O}/contacts/batch/read", {"inputs": []}, 400),
     ("POST", "/oauth/2026-03/token", {"grant_type": "foo"}, 400)],
)  # fmt: skip
def test_the_double_answers_as_the_documentation_says(
    crm: HubSpot, method: str, path: str, body: Any, code: int
) -> None:
    assert post(crm, method, path, body) == code
    is_forbidden = method == "DELETE" or path.endswith("/merge")
    assert crm.forbidden == int(is_forbidden)


def told(crm: Any, path: str, form: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {READ_KEY}"}
    with requests.Session() as session:
        session.trust_env = False
        method = "GET" if form is None else "POST"
        return session.request(method, crm.url + path, data=form, headers=headers, timeout=5).json()


def test_the_double_tells_of_its_account_what_hubspot_always_tells(crm: HubSpot) -> None:
    crm.edit(DANA, "city", "Olney", by="Robin")
    kept = {"id", "archived", "createdAt", "updatedAt"}
    money = {"companyCurrency", "additionalCurrencies"}
    place = {"timeZone", "utcOffset", "utcOffsetMilliseconds", "uiDomain", "dataHostingLocation"}
    account = told(crm, "/account-info/2026-03/details")
    assert {"portalId", "accountType", *money, *place} <= set(account)
    [owner] = told(crm, "/crm/owners/2026-09")["results"]
    assert {"type", *kept} <= set(owner)
    [line] = told(crm, "/crm/pipelines/2026-09/deals")["results"]
    assert {"label", "displayOrder", *kept} <= set(line)
    assert all({"metadata", "writePermissions", *kept} <= set(one) for one in line["stages"])
    grant = {**CLIENT, "grant_type": "refresh_token", "refresh_token": REFRESH}
    token = told(crm, "/oauth/2026-03/token", grant)
    assert {"token_type", "token_use", "refresh_token", "expires_in"} <= set(token)
    info = told(crm, "/oauth/2026-03/token/introspect", {**CLIENT, "token": token["access_token"]})
    assert info["token_use"] == token["token_use"] == "access_token"
    assert {"app_id", "client_id", "hub_id", "user_id", "expires_in", "scopes"} <= set(info)


def test_the_double_wants_a_token_and_counts_calls(crm: HubSpot) -> None:
    assert post(crm, "GET", f"{O}/contacts/51", token="none") == 401
    crm.limit = 2
    assert [post(crm, "GET", f"{O}/contacts/51") for _ in range(3)] == [200, 200, 429]


def test_no_call_of_the_table_deletes_and_each_is_of_the_dated_version() -> None:
    assert len(ALLOWED) == 15
    assert {method for method, _ in ALLOWED} == {"PATCH", "POST"}
    assert all("{version}" in path for _, path in ALLOWED)


def test_the_admins_page_names_every_option(crm: HubSpot) -> None:
    root = Path(__file__).parents[2]
    sources = [*root.glob("shared/crm/hubspot*.py"), root / "services/writer/crm/hubspot.py",
               root / "shared/crm/accounts.py"]  # fmt: skip
    text = "".join(path.read_text() for path in sources)
    options = set(re.findall(r'options\.get\("(\w+)"|\.need\("(\w+)"|number\("(\w+)"', text))
    page = (root / "deploy/crm/hubspot.md").read_text()
    names = {name for found in options for name in found if name} | {"client_id", "client_secret"}
    assert {name for name in names if f"`{name}`" not in page} == set()
