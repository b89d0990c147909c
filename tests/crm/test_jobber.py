from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.writer.crm import OutcomeUnknown
from services.writer.crm.jobber_inputs import OPEN
from services.writer.crm.jobber_operations import OPERATIONS
from shared.crm.accounts import Account
from shared.crm.jobber import CHANGE_FIELD
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import Fault, status
from tests.fakes.jobber import gid
from tests.fakes.jobber_fixtures import Running, dana, running_jobber


def throttled(wait: float) -> Fault:
    """As Jobber says it: a 200 without data, and what it would cost."""
    cost = {
        "requestedQueryCost": 600,
        "throttleStatus": {"currentlyAvailable": 600 - 500 * wait, "restoreRate": 500},
    }
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
    return status(200, json.dumps({"errors": [error], "extensions": {"cost": cost}}).encode())


def errors(*codes: str, data: Any = ...) -> bytes:
    said = [{"message": "no", "extensions": {"code": code}} for code in codes]
    return json.dumps({"errors": said} | ({} if data is ... else {"data": data})).encode()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with running_jobber(tmp_path) as running:
        yield running


@pytest.fixture
def stage(running: Running, patience: float) -> Stage:
    # Many changes one after the other are nothing that its points would allow.
    running.jobber.restored = 1_000_000
    running.jobber.add(
        "requests",
        clientId=running.dana.id,
        title="Gutter leaks",
        requestStatus="new",
        source="Website",
    )
    return Stage(
        reader=running.reader(timeout=patience),
        writer=running.writer(timeout=patience),
        fake=running.fake,
        ref=running.dana,
        field="firstName",
        other="lastName",
        email="dana.miller@example.com",
        phone="+1 202 555 0101",
        closed={
            "read_only": ("clients", "isLead"),
            "money": ("clients", "balance"),
            "consent": ("clients", "receivesReminders"),
            "stage": ("requests", "requestStatus"),
            "owner": ("requests", "salespersonId"),
        },
        conditional=False,
        knows_history=False,
        unlisted=frozenset({"jobs", "quotes"}),
        sorts=False,
        lead={
            "first_name": "Sam",
            "last_name": "Okafor",
            "email": "sam.okafor@example.com",
            "phone": "+12025550177",
            "company": "Okafor Roofing",
            "address": "2 Hill Street",
            "city": "Olney",
            "postal_code": "20832",
        },
        too_many=throttled(3.0),
        wait=3.0,
    )


class TestJobber(ConnectorCases):
    """Every case as it stands."""


# Reading.


def test_a_client_is_read_with_what_people_see_first(running: Running) -> None:
    running.jobber.configuration("Roof type", "TEXT")
    numeric = running.jobber.configuration("Storeys", "NUMERIC")
    running.jobber.row(running.dana)["custom"][numeric] = 2.5
    reading = running.reader().read(running.dana)
    assert reading.title == "Dana Miller"
    assert reading.url == f"https://secure.getjobber.com/clients/{running.dana.id}"
    assert reading.fields["email"] == "dana.miller@example.com"
    assert reading.fields["phone"] == "(202) 555-0101"
    assert reading.fields["billingAddress.city"] == "Rockville"
    assert reading.fields["billingAddress.street2"] is None
    assert reading.fields["balance"] == "120.5"
    assert reading.fields["tags"] == "VIP"
    assert reading.fields["customFields.Storeys"] == "2.5"
    assert reading.version == running.jobber.row(running.dana)["updatedAt"]


def test_requests_jobs_and_quotes_name_their_client(running: Running) -> None:
    owned = {"clientId": running.dana.id}
    refs = [
        running.jobber.add(
            "requests", title="Gutter", requestStatus="new", source="Website", **owned
        ),
        running.jobber.add(
            "jobs", title=None, jobNumber=7, jobStatus="late", total=1200.0, **owned
        ),
        running.jobber.add(
            "quotes", title="Roof", message=None, amounts={"subtotal": 9.0, "total": 10.0}, **owned
        ),
    ]
    readings = [running.reader().read(ref) for ref in refs]
    assert {one.fields["contact_id"] for one in readings} == {running.dana.id}
    assert [one.title for one in readings] == ["Gutter", "Job 7", "Roof"]
    assert readings[1].fields["total"] == "1200"
    history = running.reader().history(refs[0])
    assert {item.kind for item in history} == {"created", "request", "job", "quote"}


def test_a_number_is_found_in_every_spelling_and_by_the_second_one_too(running: Running) -> None:
    reader = running.reader()
    for phone in ("2025550101", "(202) 555-0101", "+1-202-555-0101", "202 555 0199", "12025550199"):
        assert [one.ref for one in reader.search(phone=phone)] == [running.dana], phone
    for phone in ("2025550102", "0101", "555-0101", "word"):
        assert reader.search(phone=phone) == [], phone
    assert [one.ref for one in reader.search(email="DANA.HOME@example.com")] == [running.dana]
    assert reader.search(email="dana") == []


def test_duplicates_are_found_by_number_and_by_name_and_company(running: Running) -> None:
    reader = running.reader()
    [by_phone] = reader.duplicates({"phone": "+12025550101", "last_name": "Smith"})
    assert (by_phone.record, by_phone.why) == (running.dana, "same phone number")
    [by_name] = reader.duplicates(
        {"first_name": "Dana", "last_name": "Miller", "company": "Miller Bakery Ltd"}
    )
    assert "similar name and company" in by_name.why
    assert reader.duplicates({"first_name": "Dan", "last_name": "Mil", "company": "Other"}) == []


def test_custom_fields_are_known_by_their_configuration(running: Running) -> None:
    running.jobber.configuration("Roof type", "TEXT")
    running.jobber.configuration("Imported", "TEXT", readOnly=True)
    running.jobber.configuration("Paid", "TRUE_FALSE")
    running.jobber.configuration("Plan", "LINK")
    fields = running.reader().fields("clients")
    assert not fields["customFields.Roof type"].read_only
    assert fields["customFields.Paid"].type == "boolean"
    closed = {name for name, field in fields.items() if field.read_only}
    assert {
        "customFields.Imported",
        "customFields.Plan",
        f"customFields.{CHANGE_FIELD}",
    } <= closed
    with pytest.raises(NotFound):
        running.reader().fields("invoices")


def test_fields_are_asked_for_once_in_some_minutes(running: Running) -> None:
    reader = running.reader()
    assert reader.fields("clients") == reader.fields("clients")
    assert [name for _, name, _ in running.jobber.log].count("customFieldConfigurations") == 1


def test_what_we_made_and_noted_is_told_with_its_change(running: Running) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    reader, writer = running.reader(), running.writer()
    made = writer.create({"first_name": "Sam"}, change_id="change-1")
    writer.add_note(running.dana, "Called.", change_id="change-2")
    found = reader.changes_by_us(since)
    assert [(one.ref, one.kind, one.change_id) for one in found] == [
        (made, "created", "change-1"),
        (running.dana, "note", "change-2"),
    ]
    assert reader.changes_by_us(datetime.now(UTC) + timedelta(minutes=1)) == []


def test_each_side_has_the_scopes_of_its_own_app(running: Running) -> None:
    assert not any("write" in scope for scope in running.reader().scopes())
    assert "write_clients" in running.writer().scopes()


def test_every_list_says_how_many_and_no_question_changes_anything(running: Running) -> None:
    reader = running.reader()
    reader.read(running.dana)
    reader.history(running.dana)
    reader.duplicates({"email": "a@example.com", "phone": "+12025550100", "last_name": "X"})
    reader.fields("clients")
    reader.changes_by_us(datetime.now(UTC))
    assert {kind for kind, *_ in running.jobber.log} == {"query"}
    assert running.jobber.done == 0


# Versions and points.


def test_a_version_that_ends_is_a_problem_that_is_said(running: Running) -> None:
    reader = running.reader()
    reader.read(running.dana)
    assert reader.problem is None
    running.jobber.versioning = {"version": "2025-09-01", "warning": "removed soon"}
    with capture_logs() as logs:
        for _ in range(2):
            reader.read(running.dana)
    assert reader.problem == "Jobber answers in version 2025-09-01, not 2025-04-16. removed soon"
    assert sum("API version needs care" in line["event"] for line in logs) == 1
    running.jobber.versioning = {"version": "2025-04-16"}
    reader.read(running.dana)
    assert reader.problem is None


def test_the_wait_is_what_is_missing_over_what_comes_back(running: Running) -> None:
    reader = running.reader()
    reader.read(running.dana)
    running.faulty.script("read", throttled(30.0))
    with pytest.raises(CRMUnavailable, match=r"wait 30\.0 s"):
        reader.read(running.dana)
    calls = len(running.faulty.calls)
    with pytest.raises(CRMUnavailable, match="rate limit"):
        reader.read(running.dana)
    assert len(running.faulty.calls) == calls


def test_few_points_left_mean_few_calls_before_jobber_says_no(running: Running) -> None:
    reader = running.reader(timeout=2, calls="100", share="1")
    running.jobber.points, running.jobber.restored = 200.0, 1.0
    answered = 0
    with pytest.raises(CRMUnavailable, match="rate limit"):
        while True:
            reader.read(running.dana)
            answered += 1
    assert 1 <= answered <= 4, "sixty points each, and ten calls would have been allowed"


# Errors in a 200.


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(200, errors("THROTTLED")), CRMUnavailable),
        (status(200, errors("FORBIDDEN")), Rejected),
        (status(200, errors("undefinedField")), Rejected),
        (status(200, errors("INTERNAL_SERVER_ERROR")), CRMUnavailable),
        (status(200, errors("FORBIDDEN", data={"client": None})), Rejected),
        (status(400, b'{"message": "X-JOBBER-GRAPHQL-VERSION"}'), Rejected),
        (status(403, b'{"message": "no"}'), Rejected),
        (status(404, b"{}"), NotFound),
        (status(429, b"{}", Retry_After="1"), CRMUnavailable),
        (status(500, b"<html>"), CRMUnavailable),
        (status(302, b""), Rejected),
    ],
    ids=str,
)
def test_what_an_answer_to_a_question_means(
    running: Running, answer: Fault, error: type[Exception]
) -> None:
    running.faulty.script("read", answer)
    with pytest.raises(error) as raised:
        running.reader().read(running.dana)
    assert type(raised.value) is error


REFUSED = {"clientEdit": {"client": None, "userErrors": [{"message": "no", "path": ["x"]}]}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(200, json.dumps({"data": REFUSED}).encode()), Rejected),
        (status(200, errors("undefinedField")), Rejected),
        (status(200, errors("THROTTLED")), CRMUnavailable),
        (status(200, errors("INTERNAL_SERVER_ERROR", data=None)), OutcomeUnknown),
        (status(200, errors("X", data={"clientEdit": None})), OutcomeUnknown),
        (status(200, b'{"data": {"clientEdit": {"client": {"id": "other"}}}}'), OutcomeUnknown),
        (status(200, b'{"data": {"clientEdit": null}}'), OutcomeUnknown),
        (status(200, b'{"data": {}}'), OutcomeUnknown),
        (status(200, b"<html>"), OutcomeUnknown),
        (status(400, b'{"errors": [{"message": "bad variable"}]}'), Rejected),
        (status(403, b"{}"), Rejected),
        (status(404, b"{}"), NotFound),
        (status(429, b"{}"), CRMUnavailable),
        (status(503, b"{}"), CRMUnavailable),
        (status(500, errors("X")), OutcomeUnknown),
    ],
    ids=str,
)
def test_what_an_answer_to_a_write_means(
    running: Running, answer: Fault, error: type[Exception]
) -> None:
    running.faulty.script("write", answer)
    with pytest.raises(error) as raised:
        running.writer().update(running.dana, {"firstName": "Wren"}, change_id="c")
    assert type(raised.value) is error


# Writing.


def test_only_the_first_address_and_number_are_changed_and_nothing_goes(running: Running) -> None:
    before = json.loads(json.dumps(running.jobber.row(running.dana)))
    running.writer().update(
        running.dana, {"email": "new@example.com", "phone": "+12025550111"}, change_id="c"
    )
    row = running.jobber.row(running.dana)
    assert [one["address"] for one in row["emails"]] == ["dana.home@example.com", "new@example.com"]
    assert [one["number"] for one in row["phones"]] == ["+12025550111", "202.555.0199"]
    for list_ in ("emails", "phones"):
        ids = [[one["id"] for one in there[list_]] for there in (before, row)]
        assert ids[0] == ids[1]
    assert row["phones"][0]["smsAllowed"] is True
    assert running.jobber.done == 1
    assert running.jobber.deletes == 0
    fields = running.reader().read(running.dana).fields
    assert (fields["email"], fields["phone"]) == ("new@example.com", "+12025550111")


def test_a_first_address_is_added_where_there_is_none(running: Running) -> None:
    bare = dana(running.jobber, emails=[], phones=[])
    running.writer().update(bare, {"email": "new@example.com"}, change_id="c")
    assert running.reader().read(bare).fields["email"] == "new@example.com"


@pytest.mark.parametrize("name", ["email", "phone"])
def test_an_address_or_number_is_never_emptied(running: Running, name: str) -> None:
    with pytest.raises(Rejected, match="delete"):
        running.writer().update(running.dana, {name: None}, change_id="c")
    assert running.fake.writes() == []


def test_one_part_of_an_address_leaves_the_others(running: Running) -> None:
    running.writer().update(running.dana, {"billingAddress.city": "Olney"}, change_id="c")
    fields = running.reader().read(running.dana).fields
    assert fields["billingAddress.city"] == "Olney"
    assert fields["billingAddress.street1"] == "1 Mill Road"
    assert fields["billingAddress.postalCode"] == "20850"
    assert fields["billingAddress.street2"] is None


def test_texts_are_emptied_and_read_back_as_nothing(running: Running) -> None:
    running.writer().update(running.dana, {"companyName": None, "title": "DR"}, change_id="c")
    fields = running.reader().read(running.dana).fields
    assert (fields["companyName"], fields["title"]) == (None, "DR")


@pytest.mark.parametrize(
    ("value_type", "value", "read"),
    [
        ("TEXT", "Slate", "Slate"),
        ("NUMERIC", "4.50", "4.5"),
        ("NUMERIC", 3, "3"),
        ("TRUE_FALSE", True, True),
        ("DROPDOWN", "Flat", "Flat"),
    ],
)
def test_a_custom_field_takes_a_value_of_its_type(
    running: Running, value_type: str, value: Any, read: Any
) -> None:
    running.jobber.configuration("Roof", value_type)
    for _ in range(2):  # First without a value there, then with one.
        running.writer().update(running.dana, {"customFields.Roof": value}, change_id="c")
        assert running.reader().read(running.dana).fields["customFields.Roof"] == read


@pytest.mark.parametrize(
    ("value_type", "more", "value"),
    [
        ("TEXT", {"readOnly": True}, "x"),
        ("LINK", {}, "x"),
        ("NUMERIC", {}, "many"),
        ("TRUE_FALSE", {}, "yes"),
    ],
)
def test_a_custom_field_that_is_closed_or_of_another_type_is_refused(
    running: Running, value_type: str, more: dict[str, Any], value: str
) -> None:
    running.jobber.configuration("Roof", value_type, **more)
    with pytest.raises(Rejected):
        running.writer().update(running.dana, {"customFields.Roof": value}, change_id="c")
    for name in ("customFields.Unknown", f"customFields.{CHANGE_FIELD}"):
        with pytest.raises(Rejected, match="never written"):
            running.writer().update(running.dana, {name: "x"}, change_id="c")
    assert running.fake.writes() == []


@pytest.mark.parametrize(
    "name", ["balance", "receivesReminders", "isArchived", "tags", "emailsToDelete", "id", "x"]
)
def test_a_closed_field_is_refused_before_anything_is_sent(running: Running, name: str) -> None:
    calls = len(running.faulty.calls)
    with pytest.raises(Rejected, match="never written"):
        running.writer().update(running.dana, {name: "x", "firstName": "Y"}, change_id="c")
    assert len(running.faulty.calls) == calls


def test_of_a_request_the_title_alone_is_written(running: Running) -> None:
    ref = running.jobber.add(
        "requests", clientId=running.dana.id, title="Old", requestStatus="new", source="Web"
    )
    running.writer().update(ref, {"title": "New"}, change_id="c")
    assert running.reader().read(ref).fields["title"] == "New"
    for name in ("requestStatus", "salespersonId", "propertyId", "email"):
        with pytest.raises(Rejected, match="never written"):
            running.writer().update(ref, {name: "x"}, change_id="c")
    job = RecordRef(crm="jobber", type="jobs", id=gid("Job", 1))
    with pytest.raises(NotFound):
        running.writer().update(job, {"title": "x"}, change_id="c")


@pytest.mark.parametrize("object_type", ["clients", "requests", "jobs"])
def test_a_note_is_made_once_for_each_change(running: Running, object_type: str) -> None:
    more = {"clientId": running.dana.id, "title": "T"}
    kinds: dict[str, dict[str, Any]] = {
        "requests": {"requestStatus": "new", "source": "Web"},
        "jobs": {"jobStatus": "late", "jobNumber": 1, "total": 1.0},
    }
    ref = (
        running.dana
        if object_type == "clients"
        else running.jobber.add(object_type, **more, **kinds[object_type])
    )
    writer = running.writer()
    running.faulty.script("write", Fault(kind="cut", has_effect=True))
    with pytest.raises(OutcomeUnknown):
        writer.add_note(ref, "Called [countersign change-9].", change_id="change-1")
    for _ in range(2):
        writer.add_note(ref, "Called.", change_id="change-1")
    writer.add_note(ref, "Called again.", change_id="change-2")
    messages = [note["message"] for note in running.jobber.notes[ref.id]]
    assert len(messages) == 2
    assert messages[1].endswith("[countersign change-1]")
    assert "change-9" not in messages[1], "no text of others can pass for our mark"


def test_a_note_to_nobody_is_refused(running: Running) -> None:
    with pytest.raises(NotFound):
        running.writer().add_note(
            RecordRef(crm="jobber", type="clients", id=gid("Client", 99)), "x", change_id="c"
        )
    assert running.fake.writes() == []


@pytest.mark.parametrize("has_effect", [True, False])
def test_a_create_whose_answer_was_lost_makes_no_second_client(
    running: Running, *, has_effect: bool
) -> None:
    writer = running.writer()
    running.faulty.script("write", Fault(kind="cut", has_effect=has_effect))
    with pytest.raises(OutcomeUnknown):
        writer.create({"first_name": "Sam"}, change_id="change-1")
    assert (writer.find("change-1") is not None) is has_effect
    made = writer.create({"first_name": "Sam"}, change_id="change-1")
    assert writer.find("change-1") == made
    assert len(running.jobber.records["clients"]) == 2


def test_a_lead_brings_its_request_and_a_half_made_one_is_completed(running: Running) -> None:
    writer = running.writer(lead_request="yes")
    running.faulty.script("write", Fault(), Fault(kind="cut"))
    with pytest.raises(OutcomeUnknown):
        writer.create({"first_name": "Sam"}, change_id="change-1")
    assert len(running.jobber.records["clients"]) == 2
    assert writer.find("change-1") is None, "a lead without its request is not yet made"
    made = writer.create({"first_name": "Sam"}, change_id="change-1")
    assert writer.create({"first_name": "Sam"}, change_id="change-1") == made
    assert len(running.jobber.records["clients"]) == 2
    [request] = running.jobber.records["requests"].values()
    assert request["clientId"] == made.id
    assert request["form"]["form"]["sections"][0]["items"][0]["answerText"] == "change-1"


def test_without_a_place_for_the_change_id_nobody_is_made(running: Running) -> None:
    running.jobber.configurations.clear()
    with pytest.raises(Rejected, match="Custom Fields"):
        running.writer().create({"first_name": "Sam"}, change_id="change-1")
    with pytest.raises(Rejected, match="job_title"):
        running.jobber.configuration(CHANGE_FIELD, "TEXT")
        running.writer().create({"first_name": "Sam", "job_title": "CEO"}, change_id="change-1")
    assert running.fake.writes() == []


# The wall.


def test_a_document_or_key_that_is_not_listed_is_never_sent(running: Running) -> None:
    sender = running.writer()._sender
    calls = len(running.faulty.calls)
    edit = OPERATIONS["clientEdit"].document
    for name, body in (
        ("clientArchive", {"query": "mutation { clientArchive }", "variables": {}}),
        ("clientEdit", {"query": "mutation { clientArchive }", "variables": {}}),
        ("clientEdit", {"query": edit + " ", "variables": {}}),
        ("clientEdit", {"query": edit, "variables": {"input": {"emailsToDelete": ["1"]}}}),
        ("clientEdit", {"query": edit, "variables": {"input": {"receivesReminders": False}}}),
        (
            "requestEdit",
            {
                "query": OPERATIONS["requestEdit"].document,
                "variables": {"input": {"salespersonId": "1"}},
            },
        ),
    ):
        with pytest.raises(Rejected):
            sender.write("POST", f"/api/graphql#{name}", body)
        with pytest.raises(Rejected):
            sender.read("POST", f"/api/graphql#{name}", body=body)
    with pytest.raises(Rejected):
        sender.write("POST", "/api/graphql", {"query": edit, "variables": {}})
    assert len(running.faulty.calls) == calls


def test_a_read_grant_cannot_write(running: Running) -> None:
    from services.writer.crm.jobber import JobberWriter

    writer = JobberWriter(running.account("read"), timeout=5)
    with pytest.raises(Rejected, match="may not write"):
        writer.update(running.dana, {"firstName": "Wren"}, change_id="c")
    assert running.jobber.done == 0


def test_open_fields_are_those_that_the_metadata_calls_open(running: Running) -> None:
    for object_type, is_open in OPEN.items():
        for name, field in running.reader().fields(object_type).items():
            if not name.startswith("customFields."):
                closed = field.read_only or field.field_class is not None
                assert is_open(name) is not closed, name


# The grant under it.


def test_an_access_token_that_ends_is_renewed_and_the_call_goes_through(running: Running) -> None:
    writer = running.writer()
    writer.update(running.dana, {"firstName": "A"}, change_id="c")
    running.jobber.write_app.access.clear()
    writer.update(running.dana, {"firstName": "B"}, change_id="c")
    assert running.fake.value(running.dana, "firstName") == "B"
    assert running.jobber.done == 2
    assert max(running.jobber.write_app.used.values()) == 1


def test_an_ended_grant_refuses_both_sides_with_what_to_do(running: Running) -> None:
    for app in (running.jobber.read_app, running.jobber.write_app):
        app.start()
    with pytest.raises(Rejected, match="countersign crm authorize jobber"):
        running.reader().read(running.dana)
    with pytest.raises(Rejected, match="countersign crm authorize jobber"):
        running.writer().update(running.dana, {"firstName": "Wren"}, change_id="c")


def test_a_token_that_cannot_be_had_means_that_no_write_was_sent(running: Running) -> None:
    running.faulty.script("token", Fault(kind="cut", has_effect=True))
    with pytest.raises(CRMUnavailable) as raised:
        running.writer().update(running.dana, {"firstName": "Wren"}, change_id="c")
    assert not isinstance(raised.value, OutcomeUnknown)
    assert running.fake.writes() == []


def test_an_account_says_what_it_lacks(running: Running) -> None:
    whole = running.account("read")
    for option in ("client_id", "client_secret", "redirect_url"):
        less = {key: value for key, value in whole.options.items() if key != option}
        with pytest.raises(ConfigurationError, match=option):
            running.reader().of(
                Account(name="jobber", vendor="jobber", options=less, grants=whole.grants), 1.0
            )
    with pytest.raises(ConfigurationError, match="grants"):
        running.reader().of(Account(name="jobber", vendor="jobber", options=whole.options), 1.0)
    with pytest.raises(ConfigurationError, match="address"):
        running.reader(private_address="no")


def test_a_process_keeps_to_its_share_of_the_calls(running: Running) -> None:
    reader = running.reader(calls="1000", share="0.05")
    begun, answered = time.monotonic(), 0
    with pytest.raises(CRMUnavailable, match="rate limit"):
        while True:
            reader.read(running.dana)
            answered += 1
    # A tenth of fifty calls at once, and 0.15 a second beyond.
    assert 5 <= answered <= 6 + 0.15 * (time.monotonic() - begun)


def test_a_task_is_found_among_many_and_only_with_its_own_client(running: Running) -> None:
    writer = running.writer()
    other = running.jobber.client(firstName="Wren")
    writer.add_task(running.dana, "Call.", "2026-12-01", change_id="c-1")
    for number in range(60):
        said = "see [countersign c-1] above" if number == 7 else None
        client = running.dana.id if number % 2 else None
        running.jobber.add(
            "tasks", title=f"T {number}", instructions=said, clientId=client, startAt=None
        )
    assert writer.task(running.dana, change_id="c-1") == {"subject": "Call.", "due": "2026-12-01"}
    assert writer.task(other, change_id="c-1") is None
    writer.add_task(running.dana, "Call.", "2026-12-01", change_id="c-1")
    assert running.jobber.done == 1
    with pytest.raises(Rejected, match="not found"):
        gone = RecordRef(crm="jobber", type="clients", id=gid("Client", 999))
        writer.add_task(gone, "Call.", None, change_id="c-2")
    request = RecordRef(crm="jobber", type="requests", id=gid("Request", 1))
    with pytest.raises(NotFound):
        writer.add_task(request, "Call.", None, change_id="c-3")
