from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from services.writer import policy_store
from services.writer.crm_reports import Level, Report, problem_of, reports
from services.writer.deps import ByCrm
from services.writer.doctor import examine, examine_all, examine_due
from services.writer.policy_watch import follow
from shared.crm import READERS
from shared.crm.demo import DemoReader
from shared.crm.rights import RIGHTS
from shared.db import reading
from shared.policy import load_policy
from tests.fakes.crm_fixtures import WRITE
from tests.fakes.faulty_crm import status
from tests.writer.world import NEW_PHONE, World, policy_text, running_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path) as world:
        world.worker = replace(world.worker, vendors={"demo": "demo"})
        yield world


@dataclass(kw_only=True)
class Side:
    """A connector whose credential has these scopes; it asks the demo CRM for the rest."""

    of: DemoReader
    given: Sequence[str]
    problem: str | None = None
    people: str = "contacts"

    @property
    def capabilities(self) -> object:
        return self.of.capabilities

    def scopes(self) -> Sequence[str]:
        return self.given

    def task_setup(self) -> None:
        return None

    def fields(self, _: str) -> object:
        return self.of.fields("contacts")


def policy_of(vendor: str, object_: str) -> str:
    return (
        f'[fields.{vendor}.{object_}.email]\nmode = "review"\nstage = "live"\ntype = "email"\n'
        'max_length = 100\nexpiry_hours = 16\nreason = "For the tests."\nroles = ["approver"]\n'
        "per_hour = 5\nper_day = 10\n"
    )


def examined(
    world: World, vendor: str, object_: str, read: Sequence[str], write: Sequence[str]
) -> Report:
    demo = world.worker.readers["demo"]
    assert isinstance(demo, DemoReader)
    policy = load_policy(policy_of(vendor, object_))
    reader: Any = Side(of=demo, given=read)
    writer: Any = Side(of=demo, given=write)
    return examine(vendor, vendor, reader, writer, policy, world.clock())


def texts(report: Report, level: Level) -> str:
    return "\n".join(one.text for one in report.findings if one.level is level)


CASES = {
    "hubspot": ("contacts", "crm.objects.deals.write", "crm.objects.contacts.delete.write"),
    "salesforce": ("contacts", "accounts:update", "contacts:delete"),
    "pipedrive": ("persons", "deals:full", "admin"),
    "jobber": ("clients", "write_jobs", "write_quotes"),
    "servicetitan": ("customers", "tn.inventory.items:w", "tn.jpm.jobs:w"),
}


@pytest.mark.parametrize("vendor", CASES)
def test_a_minimal_credential_is_green_and_one_scope_too_many_red(
    world: World, vendor: str
) -> None:
    object_, *needless = CASES[vendor]
    rights = RIGHTS[vendor]
    read, write = sorted(rights.read(object_)), sorted(rights.read(object_) | rights.write(object_))
    assert examined(world, vendor, object_, read, write).problem is None
    for scope in needless:
        report = examined(world, vendor, object_, read, [*write, scope])
        assert scope in (report.problem or ""), report
        report = examined(world, vendor, object_, [*read, scope], write)
        assert scope in (report.problem or ""), report


@pytest.mark.parametrize("vendor", CASES)
def test_a_missing_scope_is_named(world: World, vendor: str) -> None:
    object_ = CASES[vendor][0]
    rights = RIGHTS[vendor]
    [read], [write] = rights.read(object_), rights.write(object_)
    other = "something.else"
    assert read in (examined(world, vendor, object_, [other], [read, write]).problem or "")
    assert write in (examined(world, vendor, object_, [read], [read]).problem or "")


@pytest.mark.parametrize(
    ("vendor", "scope"),
    [
        ("demo", "tasks:write"),
        ("hubspot", "crm.objects.contacts.read"),
        ("hubspot", "crm.objects.contacts.write"),
        ("salesforce", "tasks:create"),
        ("pipedrive", "activities:full"),
    ],
)
def test_what_a_task_needs_is_asked_of_the_writer_alone(
    world: World, vendor: str, scope: str
) -> None:
    demo: Any = world.worker.readers["demo"]
    policy = load_policy(
        f'[fields.{vendor}.tasks.subject]\nmode = "review"\nstage = "live"\ntype = "text"\n'
        'max_length = 100\nreason = "For the tests."\n'
    )
    reader: Any = Side(of=demo, given=["something:read"])
    full: Any = Side(of=demo, given=["something:read", *RIGHTS[vendor].appends["tasks"]])
    poor: Any = Side(of=demo, given=["something:read"])
    assert examine(vendor, vendor, reader, full, policy, world.clock()).problem is None
    said = examine(vendor, vendor, reader, poor, policy, world.clock()).problem
    assert f"the write credential lacks the scope {scope}" in (said or "")


def test_what_the_crm_says_of_its_api_is_told_and_stops_nothing(world: World) -> None:
    demo: Any = world.worker.readers["demo"]
    old = "Jobber answers in version 2024-01-01, not 2025-04-16."
    reader: Any = Side(of=demo, given=["contacts:read"], problem=old)
    writer: Any = Side(of=demo, given=["contacts:read", "contacts:write"], problem=old)
    policy = load_policy(policy_of("demo", "contacts"))
    report = examine("demo", "demo", reader, writer, policy, world.clock())
    assert report.problem is None
    assert texts(report, Level.NOTE).count(old) == 1


def test_every_connector_has_its_rights_described() -> None:
    assert set(RIGHTS) == set(READERS)


def test_scopes_that_nobody_tells_are_for_the_admin_to_compare(world: World) -> None:
    report = examined(world, "hubspot", "contacts", ["unknown"], ["unknown"])
    assert report.problem is None
    assert texts(report, Level.NOTE).count("by hand") == 2
    assert "Rotation" in texts(report, Level.TODO)


def test_a_token_with_all_rights_of_a_user_is_red_only_where_the_user_is_an_admin(
    world: World,
) -> None:
    report = examined(world, "pipedrive", "persons", ["*"], ["*"])
    assert report.problem is None
    report = examined(world, "pipedrive", "persons", ["*", "admin:sales"], ["*"])
    assert "admin:sales" in (report.problem or "")


def test_the_demo_crm_is_green_as_it_is_shipped(world: World) -> None:
    examine_all(world.worker)
    with reading(world.worker.engine) as db:
        assert problem_of(db, "demo") is None


def test_a_reader_that_can_write_keeps_every_approval_waiting_until_it_is_mended(
    world: World,
) -> None:
    reader = world.worker.readers
    strong = DemoReader(world.crm.url, WRITE, clock=world.clock)
    world.worker = replace(world.worker, readers={"demo": strong})
    examine_all(world.worker)
    card = world.propose().id
    world.approve(card)
    world.pump()
    row = world.change(card)
    assert row is not None
    assert row.state == "intended"
    assert "can write" in row.held
    assert world.in_crm() != NEW_PHONE
    world.worker = replace(world.worker, readers=reader)
    examine_all(world.worker)
    world.complete()
    assert world.in_crm() == NEW_PHONE


def test_a_crm_that_is_only_read_keeps_its_approvals_waiting(world: World) -> None:
    world.worker = replace(world.worker, writers=ByCrm(), vendors={"demo": "demo"})
    examine_all(world.worker)
    card = world.propose().id
    world.approve(card)
    world.pump()
    world.complete()
    row = world.change(card)
    assert row is not None
    assert row.state == "intended"
    assert "no account here writes" in row.held


def test_a_crm_that_was_not_there_at_the_start_is_examined_soon_and_then_seldom(
    world: World,
) -> None:
    def times() -> list[object]:
        examine_due(world.worker)
        with reading(world.worker.engine) as db:
            return [report.at for report in reports(db)]

    world.crm.faulty.script("GET", status(503))
    assert times() == []
    world.clock.forward(minutes=1)
    first = times()
    assert first == [world.clock()]
    world.clock.forward(minutes=9)
    assert times() == first
    world.clock.forward(minutes=1)
    assert times() == [world.clock()]


def test_an_account_that_is_gone_is_told_no_more(world: World) -> None:
    examine_all(world.worker)
    world.worker = replace(world.worker, vendors={})
    examine_all(world.worker)
    with reading(world.worker.engine) as db:
        assert reports(db) == ()


def test_an_approval_whose_account_was_taken_away_waits(world: World) -> None:
    card = world.propose().id
    world.approve(card)
    writers = world.worker.writers
    world.worker = replace(world.worker, writers=ByCrm(), readers=ByCrm())
    world.pump()
    world.complete()
    row = world.change(card)
    assert row is not None
    assert row.state == "intended"
    world.worker = replace(world.worker, writers=writers, readers=world.web.readers)
    world.complete()
    assert world.in_crm() == NEW_PHONE


def test_a_refused_credential_stops_writing_and_not_the_worker(world: World) -> None:
    refused = DemoReader(world.crm.url, "no-token", clock=world.clock)
    world.worker = replace(world.worker, readers=ByCrm({"demo": refused}))
    world.worker.policy_file.write_text(policy_text(phone="per_hour = 7"))
    follow(world.worker)
    with reading(world.worker.engine) as db:
        assert "could not be read" in str(policy_store.in_force(db).problem)
