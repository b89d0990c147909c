from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.ingest.sobject import PLURALS
from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.salesforce import CLOSED, SalesforceWriter
from shared.crm.reader import COMMON_FIELDS
from shared.crm.salesforce import SalesforceReader
from shared.crm.salesforce_connection import SOBJECTS
from shared.crm.salesforce_metadata import field_of
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import Fault, status
from tests.fakes.salesforce import READ_CLIENT, WRITE_CLIENT, Salesforce, running_salesforce
from tests.fakes.salesforce_http import Request
from tests.fakes.salesforce_schema import without_history

TOO_MANY = b'[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]'


@pytest.fixture
def fake(patience: float) -> Iterator[Salesforce]:
    with running_salesforce(patience) as fake:
        yield fake


@pytest.fixture
def dana(fake: Salesforce) -> RecordRef:
    return RecordRef(crm="salesforce", type="contacts", id=fake.contact)


@pytest.fixture
def reader(fake: Salesforce) -> SalesforceReader:
    return SalesforceReader.of(fake.account(READ_CLIENT), fake.patience)


@pytest.fixture
def writer(fake: Salesforce) -> SalesforceWriter:
    return SalesforceWriter.of(fake.account(WRITE_CLIENT))


@pytest.fixture
def stage(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> Stage:
    return Stage(
        reader=reader,
        writer=writer,
        fake=fake,
        ref=dana,
        field="MailingCity",
        other="Title",
        email="Dana.Miller@example.com",
        phone="+12025550101",
        closed={
            "money": ("opportunities", "Amount"),
            "owner": ("contacts", "OwnerId"),
            "consent": ("contacts", "HasOptedOutOfEmail"),
            "stage": ("opportunities", "StageName"),
            "sensitive": ("contacts", "Tax_Number__c"),
            "read_only": ("contacts", "Score__c"),
        },
        conditional=True,
        knows_history=True,
        lead={"first_name": "Nora", "last_name": "Fields", "email": "nora@example.com"},
        too_many=status(403, TOO_MANY),
        version=lambda: reader.read(dana).version,
    )


class TestSalesforce(ConnectorCases):
    """All of it holds."""


def ref(type_: str, id_: str) -> RecordRef:
    return RecordRef(crm="salesforce", type=type_, id=id_)


def lead_of(fake: Salesforce, made: RecordRef) -> dict[str, Any]:
    return fake.org.get("Lead", made.id)


def sent(fake: Salesforce, method: str) -> list[Request]:
    return [one for one in fake.api.requests if one.method == method and "oauth2" not in one.path]


# What is read.


def test_object_types_are_those_of_the_intake() -> None:
    assert {plural: name for name, plural in PLURALS.items()} == SOBJECTS


def test_a_reading_names_its_version_title_page_and_every_visible_field(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    fake.reader.hidden.add("Contact.Tax_Number__c")
    reading = reader.read(dana)
    row = fake.org.get("Contact", dana.id)
    assert (reading.title, reading.version) == ("Dana Miller", row["LastModifiedDate"])
    assert reading.url == f"{fake.url}/lightning/r/Contact/{dana.id}/view"
    assert set(reading.fields) == set(row) - {"Tax_Number__c"}


def test_an_id_of_15_characters_reads_the_same_record(
    reader: SalesforceReader, dana: RecordRef
) -> None:
    short = ref("contacts", dana.id[:15])
    assert reader.read(short).ref == short
    assert reader.read(short).fields["Id"] == dana.id


def test_numbers_that_others_would_round_become_text(
    fake: Salesforce, reader: SalesforceReader
) -> None:
    deal = reader.read(ref("opportunities", fake.deal))
    assert deal.fields["Amount"] == "12000.5"
    assert deal.fields["contact_id"] == fake.contact


def test_a_deleted_and_a_merged_record_are_gone(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    other = fake.org.put("Contact", LastName="Mueller")
    fake.org.merge("Contact", other, dana.id)
    with pytest.raises(NotFound, match="deleted"):
        reader.read(ref("contacts", other))
    assert reader.search(email="nobody@example.com") == []


@pytest.mark.parametrize(
    "spelling",
    ["(202) 555-0101", "202.555.0101", "+1 202-555-0101", "2025550101", "+12025550101", "001 202 5550101", "1-202-555-0101"],
)  # fmt: skip
@pytest.mark.parametrize("stored", ["(202) 555-0101", "+1.202.555.0101", "2025550101"])
def test_a_number_is_found_in_any_spelling_on_both_sides(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef, spelling: str, stored: str
) -> None:
    fake.org.get("Contact", dana.id).update(Phone=None, MobilePhone=stored)
    # The same digits in this order, and yet another number.
    fake.org.put("Contact", LastName="Other", Phone="+49 2025 550 10 17")
    assert [one.ref for one in reader.search(phone=spelling)] == [dana]


def test_without_a_region_a_number_is_compared_by_its_national_digits(
    fake: Salesforce, dana: RecordRef
) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT, region=""), 5)
    fake.org.put("Contact", LastName="Other", Phone="(202) 555-0101 77")
    assert [one.ref for one in reader.search(phone="+12025550101")] == [dana]
    assert [one.ref for one in reader.search(phone="202 555 0101")] == [dana]


def test_only_live_leads_are_found(fake: Salesforce, reader: SalesforceReader) -> None:
    [lead] = reader.search(email="SAM@example.net")
    assert lead.ref.type == "leads"
    assert lead.title == "Sam O'Neil"
    fake.org.get("Lead", lead.ref.id)["IsConverted"] = True
    assert reader.search(email="sam@example.net") == []


def test_external_and_order_numbers_are_looked_for_where_the_account_says(
    fake: Salesforce, dana: RecordRef
) -> None:
    plain = SalesforceReader.of(fake.account(READ_CLIENT), 5)
    assert plain.search(external_id="K-77", order_number="R-1001") == []
    more = {"external_id_field": "Customer_Number__c", "order_number_field": "Order_Number__c"}
    reader = SalesforceReader.of(fake.account(READ_CLIENT, **more), 5)
    assert [one.ref for one in reader.search(external_id="k-77")] == [dana]
    [deal] = reader.search(order_number="R-1001")
    assert (deal.ref.id, deal.fields["contact_id"]) == (fake.deal, dana.id)


def test_candidates_are_found_by_whatever_a_person_types(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    case = fake.org.put("Case", Subject="Leak", ContactId=dana.id)
    number = fake.org.get("Case", case)["CaseNumber"]
    found = {
        text: reader.candidates(text) for text in (f" {number} ", dana.id, "202 555 0101", "?", "")
    }
    whys = {text: [(one.record.type, one.why) for one in found[text]] for text in found}
    assert whys == {
        f" {number} ": [("cases", "found by case number")],
        dana.id: [("contacts", "found by id")],
        "202 555 0101": [("contacts", "found by phone")],
        "?": [],
        "": [],
    }


def test_duplicates_are_told_by_number_and_by_like_name_and_company(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    def whys(**fields: str) -> list[tuple[RecordRef, str]]:
        return [(one.record, one.why) for one in reader.duplicates(fields)]

    assert whys(phone="+1 202 555 0101") == [(dana, "same phone number")]
    like = {"first_name": "Danna", "last_name": "Miller", "company": "Miller Roofing Ltd"}
    assert whys(**like) == [(dana, "similar name and company: Miller Roofing")]
    assert whys(first_name="Danna", last_name="Miller", company="Elsewhere") == []
    [(lead, _)] = whys(last_name="O'Neil", first_name="Sam", company="50% Off_Shop")
    assert lead.type == "leads"


def test_history_tells_activities_notes_deals_and_changes_newest_first(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    fake.org.put("Task", WhoId=dana.id, Subject="Rang", TaskSubtype="Call", Status="Completed")
    fake.org.put("Task", WhoId=dana.id, Subject="Re: roof", TaskSubtype="Email", Status="Completed")
    fake.org.put("Event", WhoId=dana.id, Subject="On site")
    note = fake.org.put("ContentNote", Title="Keys", TextPreview="With the neighbour")
    fake.org.put("ContentDocumentLink", LinkedEntityId=dana.id, ContentDocumentId=note)
    fake.edit(dana, "MailingCity", "Laurel", by="Robin")
    fake.clock.advance()
    writer.add_note(dana, "Asked for March.", change_id="change-3")
    items = reader.history(dana)
    assert [item.at for item in items] == sorted((item.at for item in items), reverse=True)
    assert {item.kind for item in items} == {
        "note",
        "call",
        "mail",
        "meeting",
        "deal",
        "change",
        "created",
    }
    words = [item.text for item in items]
    assert words[0] == "Countersign: Countersign change change-3: Asked for March."
    assert words[1] == "Robin: MailingCity from Olney to Laurel"
    assert "Morgan: New roof (Prospecting, 2026-12-20)" in words
    assert "Morgan: Keys: With the neighbour" in words


def test_a_stage_change_is_told_as_one(fake: Salesforce, reader: SalesforceReader) -> None:
    deal = ref("opportunities", fake.deal)
    fake.edit(deal, "StageName", "Site Visit", by="Robin")
    assert [item.kind for item in reader.history(deal)] == ["stage", "created"]


def test_history_that_is_switched_off_or_hidden_is_empty(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    without_history(fake.org.schema, "Contact")
    fake.edit(dana, "MailingCity", "Laurel", by="Robin")
    assert reader.field_changes(dana) == []
    fake.reader.rights["Task"] = frozenset()
    assert [item.kind for item in reader.history(dana)] == ["deal"]


def test_changes_by_us_are_complete_over_many_pages_and_name_the_change(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    fake.api.page = 2
    since = fake.org.now()
    made = writer.create({"last_name": "Fields"}, change_id="change-1")
    writer.add_note(dana, "A note", change_id="change-2")
    for city in ("Laurel", "Bowie", "Olney"):
        fake.clock.advance()
        writer.update(dana, {"MailingCity": city}, change_id="change-3")
    fake.edit(dana, "Title", "Chief", by="Robin")
    told = [(one.ref, one.kind, one.field, one.change_id) for one in reader.changes_by_us(since)]
    assert sorted(told, key=str) == sorted(
        [
            (made, "created", None, "change-1"),
            (dana, "note", None, "change-2"),
            *[(dana, "field", "MailingCity", None)] * 3,
        ],
        key=str,
    )
    assert reader.changes_by_us(since + timedelta(days=1)) == []


def test_our_change_is_told_even_where_no_history_keeps_it(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    without_history(fake.org.schema, "Contact")
    writer.update(dana, {"MailingCity": "Laurel"}, change_id="change-1")
    [change] = reader.changes_by_us(fake.org.now())
    assert (change.ref, change.kind, change.field, change.by) == (
        dana,
        "field",
        None,
        "Countersign",
    )


def test_stages_come_in_the_crms_order(reader: SalesforceReader) -> None:
    assert list(reader.stages()["opportunities"]) == [
        "Prospecting",
        "Site Visit",
        "Closed Won",
        "Closed Lost",
    ]
    assert set(reader.stages()) == {"opportunities", "leads", "cases"}


def test_reading_sends_nothing_but_get(
    fake: Salesforce, reader: SalesforceReader, dana: RecordRef
) -> None:
    acts: list[Callable[[], object]] = [
        lambda: reader.read(dana), lambda: reader.history(dana), lambda: reader.field_changes(dana),
        lambda: reader.search(email="a@example.com"), lambda: reader.candidates("x"), reader.stages, reader.scopes,
        lambda: reader.fields("contacts"), lambda: reader.duplicates({"email": "a@example.com"}),
        lambda: reader.changes_by_us(fake.org.now()), lambda: reader.sample("contacts"),
        lambda: reader.doubt_fields("contacts"),
    ]  # fmt: skip
    for act in acts:
        act()
    assert fake.writes() == []
    public = {
        name for name, value in vars(SalesforceReader).items()
        if not name.startswith("_") and callable(value)
    }  # fmt: skip
    assert len(public) == len(acts)


# What the CRM says of fields.


def test_the_field_that_carries_our_changes_is_nobodys_to_open(fake: Salesforce) -> None:
    name = "Countersign_Change__c"
    for options, expected in (({}, False), ({"mark_field": name}, True)):
        reader = SalesforceReader.of(fake.account(READ_CLIENT, **options), fake.patience)
        assert reader.fields("leads")[name].read_only is expected


def test_descriptions_are_asked_for_again_only_when_old_and_then_by_condition(
    fake: Salesforce, monkeypatch: pytest.MonkeyPatch, reader: SalesforceReader
) -> None:
    minutes = [0.0]
    monkeypatch.setattr(reader._descriptions._kept, "_clock", lambda: minutes[0] * 60)

    def asked() -> list[str | None]:
        return [
            one.headers.get("if-modified-since")
            for one in fake.api.requests
            if "describe" in one.path
        ]

    reader.fields("contacts")
    reader.fields("contacts")
    assert asked() == [None]
    minutes[0] = 6
    assert not reader.fields("contacts")["Title"].read_only
    assert len(asked()) == 2
    assert asked()[1] is not None
    # The CRM itself says that something is different now.
    fake.clock.advance()
    fake.reader.rights["Contact"] = frozenset({"read", "update"})
    fake.reader.locked.add("Contact.Title")
    fake.org.change_metadata()
    minutes[0] = 12
    assert reader.fields("contacts")["Title"].read_only


def test_what_may_be_updated_is_told_as_the_user_sees_it(fake: Salesforce) -> None:
    writing = SalesforceReader.of(fake.account(WRITE_CLIENT), 5).fields("contacts")
    assert {name for name, one in writing.items() if one.read_only} >= {
        "Level__c",
        "OwnerId",
        "Id",
        "Name",
        "Score__c",
        "MailingAddress",
    }
    assert not writing["Title"].read_only


def test_a_user_who_may_only_read_still_tells_the_crms_own_fields(reader: SalesforceReader) -> None:
    fields = reader.fields("contacts")
    assert {name for name, one in fields.items() if one.read_only} == {
        "Id", "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp",
        "Name", "OwnerId", "MailingAddress", "Score__c", "MasterRecordId",
    }  # fmt: skip
    assert reader.fields("opportunities")["CloseDate"].read_only is False


PLAIN: dict[str, Any] = {
    "name": "X__c", "label": "X", "type": "string", "length": 80, "updateable": True, "calculated": False, "autoNumber": False,
    "encrypted": False, "referenceTo": [], "picklistValues": [], "permissionable": True, "nillable": True, "defaultedOnCreate": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "class_"),
    [
        ({}, None),
        ({"updateable": False}, "read_only"), ({"calculated": True}, "read_only"), ({"autoNumber": True}, "read_only"),
        ({"type": "id"}, "read_only"), ({"type": "address"}, "read_only"), ({"type": "location"}, "read_only"),
        ({"type": "currency"}, "money"), ({"type": "percent"}, "money"), ({"name": "CurrencyIsoCode", "type": "picklist"}, "money"),
        ({"name": "OwnerId", "type": "reference", "referenceTo": ["User", "Group"]}, "owner"),
        ({"type": "reference", "referenceTo": ["User"]}, "owner"), ({"type": "reference", "referenceTo": ["Group"]}, "owner"),
        ({"type": "reference", "referenceTo": ["Queue"]}, "owner"), ({"type": "reference", "referenceTo": ["Account"]}, None),
        ({"name": "RecordTypeId", "type": "reference", "referenceTo": ["RecordType"]}, "permission"),
        ({"name": "HasOptedOutOfEmail", "type": "boolean"}, "consent"), ({"name": "DoNotCall", "type": "boolean"}, "consent"),
        ({"name": "IndividualId", "type": "reference", "referenceTo": ["Individual"]}, "consent"),
        ({"name": "Email_Opt_In__c", "type": "boolean"}, "consent"), ({"name": "GDPR_Consent__c", "type": "boolean"}, "consent"),
        ({"name": "StageName", "type": "picklist"}, "stage"), ({"name": "Status", "type": "picklist"}, "stage"),
        ({"name": "IsConverted", "type": "boolean"}, "stage"),
        ({"encrypted": True}, "sensitive"), ({"type": "encryptedstring"}, "sensitive"),
    ],
)  # fmt: skip
def test_each_class_is_known_by_the_description(row: dict[str, Any], class_: str | None) -> None:
    field = field_of({**PLAIN, **row})
    assert field.field_class == class_
    assert field.read_only == (class_ == "read_only")


@pytest.mark.parametrize(
    ("kind", "type_"),
    [("string", "text"), ("textarea", "text"), ("email", "email"), ("phone", "phone"), ("date", "date"), ("datetime", "datetime"),
     ("picklist", "enum"), ("multipicklist", "text"), ("boolean", "boolean"), ("currency", "money"), ("reference", "reference"),
     ("double", "text"), ("url", "text")],
)  # fmt: skip
def test_each_type_has_a_neutral_name(kind: str, type_: str) -> None:
    choices = [
        {"value": "A", "label": "a", "active": True},
        {"value": "B", "label": "b", "active": False},
    ]
    field = field_of({**PLAIN, "type": kind, "picklistValues": choices})
    assert field.type == type_
    assert field.allowed_values == (("A",) if type_ == "enum" else None)


# What is written.


def test_a_record_that_moved_is_stale_and_stays_as_it_is(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    version = reader.read(dana).version
    fake.edit(dana, "Title", "Chief", by="Robin")
    with pytest.raises(StaleRecord):
        writer.update(dana, {"MailingCity": "Laurel"}, change_id="c", version=version)
    assert (fake.value(dana, "MailingCity"), fake.effects()) == ("Olney", 0)
    now = reader.read(dana).version
    writer.update(dana, {"MailingCity": "Laurel"}, change_id="c", version=now)
    assert fake.value(dana, "MailingCity") == "Laurel"


def test_two_edits_within_one_second_are_not_told_apart(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    """Known and documented: whoever compares the fields, as the caller does, still sees it."""
    fake.edit(dana, "Title", "Chief", by="Robin")
    reading = reader.read(dana)
    fake.clock.advance(-1)
    fake.edit(dana, "Title", "Head", by="Robin")
    writer.update(dana, {"MailingCity": "Laurel"}, change_id="c", version=reading.version)
    assert reader.read(dana).fields["Title"] != reading.fields["Title"]


def test_the_condition_is_the_readings_own_stamp(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> None:
    fake.org.get("Contact", dana.id)["LastModifiedDate"] = "2026-11-03T07:08:09.000+0000"
    version = reader.read(dana).version
    writer.update(dana, {"MailingCity": "Laurel"}, change_id="c", version=version)
    [request] = sent(fake, "PATCH")
    assert request.headers["if-unmodified-since"] == "Tue, 03 Nov 2026 07:08:09 GMT"
    with pytest.raises(Rejected, match="version"):
        writer.update(dana, {"MailingCity": "Laurel"}, change_id="c", version="7")


def test_an_update_hands_no_record_to_another_owner(
    fake: Salesforce, writer: SalesforceWriter
) -> None:
    fake.org.assignment["Lead"] = fake.org.user("Queue keeper")
    [lead] = fake.org.rows("Lead", everything=False)
    owner = lead["OwnerId"]
    writer.update(ref("leads", lead["Id"]), {"City": "Laurel"}, change_id="c")
    assert (lead["City"], lead["OwnerId"]) == ("Laurel", owner)


@pytest.mark.parametrize(
    "name", [*sorted(CLOSED), "ownerid", "AMOUNT", "Owner.Name", "Na me", "", "A__c'--"]
)
def test_a_closed_field_is_refused_before_the_crm_is_asked(
    fake: Salesforce, writer: SalesforceWriter, dana: RecordRef, name: str
) -> None:
    with pytest.raises(Rejected, match="never written"):
        writer.update(dana, {"Title": "Chief", name: "1"}, change_id="c")
    assert fake.writes() == []


def test_a_field_that_this_user_may_not_write_the_crm_refuses(
    fake: Salesforce, writer: SalesforceWriter, dana: RecordRef
) -> None:
    with pytest.raises(Rejected, match="security settings"):
        writer.update(dana, {"Level__c": "1"}, change_id="c")
    with pytest.raises(Rejected, match="No such column"):
        writer.update(dana, {"Titel": "1"}, change_id="c")
    assert fake.effects() == 0


@pytest.mark.parametrize("type_", ["tasks", "events"])
def test_activities_are_not_written(fake: Salesforce, writer: SalesforceWriter, type_: str) -> None:
    task = ref(type_, fake.org.put(SOBJECTS[type_], Subject="Call"))
    with pytest.raises(Rejected):
        writer.update(task, {"Subject": "x"}, change_id="c")
    with pytest.raises(Rejected):
        writer.add_note(task, "x", change_id="c")
    assert fake.writes() == []


def test_a_note_is_added_once_however_often_it_is_tried(
    fake: Salesforce, writer: SalesforceWriter, dana: RecordRef
) -> None:
    fake.script("write", Fault(kind="cut", has_effect=True))
    with pytest.raises(OutcomeUnknown):
        writer.add_note(dana, "Once <b>only</b>.", change_id="change-1")
    assert writer.find("change-1") == dana
    writer.add_note(dana, "Once <b>only</b>.", change_id="change-1")
    [task] = fake.org.rows("Task", everything=False)
    assert (task["WhoId"], task["Description"], task["Status"]) == (
        dana.id,
        "Once <b>only</b>.",
        "Completed",
    )
    writer.add_note(ref("opportunities", fake.deal), "On the deal", change_id="change-2")
    assert writer.find("change-2") == ref("opportunities", fake.deal)


def test_a_new_lead_keeps_every_word_and_the_mark(
    fake: Salesforce, writer: SalesforceWriter
) -> None:
    words = {
        "first_name": "Nora", "last_name": "Fields", "email": "nora@example.com", "phone": "+12025550199", "job_title": "Chief",
        "company": "Fields & Co", "address": "1 Main St", "city": "Olney", "postal_code": "20832", "preferred_channel": "phone",
    }  # fmt: skip
    assert set(words) == set(COMMON_FIELDS)
    lead = lead_of(fake, writer.create(words, change_id="change-1"))
    held = {str(value) for value in lead.values()}
    assert set(words.values()) - {"phone"} <= held
    assert lead["Description"] == "preferred_channel: phone\nCountersign change change-1"
    bare = lead_of(fake, writer.create({"last_name": "Moss"}, change_id="change-2"))
    assert bare["Company"] == "[not provided]"
    with pytest.raises(Rejected, match="owner"):
        writer.create({"last_name": "Moss", "owner": "me"}, change_id="change-3")


def test_a_contact_is_made_where_the_account_says_so(fake: Salesforce) -> None:
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT, create_as="contacts"))
    made = writer.create({"last_name": "Fields", "company": "Fields & Co"}, change_id="change-1")
    assert made.type == "contacts"
    assert "company: Fields & Co" in fake.org.get("Contact", made.id)["Description"]
    assert writer.find("change-1") == made
    with pytest.raises(ConfigurationError):
        SalesforceWriter.of(fake.account(WRITE_CLIENT, create_as="accounts"))


@pytest.mark.parametrize(
    "options", [{}, {"mark_field": "Countersign_Change__c"}], ids=["mark", "field"]
)
def test_a_create_that_was_cut_off_is_found_and_an_unmade_one_is_not(
    fake: Salesforce, options: dict[str, str]
) -> None:
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT, **options))
    words = {"last_name": "Fields", "email": "nora@example.com"}
    for number, has_effect in enumerate((False, True)):
        fake.script("write", Fault(kind="cut", has_effect=has_effect))
        with pytest.raises(OutcomeUnknown):
            writer.create(words, change_id=f"change-{number}")
        assert (writer.find(f"change-{number}") is not None) == has_effect
    assert fake.effects() == 1


@pytest.mark.parametrize(
    "options", [{}, {"mark_field": "Countersign_Change__c"}], ids=["mark", "field"]
)
def test_a_person_that_somebody_merged_or_deleted_was_still_made(
    fake: Salesforce, options: dict[str, str]
) -> None:
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT, **options))
    one = writer.create({"last_name": "Fields"}, change_id="change-1")
    other = writer.create({"last_name": "Moss"}, change_id="change-2")
    fake.org.merge("Lead", one.id, other.id)
    assert writer.find("change-1") == other
    fake.org.delete("Lead", other.id)
    assert writer.find("change-2") == other


def test_a_create_with_a_field_of_its_own_has_one_effect_even_if_sent_twice(
    fake: Salesforce,
) -> None:
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT, mark_field="Countersign_Change__c"))
    fake.script("write", Fault(kind="twice"))
    made = writer.create({"last_name": "Fields", "email": "nora@example.com"}, change_id="change-1")
    assert [
        row["Id"] for row in fake.org.rows("Lead", everything=False) if row["LastName"] == "Fields"
    ] == [made.id]
    assert (
        writer.create({"last_name": "Fields", "email": "nora@example.com"}, change_id="change-1")
        == made
    )
    [request, *_] = sent(fake, "PATCH")
    assert request.path.endswith("/sobjects/Lead/Countersign_Change__c/change-1")
    assert request.query == {"updateOnly": "false"}


def test_a_mark_that_several_records_carry_is_refused(fake: Salesforce) -> None:
    for name in ("Fields", "Moss"):
        fake.org.put("Lead", LastName=name, Company="x", Countersign_Change__c="change-1")
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT, mark_field="Countersign_Change__c"))
    with pytest.raises(Rejected, match="300"):
        writer.create({"last_name": "Fields"}, change_id="change-1")
    assert fake.effects() == 0


def test_a_likely_duplicate_is_not_made(fake: Salesforce, writer: SalesforceWriter) -> None:
    with pytest.raises(Rejected, match="DUPLICATES_DETECTED"):
        writer.create({"last_name": "Miller", "email": "dana.miller@example.com"}, change_id="c")
    assert fake.effects() == 0


def test_a_locked_row_may_be_tried_again(
    fake: Salesforce, writer: SalesforceWriter, dana: RecordRef
) -> None:
    fake.org.locked_rows.add(dana.id[:15])
    with pytest.raises(CRMUnavailable):
        writer.update(dana, {"Title": "Chief"}, change_id="c")
    fake.org.locked_rows.clear()
    writer.update(dana, {"Title": "Chief"}, change_id="c")
    assert fake.effects() == 1


def error(code: str) -> bytes:
    return json.dumps([{"message": "said so", "errorCode": code, "fields": []}]).encode()


ROW_FAILED = json.dumps(
    {
        "id": None,
        "success": False,
        "errors": [{"statusCode": "MALFORMED_ID", "message": "m", "fields": []}],
    }
).encode()
ROW_LOCKED = json.dumps(
    [
        {
            "success": False,
            "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "m", "fields": []}],
        }
    ]
).encode()
MEANINGS: list[tuple[int, bytes, type[Exception], type[Exception]]] = [
    (302, b"", Rejected, Rejected),
    (400, error("INVALID_FIELD"), Rejected, Rejected),
    (400, error("INVALID_FIELD_FOR_INSERT_UPDATE"), Rejected, Rejected),
    (400, error("MALFORMED_QUERY"), Rejected, Rejected),
    (400, error("DUPLICATES_DETECTED"), Rejected, Rejected),
    (400, error("DUPLICATE_VALUE"), Rejected, Rejected),
    (400, error("FIELD_CUSTOM_VALIDATION_EXCEPTION"), Rejected, Rejected),
    (400, error("ENTITY_IS_DELETED"), NotFound, NotFound),
    (400, error("UNABLE_TO_LOCK_ROW"), CRMUnavailable, CRMUnavailable),
    (400, error("QUERY_TIMEOUT"), CRMUnavailable, CRMUnavailable),
    (401, error("INVALID_SESSION_ID"), Rejected, Rejected),
    (403, error("REQUEST_LIMIT_EXCEEDED"), CRMUnavailable, CRMUnavailable),
    (403, error("INSUFFICIENT_ACCESS_OR_READONLY"), Rejected, Rejected),
    (403, error("API_DISABLED_FOR_ORG"), Rejected, Rejected),
    (404, error("NOT_FOUND"), NotFound, NotFound),
    (404, error("ENTITY_IS_DELETED"), NotFound, NotFound),
    (405, error("METHOD_NOT_ALLOWED"), Rejected, Rejected),
    (409, error("X"), Rejected, Rejected),
    (412, b"", Rejected, StaleRecord),
    (412, error("PRECONDITION_FAILED"), Rejected, StaleRecord),
    (415, error("UNSUPPORTED_MEDIA_TYPE"), Rejected, Rejected),
    (429, b"", CRMUnavailable, CRMUnavailable),
    (500, error("UNKNOWN_EXCEPTION"), CRMUnavailable, OutcomeUnknown),
    (502, b"<html>", CRMUnavailable, OutcomeUnknown),
    (503, error("SERVER_UNAVAILABLE"), CRMUnavailable, CRMUnavailable),
    (504, b"", CRMUnavailable, OutcomeUnknown),
    (200, ROW_FAILED, Rejected, Rejected),
    (200, ROW_LOCKED, CRMUnavailable, CRMUnavailable),
    (200, b"", CRMUnavailable, OutcomeUnknown),
    (200, b"{}", CRMUnavailable, OutcomeUnknown),
    (200, b"[]", CRMUnavailable, OutcomeUnknown),
]


@pytest.mark.parametrize(("code", "body", "to_read", "to_write"), MEANINGS)
def test_each_answer_has_its_meaning(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef,
    code: int, body: bytes, to_read: type[Exception], to_write: type[Exception],
) -> None:  # fmt: skip
    fault = status(code, body)
    acts: list[tuple[str, type[Exception], Callable[[], object]]] = [
        ("read", to_read, lambda: reader.read(dana)),
        ("write", to_write, lambda: writer.update(dana, {"Title": "Chief"}, change_id="c")),
        ("write", to_write, lambda: writer.create({"last_name": "Moss"}, change_id="c")),
    ]
    for kind, meaning, act in acts:
        fake.script(kind, fault, fault)
        with pytest.raises(meaning) as caught:
            act()
        assert type(caught.value) is meaning
        fake.door.faults.clear()
        writer._connection.pace._closed_until = 0.0
    assert fake.effects() == 0
