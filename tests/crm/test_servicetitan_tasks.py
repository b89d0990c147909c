"""Tasks of ServiceTitan: what each one gets, how one is found again, and what the doctor says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.writer.crm import OutcomeUnknown
from services.writer.crm.servicetitan import ServiceTitanWriter
from services.writer.crm_reports import Level, Report
from services.writer.doctor import examine
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, Rejected
from shared.policy import load_policy
from tests.fakes.faulty_crm import Fault, status
from tests.fakes.servicetitan_stage import CRM, Tenant, ref, running, sent
from tests.fakes.servicetitan_tasks import ASSIGNEE, OPTIONS, REPORTER, SCOPE, SOURCE, TYPE, UNIT


@pytest.fixture
def tenant(patience: float) -> Iterator[Tenant]:
    with running(patience) as tenant:
        yield tenant


@pytest.fixture
def dana(tenant: Tenant) -> RecordRef:
    return ref("customers", tenant.crm.customer("Dana Miller"))


def task_of(writer: ServiceTitanWriter, record: RecordRef, due: str | None = None) -> Any:
    writer.add_task(record, "Call back.", due, change_id="change-1")
    return writer.task(record, change_id="change-1")


def test_a_task_says_what_the_account_says_and_what_was_approved(
    tenant: Tenant, dana: RecordRef
) -> None:
    job = ref("jobs", tenant.crm.job(int(dana.id)))
    for number, record in enumerate((dana, job)):
        said = task_of(tenant.writer(), record, "2026-12-01")
        assert said == {"subject": "Call back.", "due": "2026-12-01"}
        row = tenant.crm.tasks.rows[number]
        assert {name: row.get(name) for name in ("customerId", "jobId")} == {
            "customerId": int(dana.id) if record == dana else None,
            "jobId": int(job.id) if record == job else None,
        }
        assert (row["reportedById"], row["assignedToId"]) == (REPORTER, ASSIGNEE)
        assert (row["businessUnitId"], row["employeeTaskTypeId"]) == (UNIT, TYPE)
        assert (row["employeeTaskSourceId"], row["priority"]) == (SOURCE, "Normal")
        assert (row["isClosed"], row["description"]) == (False, "[Countersign change-1]")
        assert row["completeBy"] == "2026-12-01T12:00:00.000Z"
        age = datetime.now(UTC) - datetime.fromisoformat(row["reportedDate"])
        assert timedelta() <= age < timedelta(minutes=1)


@pytest.mark.parametrize("type_", ["leads", "bookings"])
def test_a_task_for_what_cannot_have_one_is_refused_and_not_sent(
    tenant: Tenant, type_: str
) -> None:
    with pytest.raises(Rejected, match=f"a customer or a job, not to {CRM}/{type_}/5"):
        task_of(tenant.writer(), ref(type_, 5))
    assert tenant.faulty.calls == []


def test_without_an_option_no_task_is_sent_and_the_option_is_named(
    tenant: Tenant, dana: RecordRef
) -> None:
    writer = tenant.writer(task_type="", task_source="")
    with pytest.raises(Rejected, match=r"\[servicetitan\]: task_type, task_source$"):
        task_of(writer, dana)
    assert tenant.writes() == []
    task_of(tenant.writer(), dana)
    assert writer.task(dana, change_id="change-1") is not None
    for option in OPTIONS:
        with pytest.raises(ConfigurationError, match=f"{option} is no whole number"):
            tenant.writer(**{option: "Dispatcher"})


def test_a_task_that_somebody_has_put_away_is_not_made_again(
    tenant: Tenant, dana: RecordRef
) -> None:
    tenant.crm.page_size = 2
    tenant.faulty.script("write", Fault(kind="cut", has_effect=True))
    with pytest.raises(OutcomeUnknown):
        task_of(tenant.writer(), dana)
    tenant.crm.tasks.rows[0] |= {"active": False, "isClosed": True, "status": "Completed"}
    for number in range(2, 6):
        tenant.writer().add_task(dana, "Another.", None, change_id=f"change-{number}")
    assert task_of(tenant.writer(), dana) == {"subject": "Call back.", "due": None}
    assert len(tenant.crm.tasks.rows) == 5


def test_only_the_records_own_tasks_of_late_are_looked_through(
    tenant: Tenant, dana: RecordRef
) -> None:
    writer, other = tenant.writer(), ref("customers", tenant.crm.customer("Kit Marten"))
    for number in range(6):
        writer.add_task(dana if number % 2 else other, "Call.", None, change_id=f"old-{number}")
    for row in tenant.crm.tasks.rows:
        if row["customerId"] == int(dana.id):
            row["createdOn"] = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    tenant.crm.page_size = 1
    before = len(tenant.faulty.calls)
    assert task_of(writer, dana) == {"subject": "Call back.", "due": None}
    assert [method for method, _ in tenant.faulty.calls[before:]] == ["GET", "POST", "GET"]


@pytest.mark.parametrize(
    ("told", "day"),
    [
        ("2026-12-01T12:00:00Z", "2026-12-01"),
        ("2026-12-01T07:00:00.0000000-05:00", "2026-12-01"),
        ("2026-12-01T05:00:00", "2026-12-01"),
        ("2026-12-01T23:30:00-05:00", "2026-12-02"),
        (None, None),
    ],
)
def test_the_day_of_a_task_is_read_in_any_spelling(
    tenant: Tenant, dana: RecordRef, told: str | None, day: str | None
) -> None:
    task_of(tenant.writer(), dana, "2026-12-01")
    tenant.crm.tasks.rows[0]["completeBy"] = told
    assert task_of(tenant.writer(), dana) == {"subject": "Call back.", "due": day}


@pytest.mark.parametrize("answer", [b"[]", b'{"employees": [{}]}', b"<html>"])
def test_lists_of_an_unknown_form_are_an_outage(tenant: Tenant, answer: bytes) -> None:
    tenant.faulty.script("read", status(200, answer))
    with pytest.raises(CRMUnavailable):
        tenant.writer().task_setup()


POLICY = (
    f'[fields.{CRM}.tasks.subject]\nmode = "review"\nstage = "live"\ntype = "text"\n'
    'max_length = 100\nreason = "For the tests."\n'
)


def examined(tenant: Tenant, policy: str = POLICY, **options: str) -> Report:
    writer: Any = tenant.writer(**options)
    reader: Any = tenant.reader()
    return examine(CRM, CRM, reader, writer, load_policy(policy), datetime.now(UTC))


def test_the_doctor_shows_what_each_task_gets(tenant: Tenant) -> None:
    report = examined(tenant)
    said = {one.text: one.level for one in report.findings}
    [setup] = [text for text in said if "task_type is Call back" in text]
    assert said[setup] is Level.OK
    assert "task_reported_by is Kit Marten, task_assigned_to is Robin Sparrow" in setup
    assert "task_business_unit is Plumbing" in setup
    assert "task_source is Message" in setup
    notes = " ".join(text for text, level in said.items() if level is Level.NOTE)
    assert "names no scope for tasks" in notes


@pytest.mark.parametrize("option", OPTIONS)
def test_the_doctor_names_the_option_that_is_wrong_and_what_it_may_be(
    tenant: Tenant, option: str
) -> None:
    for given, why in (("99", "is 99, which is none in use"), ("", "is missing")):
        problem = str(examined(tenant, **{option: given}).problem)
        assert f"no task can be made: {option} {why}: there are " in problem
        assert f"{OPTIONS[option]} (" in problem
        assert not any(other in problem for other in set(OPTIONS) - {option})


def test_whoever_has_left_gets_no_tasks(tenant: Tenant, dana: RecordRef) -> None:
    tenant.crm.tasks.employees[1]["active"] = False
    tenant.crm.tasks.employees += [{"id": n, "name": "E", "active": True} for n in range(100, 120)]
    problem = str(examined(tenant).problem)
    assert "task_assigned_to is 22, which is none in use: there are 21 (Kit Marten)" in problem
    assert problem.endswith("108 (E), 11 more")
    with pytest.raises(Rejected, match="assignedToId: is not valid"):
        task_of(tenant.writer(), dana)


def test_a_policy_without_tasks_needs_no_options_and_no_right_to_them(tenant: Tenant) -> None:
    without = dict.fromkeys(OPTIONS, "")
    names = POLICY.replace("tasks.subject", "customers.name")
    problem = str(examined(tenant, names, **without).problem)
    assert "no task" not in problem
    assert SCOPE in problem, "it is more than this policy needs"


def test_the_scope_of_tasks_is_not_told_and_others_are_not_let_through(tenant: Tenant) -> None:
    assert SCOPE not in str(examined(tenant).problem)
    tenant.crm.scopes["writer"] = f"{SCOPE} tn.accounting.invoices:w"
    problem = str(examined(tenant).problem)
    assert "(tn.accounting.invoices:w)" in problem
    tenant.crm.scopes["writer"] = "tn.crm.customers:w"
    assert "no task can be made: the CRM answered 403" in str(examined(tenant).problem)


TASK = {
    "reportedById": REPORTER,
    "assignedToId": ASSIGNEE,
    "isClosed": False,
    "name": "Call back",
    "businessUnitId": UNIT,
    "employeeTaskTypeId": TYPE,
    "employeeTaskSourceId": SOURCE,
    "reportedDate": "2026-11-28T10:00:00Z",
    "priority": "Low",
}


@pytest.mark.parametrize("left_out", TASK)
def test_the_double_takes_no_task_without_what_the_vendor_needs(
    tenant: Tenant, left_out: str
) -> None:
    fewer = {name: value for name, value in TASK.items() if name != left_out}
    answer = sent(tenant, "POST", "tasks", fewer, area="taskmanagement")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [left_out])
    assert tenant.crm.tasks.rows == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", "Highest"),
        ("isClosed", "no"),
        ("reportedById", 99),
        ("assignedToId", "22"),
        ("businessUnitId", 99),
        ("employeeTaskTypeId", 99),
        ("employeeTaskSourceId", 99),
        ("customerId", 99),
        ("jobId", 99),
        ("reportedDate", "2026-11-28"),
        ("completeBy", "soon"),
        ("leadId", 5),
    ],
)
def test_the_double_takes_no_task_with_what_the_vendor_does_not_know(
    tenant: Tenant, name: str, value: object
) -> None:
    assert sent(tenant, "POST", "tasks", TASK, area="taskmanagement").status_code == 200
    answer = sent(tenant, "POST", "tasks", {**TASK, name: value}, area="taskmanagement")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
    for method in ("PATCH", "DELETE", "PUT"):
        code = sent(tenant, method, "tasks", TASK, area="taskmanagement").status_code
        assert code == 405
    assert len(tenant.crm.tasks.rows) == 1
    tenant.crm.calls.clear()
