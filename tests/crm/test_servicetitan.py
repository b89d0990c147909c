from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.registry import writer_of
from services.writer.crm.servicetitan import ALLOWED, ServiceTitanWriter
from shared.crm import Account, readers
from shared.crm.authorization import EARLY_SECONDS
from shared.crm.servicetitan import ServiceTitanReader
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import Fault, status
from tests.fakes.servicetitan import READ_SCOPES
from tests.fakes.servicetitan_stage import CRM, Tenant, ref, running, sent

EMAIL, PHONE = "dana.miller@example.com", "(512) 555-0101"


@pytest.fixture
def tenant(patience: float) -> Iterator[Tenant]:
    with running(patience) as tenant:
        yield tenant


@pytest.fixture
def dana(tenant: Tenant) -> RecordRef:
    tenant.crm.customer("Robin Sparrow", ("Email", "robin@example.com"), ("Phone", "5125550199"))
    id_ = tenant.crm.customer("Dana Miller", ("MobilePhone", "+1 512-555-0101"), ("Email", EMAIL))
    return RecordRef(crm=CRM, type="customers", id=str(id_))


@pytest.fixture
def stage(tenant: Tenant, dana: RecordRef) -> Stage:
    tenant.crm.job(int(dana.id))
    return Stage(
        reader=tenant.reader(),
        writer=tenant.writer(),
        fake=tenant,
        ref=dana,
        field="name",
        other="email",
        email=EMAIL,
        phone=PHONE,
        closed={
            "money": ("customers", "balance"),
            "owner": ("jobs", "businessUnitId"),
            "consent": ("customers", "doNotMail"),
            "stage": ("leads", "status"),
            "read_only": ("customers", "active"),
        },
        conditional=False,
        knows_history=False,
        lead={
            "first_name": "Wren",
            "last_name": "Field",
            "email": "wren@example.com",
            "phone": "+15125550123",
            "city": "Austin",
        },
    )


class TestServiceTitan(ConnectorCases):
    """The cases of every connector."""


BOOKING = {"source": "web", "name": "Wren", "summary": "x", "isFirstTimeClient": True}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "named"),
    [
        ("PATCH", "leads/{lead}", {"priority": "High"}, 200, ""),
        ("PATCH", "leads/{lead}", {"priority": "Highest"}, 400, "priority"),
        ("PATCH", "leads/{lead}", {"summary": "x"}, 400, "summary"),
        ("PATCH", "leads/{lead}", {"jobTypeId": "abc"}, 400, "jobTypeId"),
        ("POST", "booking-provider/77/bookings", BOOKING, 400, "externalId"),
        ("POST", "booking-provider/77/bookings", {**BOOKING, "externalId": "1"}, 200, ""),
        ("POST", "booking-provider/77/bookings", {**BOOKING, "externalId": 1}, 400, "externalId"),
        ("PATCH", "customers/{customer}", {"balance": 0}, 400, "balance"),
        ("PATCH", "customers/{customer}", {"address": {"zip": "1"}}, 400, "street"),
        ("POST", "customers/{customer}/notes", {"note": "x"}, 400, "text"),
        ("POST", "customers/{customer}/contacts", {"type": "Mail", "value": "x"}, 400, "type"),
        ("POST", "leads", {"summary": "x"}, 400, "campaignId"),
        ("POST", "leads", {"campaignId": 5, "summary": "x"}, 400, "followUpDate"),
        ("POST", "leads", {"campaignId": 5, "summary": "x", "callReasonId": 6}, 200, ""),
        ("PUT", "customers/{customer}", {}, 405, ""),
        ("DELETE", "customers/{customer}/notes", {}, 405, ""),
        ("PATCH", "employees/1", {}, 404, ""),
    ],
)
def test_the_double_refuses_what_the_vendor_refuses(
    tenant: Tenant, method: str, path: str, body: dict[str, Any], code: int, named: str
) -> None:
    customer = tenant.crm.customer("Dana Miller")
    url = path.format(customer=customer, lead=tenant.crm.lead(customer))
    answer = sent(tenant, method, url, body)
    assert answer.status_code == code
    if named:
        assert {"type", "title", "status", "traceId", "errors"} <= set(answer.json())
        assert named in answer.json()["errors"]
    tenant.crm.calls.clear()


def test_without_the_app_key_nobody_is_let_in(tenant: Tenant) -> None:
    assert sent(tenant, "GET", "leads/1", None, **{"ST-App-Key": ""}).status_code == 401
    with pytest.raises(Rejected, match="401"):
        tenant.reader(app_key="another").read(ref("customers", 1))


def test_the_reader_cannot_write(tenant: Tenant, dana: RecordRef) -> None:
    writer = ServiceTitanWriter.of(tenant.account("reader"))
    with pytest.raises(Rejected, match="403"):
        writer.update(dana, {"name": "Wren"}, change_id="c")
    assert tenant.reader().scopes() == tuple(READ_SCOPES.split())
    assert "tn.crm.customers:w" in tenant.writer().scopes()


def test_a_token_is_fetched_once_and_again_when_it_has_ended(
    tenant: Tenant, dana: RecordRef
) -> None:
    reader, writer = tenant.reader(), tenant.writer()
    for _ in range(3):
        reader.read(dana)
    assert tenant.crm.tokens_given == 1
    tenant.crm.expire_tokens()
    reader.read(dana)
    writer.update(dana, {"name": "Wren"}, change_id="c")
    tenant.crm.expire_tokens()
    writer.update(dana, {"name": "Wigeon"}, change_id="c")
    assert (tenant.crm.tokens_given, tenant.crm.changes) == (4, 2)


def test_a_token_that_lasts_no_longer_is_not_used(
    tenant: Tenant, dana: RecordRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1000.0
    reader = tenant.reader()
    monkeypatch.setattr(reader._tenant.authorization, "_clock", lambda: at)
    reader.read(dana)
    at += tenant.crm.token_seconds - EARLY_SECONDS - 1
    reader.read(dana)
    assert tenant.crm.tokens_given == 1
    at += 1
    reader.read(dana)
    assert tenant.crm.tokens_given == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"client_secret": "wrong"}, Rejected),
        ({"auth_url": "http://127.0.0.1:9"}, CRMUnavailable),
    ],
)
def test_no_token_is_no_effect(
    tenant: Tenant, dana: RecordRef, options: dict[str, str], error: type[Exception]
) -> None:
    writer = ServiceTitanWriter.of(tenant.account("writer", **options))
    with pytest.raises(error) as caught:
        writer.update(dana, {"name": "Wren"}, change_id="c")
    assert not isinstance(caught.value, OutcomeUnknown)
    assert "secret" not in str(caught.value)
    assert tenant.faulty.calls == []


def test_the_hosts_are_public_and_those_of_the_environment() -> None:
    options = {"tenant_id": "1", "client_id": "a", "client_secret": "b", "app_key": "c"}
    for name in ("url", "auth_url"):
        inside = {**options, name: "https://127.0.0.1"}
        with pytest.raises(ConfigurationError, match="private"):
            ServiceTitanReader.of(Account(name=CRM, vendor=CRM, options=inside), 1.0)
    with pytest.raises(ConfigurationError, match="environment"):
        ServiceTitanReader.of(
            Account(name=CRM, vendor=CRM, options={**options, "environment": "test"}), 1.0
        )
    for missing in options:
        fewer = {name: value for name, value in options.items() if name != missing}
        with pytest.raises(ConfigurationError, match=missing):
            readers([Account(name=CRM, vendor=CRM, options=fewer)], timeout=1.0)
    for wrong in ("tenant_id", "booking_provider"):
        inside = {**options, wrong: "12/../34"}
        with pytest.raises(ConfigurationError, match=f"{wrong} is no whole number"):
            ServiceTitanReader.of(Account(name=CRM, vendor=CRM, options=inside), 1.0)


def test_the_registries_know_the_vendor(tenant: Tenant) -> None:
    made = readers([tenant.account("reader")], timeout=1.0)
    assert isinstance(made[CRM], ServiceTitanReader)
    assert isinstance(writer_of(tenant.account("writer")), ServiceTitanWriter)


def test_a_reading_is_flat_and_in_the_crms_own_words(tenant: Tenant, dana: RecordRef) -> None:
    tenant.crm.edit(dana, "customFields", [{"typeId": 5, "name": "Gate", "value": "12#"}], by="")  # type: ignore[arg-type] - a list as the vendor gives it.
    reading = tenant.reader().read(dana)
    assert reading.title == "Dana Miller"
    assert reading.fields["address.city"] == "Austin"
    assert reading.fields["customFields.5"] == "12#"
    assert reading.fields["balance"] == "12.5"
    assert (reading.fields["email"], reading.fields["phone"]) == (EMAIL, "+1 512-555-0101")
    job = tenant.reader().read(ref("jobs", tenant.crm.job(int(dana.id))))
    assert job.fields["contact_id"] == dana.id
    assert job.fields["total"] == "99.9"
    lead = tenant.reader().read(ref("leads", tenant.crm.lead(int(dana.id))))
    assert (lead.title, lead.url) == ("Wants a new heater", "https://go.example.com/lead")


def test_every_field_of_a_reading_is_described(tenant: Tenant, dana: RecordRef) -> None:
    made = tenant.writer().create({"last_name": "Field"}, change_id="c")
    records = [dana, made, ref("jobs", tenant.crm.job(1)), ref("leads", tenant.crm.lead(1))]
    for record in records:
        described = tenant.reader().fields(record.type)
        assert set(tenant.reader().read(record).fields) <= set(described), record.type


@pytest.mark.parametrize(
    ("type_", "name", "class_"),
    [
        ("customers", "balance", "money"),
        ("jobs", "total", "money"),
        ("jobs", "membershipId", "money"),
        ("jobs", "invoiceId", "money"),
        ("jobs", "jobGeneratedLeadSource", "money"),
        ("jobs", "soldById", "money"),
        ("jobs", "businessUnitId", "owner"),
        ("leads", "businessUnitId", "owner"),
        ("leads", "createdById", "owner"),
        ("customers", "doNotMail", "consent"),
        ("customers", "doNotService", "consent"),
        ("leads", "status", "stage"),
        ("leads", "followUpDate", "stage"),
        ("jobs", "jobStatus", "stage"),
        ("bookings", "status", "stage"),
    ],
)
def test_closed_classes_are_known_and_never_sent(
    tenant: Tenant, dana: RecordRef, type_: str, name: str, class_: str
) -> None:
    assert tenant.reader().fields(type_)[name].field_class == class_
    with pytest.raises(Rejected, match="not written by this product"):
        tenant.writer().update(ref(type_, int(dana.id)), {name: 1}, change_id="c")
    assert tenant.writes() == []


@pytest.mark.parametrize("type_", ["customers", "leads", "bookings", "jobs"])
def test_what_is_read_only_is_never_sent(tenant: Tenant, type_: str) -> None:
    fields = tenant.reader().fields(type_)
    closed = [name for name, field in fields.items() if field.read_only]
    assert {"id", "createdOn", "modifiedOn"} <= set(closed)
    for name in [*closed, "unheard-of", "customFields.5"]:
        with pytest.raises(Rejected, match="not written by this product"):
            tenant.writer().update(ref(type_, 1), {name: "1"}, change_id="c")
    assert tenant.writes() == []


def test_every_open_field_is_taken_by_the_vendors_closed_body(
    tenant: Tenant, dana: RecordRef
) -> None:
    made = tenant.writer().create({"last_name": "Field"}, change_id="c")
    of = {"customers": dana, "bookings": made, "leads": ref("leads", tenant.crm.lead(1)),
          "jobs": ref("jobs", tenant.crm.job(1))}  # fmt: skip
    values: Mapping[str, Scalar] = {"enum": "", "text": "Wren", "email": "w@example.com",
                                    "phone": "5125550177", "reference": 6}  # fmt: skip
    count = 0
    for type_, record in of.items():
        for name, known in tenant.reader().fields(type_).items():
            if known.read_only or known.field_class:
                continue
            value = known.allowed_values[0] if known.allowed_values else values[known.type]
            tenant.writer().update(record, {name: value}, change_id="c")
            assert tenant.reader().read(record).fields[name] == value
            count += 1
    assert count >= 15


def test_contacts_are_written_one_at_a_time_and_the_oldest_first(
    tenant: Tenant, dana: RecordRef
) -> None:
    tenant.crm.add_contact("customers", int(dana.id), "Email", "second@example.com")
    writer = tenant.writer()
    writer.update(dana, {"email": "new@example.com"}, change_id="c")
    values = [row["value"] for row in tenant.crm.contacts.values() if row["of"][1] == int(dana.id)]
    assert values == ["+1 512-555-0101", "new@example.com", "second@example.com"]
    assert tenant.reader().read(dana).fields["email"] == "new@example.com"
    nobody = ref("customers", tenant.crm.customer("Kit Marten"))
    writer.update(nobody, {"phone": "512 555 0188"}, change_id="c")
    assert tenant.reader().read(nobody).fields["phone"] == "512 555 0188"
    assert [one.ref for one in tenant.reader().search(phone="+15125550188")] == [nobody]
    with pytest.raises(Rejected, match="emptied"):
        writer.update(dana, {"email": None}, change_id="c")
    with pytest.raises(Rejected, match="separate calls"):
        writer.update(dana, {"email": "x@example.com", "name": "Wren"}, change_id="c")
    assert tenant.crm.changes == 2


@pytest.mark.parametrize("field", ["name", "email"])
def test_a_conflict_is_a_stale_record(tenant: Tenant, dana: RecordRef, field: str) -> None:
    tenant.crm.conflicts = 1
    with pytest.raises(StaleRecord):
        tenant.writer().update(dana, {field: "wren@example.com"}, change_id="c")
    assert tenant.crm.changes == 0


def test_custom_fields_are_open_only_where_a_patch_keeps_the_others(
    tenant: Tenant, dana: RecordRef
) -> None:
    stamps = {"createdOn": "2026-11-01T10:00:00Z", "modifiedOn": "2026-11-01T10:00:00Z"}
    tenant.crm.custom["customers"] = [
        {"id": 5, "name": "Gate code", **stamps, "dataType": "Text", "dataTypeOptions": None},
        {
            "id": 6,
            "name": "Season",
            **stamps,
            "dataType": "Dropdown",
            "dataTypeOptions": ["Summer"],
        },
    ]
    kept = [{"typeId": 6, "name": "Season", "value": "Summer"}]
    tenant.crm.records["customers"][int(dana.id)]["customFields"] = kept
    assert tenant.reader().fields("customers")["customFields.5"].read_only
    with pytest.raises(Rejected):
        tenant.writer().update(dana, {"customFields.5": "12#"}, change_id="c")
    tenant.crm.merges_custom_fields = True
    reader = tenant.reader(custom_fields="merge")
    season = reader.fields("customers")["customFields.6"]
    assert (season.label, season.allowed_values, season.read_only) == ("Season", ("Summer",), False)
    tenant.writer(custom_fields="merge").update(dana, {"customFields.5": "12#"}, change_id="c")
    fields = reader.read(dana).fields
    assert (fields["customFields.5"], fields["customFields.6"]) == ("12#", "Summer")


def test_a_jobs_custom_fields_are_never_written_for_its_list_must_be_whole(tenant: Tenant) -> None:
    stamps = {"createdOn": "2026-11-01T10:00:00Z", "modifiedOn": "2026-11-01T10:00:00Z"}
    tenant.crm.custom["jobs"] = [{"id": 5, "name": "Gate code", "dataType": "Text", **stamps}]
    assert tenant.reader(custom_fields="merge").fields("jobs")["customFields.5"].read_only
    job = ref("jobs", tenant.crm.job(1))
    with pytest.raises(Rejected, match="not written by this product"):
        tenant.writer(custom_fields="merge").update(job, {"customFields.5": "12#"}, change_id="c")
    assert tenant.writes() == []


@pytest.mark.parametrize("shows_nulls", [False, True])
def test_what_an_answer_leaves_out_is_empty_as_what_is_null(
    tenant: Tenant, dana: RecordRef, *, shows_nulls: bool
) -> None:
    tenant.crm.shows_nulls = shows_nulls
    own = [{"typeId": 5, "name": None, "value": None}]
    tenant.crm.records["customers"][int(dana.id)]["customFields"] = own
    stamps = {"createdOn": "2026-11-01T10:00:00Z", "modifiedOn": "2026-11-01T10:00:00Z"}
    tenant.crm.custom["customers"] = [{"id": 5, "name": None, "dataType": None, **stamps}]
    booking = tenant.writer().create({"last_name": "Field"}, change_id="c")
    lead = ref("leads", tenant.crm.lead(summary=None))
    reader = tenant.reader()
    for record in (dana, booking, lead, ref("jobs", tenant.crm.job(1, summary=None))):
        fields = reader.read(record).fields
        assert set(fields) == set(reader.fields(record.type))
        [sampled] = [one for one in reader.sample(record.type) if one.ref == record]
        assert sampled.fields == fields
    assert reader.read(dana).fields["customFields.5"] is None
    assert reader.fields("customers")["customFields.5"].label == "5"
    assert reader.read(lead).title == f"Lead {lead.id}"


@pytest.mark.parametrize("answer", [b"{}", b'{"history": null}', b'{"history": []}'])
def test_a_job_without_history_has_none(tenant: Tenant, answer: bytes) -> None:
    job = ref("jobs", tenant.crm.job(1))
    tenant.faulty.script("read", Fault(), status(200, answer))
    assert tenant.reader().history(job) == ()


def test_metadata_is_kept_for_some_minutes(tenant: Tenant) -> None:
    reader = tenant.reader()
    for _ in range(3):
        reader.fields("jobs")
    assert len(tenant.faulty.calls) == 1


def test_markup_and_null_are_not_sent(tenant: Tenant) -> None:
    job = ref("jobs", tenant.crm.job(1))
    for value in ("<script>", None):
        with pytest.raises(Rejected):
            tenant.writer().update(job, {"priority": value}, change_id="c")
    with pytest.raises(Rejected):
        tenant.writer().update(job, {"summary": "<b>roof</b>"}, change_id="c")
    tenant.writer().update(job, {"summary": None}, change_id="c")
    assert tenant.reader().read(job).fields["summary"] == ""


def test_lists_are_read_over_all_their_pages(tenant: Tenant, dana: RecordRef) -> None:
    tenant.crm.page_size = 3
    for number in range(10):
        tenant.crm.note("customers", int(dana.id), f"note {number}")
    texts = [item.text for item in tenant.reader().history(dana) if item.kind == "note"]
    assert sorted(texts) == [f"employee 12: note {number}" for number in range(10)]


def test_history_tells_of_leads_jobs_and_their_events(tenant: Tenant, dana: RecordRef) -> None:
    lead, job = tenant.crm.lead(int(dana.id)), tenant.crm.job(int(dana.id))
    tenant.crm.lead(999)
    event = {
        "of": job,
        "id": 1,
        "employeeId": 9,
        "eventType": "Job Booked",
        "memo": "by phone",
        "usedSchedulingTool": "Manual",
    }
    tenant.crm.events.append({**event, "date": "2026-11-01T10:00:00.1234567Z"})
    items = tenant.reader().history(dana)
    assert [item.text for item in items if item.kind == "lead"] == [
        f"lead {lead}, Open, Normal: Wants a new heater"
    ]
    assert [item.kind for item in items].count("job") == 1
    assert [item.at for item in items] == sorted((item.at for item in items), reverse=True)
    [told] = tenant.reader().history(ref("jobs", job))
    assert (told.text, told.at.year) == ("employee 9: Job Booked (by phone)", 2026)


def test_a_merged_customer_is_gone_and_its_contact_too(tenant: Tenant, dana: RecordRef) -> None:
    reader = tenant.reader()
    assert reader.search(email=EMAIL)
    tenant.crm.edit(dana, "mergedToId", 1001, by="Robin")
    with pytest.raises(NotFound, match="merged into 1001"):
        reader.read(dana)
    assert reader.search(email=EMAIL) == []
    tenant.crm.edit(dana, "mergedToId", 0, by="Robin")
    assert [one.ref for one in reader.search(email=EMAIL)] == [dana]


def test_the_contact_feed_is_read_once_and_followed(tenant: Tenant, dana: RecordRef) -> None:
    reader = tenant.reader()
    assert reader.search(email=EMAIL)
    [mail] = [id_ for id_, row in tenant.crm.contacts.items() if row["value"] == EMAIL]
    tenant.crm.drop_contact(mail)
    assert reader.search(email=EMAIL) == []
    tenant.crm.add_contact("customers", int(dana.id), "Email", "Later@Example.com")
    assert [one.ref for one in reader.search(email="later@example.com")] == [dana]


def test_a_long_feed_is_an_outage_until_it_was_read(tenant: Tenant, dana: RecordRef) -> None:
    tenant.crm.page_size = 1
    for number in range(30):
        tenant.crm.customer(f"Customer {number}", ("Email", f"c{number}@example.com"))
    reader = tenant.reader(calls_per_second="1000")
    with pytest.raises(CRMUnavailable, match="still being read"):
        reader.search(email=EMAIL)
    assert [one.ref for one in reader.search(email=EMAIL)] == [dana]


@pytest.mark.parametrize(
    "spelling", ["512-555-0101", "+1 (512) 555 0101", "5125550101", "1.512.555.0101"]
)
def test_a_number_is_found_in_any_spelling(tenant: Tenant, dana: RecordRef, spelling: str) -> None:
    assert [one.ref for one in tenant.reader().search(phone=spelling)] == [dana]
    assert tenant.reader().search(phone="0101") == []


def test_bookings_and_jobs_are_found_by_their_numbers(tenant: Tenant, dana: RecordRef) -> None:
    made = tenant.writer().create({"last_name": "Field"}, change_id="change-1")
    job = tenant.crm.job(int(dana.id))
    reader = tenant.reader()
    assert [one.ref for one in reader.search(external_id="change-1")] == [made]
    assert [one.ref for one in reader.search(order_number=str(job))] == [ref("jobs", job)]
    assert [one.why for one in reader.candidates(str(job))] == ["found by order number"]


def test_the_very_same_name_is_a_likely_duplicate(tenant: Tenant, dana: RecordRef) -> None:
    found = tenant.reader().duplicates({"first_name": "dana", "last_name": "Miller"})
    assert [(one.record, one.why) for one in found] == [(dana, "same name")]
    assert tenant.reader().duplicates({"last_name": "Mill"}) == []


def test_what_came_through_our_provider_is_told(tenant: Tenant) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=1)
    made = tenant.writer().create({"last_name": "Field"}, change_id="change-1")
    [change] = tenant.reader(booking_provider="77").changes_by_us(begun)
    assert (change.ref, change.change_id, change.kind) == (made, "change-1", "created")
    assert tenant.reader(booking_provider="77").changes_by_us(datetime.now(UTC)) == []
    assert tenant.reader().changes_by_us(begun) == []


def test_a_booking_names_everything_that_has_no_field(tenant: Tenant) -> None:
    lead = {
        "company": "Field & <Sons>",
        "email": "w@example.com",
        "city": "Austin",
        "address": None,
    }
    made = tenant.writer(source="Web form").create(lead, change_id="change-1")
    row = tenant.crm.records["bookings"][int(made.id)]
    assert (row["name"], row["source"]) == ("Field & <Sons>", "Web form")
    assert row["summary"] == "New lead\nCompany: Field &amp; &lt;Sons&gt;\nCity: Austin"
    with pytest.raises(Rejected, match="name"):
        tenant.writer().create({"email": "w@example.com"}, change_id="change-2")


def test_without_a_provider_a_new_lead_is_found_by_its_text(tenant: Tenant) -> None:
    writer = tenant.writer(booking_provider="", campaign_id="5")
    assert writer.find("change-1") is None
    made = writer.create({"last_name": "Field", "email": "w@example.com"}, change_id="change-1")
    assert (made.type, writer.find("change-1")) == ("leads", made)
    assert writer.find("change-2") is None
    fields = tenant.reader().read(made).fields
    assert "Email: w@example.com" in str(fields["summary"])
    due = datetime.fromisoformat(str(fields["followUpDate"]))
    assert timedelta() < due - datetime.now(UTC) <= timedelta(hours=1)
    with pytest.raises(Rejected, match="booking_provider or campaign_id"):
        tenant.writer(booking_provider="").create({"last_name": "Field"}, change_id="c")


def test_a_note_is_not_added_twice(tenant: Tenant, dana: RecordRef) -> None:
    tenant.faulty.script("write", Fault(kind="cut", has_effect=True))
    with pytest.raises(OutcomeUnknown):
        tenant.writer().add_note(dana, "Called <b>twice</b>", change_id="change-1")
    tenant.writer().add_note(dana, "Called <b>twice</b>", change_id="change-1")
    [note] = tenant.crm.notes
    assert note["text"] == "Called &lt;b&gt;twice&lt;/b&gt;\n[Countersign change-1]"
    with pytest.raises(Rejected):
        tenant.writer().add_note(ref("bookings", 1), "x", change_id="c")


def test_leads_and_jobs_take_notes_too(tenant: Tenant) -> None:
    for record in (ref("leads", tenant.crm.lead()), ref("jobs", tenant.crm.job(1))):
        tenant.writer().add_note(record, "Call back", change_id="change-1")
        assert tenant.writer().note(record, change_id="change-1") == "Call back"
        [told] = tenant.reader().history(record)
        assert "Call back" in told.text


ACTS: dict[str, Callable[[ServiceTitanWriter, RecordRef], object]] = {
    "update": lambda w, r: w.update(r, {"name": "Wren"}, change_id="c"),
    "contact": lambda w, r: w.update(r, {"email": "w@example.com"}, change_id="c"),
    "note": lambda w, r: w.add_note(r, "text", change_id="c"),
    "task": lambda w, r: w.add_task(r, "Call.", None, change_id="c"),
    "create": lambda w, _: w.create({"last_name": "Field"}, change_id="c"),
}
PROBLEM = b'{"type":"t","title":"Bad","status":400,"traceId":"1","errors":{"name":["is too long"]}}'


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (status(400, PROBLEM), Rejected, "name: is too long"),
        (status(401), Rejected, "401"),
        (status(403), Rejected, "403"),
        (status(404), NotFound, "404"),
        (status(405), Rejected, "405"),
        (status(409), StaleRecord, "409"),
        (status(302, Location="https://example.com"), Rejected, "302"),
        (status(429, Retry_After="30"), CRMUnavailable, "wait 30 s"),
        (status(503), CRMUnavailable, "503"),
        (status(500), OutcomeUnknown, "500"),
        (status(504), OutcomeUnknown, "504"),
        (status(200, b"[]"), OutcomeUnknown, "."),
        (status(200, b"<html>"), OutcomeUnknown, "."),
        (
            status(200, b'{"id": 1, "text": "", "externalId": "x", "type": "Fax"}'),
            OutcomeUnknown,
            ".",
        ),
    ],
)
def test_each_answer_to_a_write_has_its_meaning(
    tenant: Tenant, dana: RecordRef, act: str, fault: Fault, error: type[Exception], said: str
) -> None:
    # A 401 is answered once more with a new token.
    tenant.faulty.script("write", fault, *([fault] if fault.status == 401 else []))
    with pytest.raises(error, match=said) as caught:
        ACTS[act](tenant.writer(), dana)
    assert type(caught.value) is error
    assert len(tenant.writes()) == (2 if fault.status == 401 else 1)
    assert tenant.crm.changes == 0


@pytest.mark.parametrize("has_effect", [False, True])
def test_a_cut_booking_is_found_by_its_change_and_made_once(
    tenant: Tenant, *, has_effect: bool
) -> None:
    writer = tenant.writer()
    tenant.faulty.script("write", Fault(kind="cut", has_effect=has_effect))
    with pytest.raises(OutcomeUnknown):
        writer.create({"last_name": "Field"}, change_id="change-1")
    if writer.find("change-1") is None:
        writer.create({"last_name": "Field"}, change_id="change-1")
    assert len(tenant.crm.records["bookings"]) == 1


def test_the_table_of_calls_is_short_and_known() -> None:
    assert len(ALLOWED) == 20
    assert {method for method, _ in ALLOWED} == {"GET", "PATCH", "POST"}
    assert not any(word in path for _, path in ALLOWED for word in ("dismiss", "cancel", "tags"))
