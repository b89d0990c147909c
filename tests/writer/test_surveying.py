"""What a survey counts, and that nothing of any record stays behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select

from services.demo_crm.store import PERSON, Author
from services.writer import survey_views, surveys
from services.writer.doctor import examine_all
from services.writer.service import SERVICE
from services.writer.survey_cli import survey as command
from services.writer.surveying import MOST_DISTINCT, survey
from services.writer.surveys import Survey, SurveyedField
from services.writer.tables import crm_reports, crm_surveys
from shared.crm.accounts import Account
from shared.crm.demo import DemoReader
from shared.crm.handoff import HandOffReader
from shared.crm.reader import MOST_SAMPLED
from shared.db import open_database, reading, writing
from shared.errors import CRMUnavailable, NotFound
from shared.policy import load_policy
from shared.service import Web
from shared.sessions import Sessions
from shared.web import build_app
from tests.databases import fresh_database
from tests.fakes.crm_fixtures import READ, WRITE
from tests.fakes.faulty_crm import status
from tests.writer.world import World, running_world

PLANTED = "Xylophone-Quarry-4711"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    people = (("ada", ("approver",)), ("eve", ("admin",)))
    with running_world(tmp_path, people=people) as world:
        world.worker = replace(world.worker, vendors={"demo": "demo"})
        yield world


def plant(world: World, name: str, values: list[Any]) -> int:
    """The contacts get these values one after the other, the rest none. How many there are."""
    store = world.crm.app.store
    records = store.all("contacts")
    for at, record in enumerate(records):
        value = values[at] if at < len(values) else None
        store.update("contacts", record.id, {name: value}, Author(name=PERSON))
    return len(records)


def sampled(world: World, limit: int = MOST_SAMPLED) -> Survey:
    reader = world.worker.readers["demo"]
    return survey("demo", "demo", reader, world.clock(), types=reader.object_types, limit=limit)


def kept(world: World, **more: Any) -> Survey:
    made = sampled(world, **more)
    with writing(world.worker.engine) as db:
        surveys.keep(db, made)
    return made


def field_of(found: Survey, name: str, object_: str = "contacts") -> SurveyedField:
    [one] = [one for one in found.objects if one.name == object_]
    return next(field for field in one.fields if field.name == name)


def test_fill_rates_and_different_values_are_those_of_the_records(world: World) -> None:
    count = plant(world, "job_title", ["Owner", "Owner", "Baker", "  ", None])
    found = field_of(sampled(world), "job_title")
    assert (found.read, found.filled, found.distinct) == (count, 3, 2)
    assert found.percent == round(300 / count)
    assert not found.differs
    plant(world, "job_title", ["Owner", "Baker"])
    assert field_of(sampled(world), "job_title").differs
    consent = field_of(sampled(world), "marketing_consent")
    known = [one.fields["marketing_consent"] for one in world.crm.app.store.all("contacts")]
    assert (consent.field_class, consent.filled) == (
        "consent",
        sum(value is not None for value in known),
    )


def test_no_more_records_are_counted_than_asked_for_and_few_calls_are_made(world: World) -> None:
    world.crm.faulty.calls.clear()
    found = sampled(world, limit=2)
    assert [one.sampled for one in found.objects] == [2, 2]
    assert {method for method, _ in world.crm.faulty.calls} == {"GET"}
    assert len(world.crm.faulty.calls) <= 2 * len(found.objects)


def test_what_changed_last_is_in_the_sample(world: World) -> None:
    world.edit_by_hand("city", PLANTED, contact="1003")
    [newest] = world.worker.readers["demo"].sample("contacts", 1)
    assert (newest.ref.id, newest.fields["city"]) == ("1003", PLANTED)


def test_an_object_that_may_not_be_seen_is_told_with_the_crms_reason(world: World) -> None:
    world.crm.faulty.script("GET", status(403, b'{"message": "scope deals.read is missing"}'))
    reader = world.worker.readers["demo"]
    found = survey("demo", "demo", reader, world.clock(), types=("deals", "contacts"), limit=5)
    first, second = found.objects
    assert (first.name, first.sampled, first.fields) == ("deals", 0, ())
    assert "scope deals.read is missing" in str(first.problem)
    assert second.problem is None
    assert second.sampled == 5


def test_a_crm_that_is_down_leaves_the_last_survey(world: World) -> None:
    before = kept(world)
    world.crm.faulty.script("GET", status(503), status(503))
    with pytest.raises(CRMUnavailable):
        kept(world)
    with reading(world.worker.engine) as db:
        assert surveys.last(db, "demo") == before


def test_a_list_that_is_not_there_is_no_list_of_the_demo_crm(world: World) -> None:
    reader = world.worker.readers["demo"]
    for object_type in ("drafts", "invoices", "contacts/../deals"):
        with pytest.raises(NotFound):
            reader.sample(object_type, 1)
    for limit in ("0", "501", "x"):
        answer = world.crm.call("GET", f"/api/contacts?limit={limit}", token=READ)
        assert answer.status_code == 400


def test_a_crm_without_an_api_says_that_it_has_no_list(world: World) -> None:
    account = Account(name="paper", vendor="handoff", options={"export": f"id,city\n1,{PLANTED}\n"})
    reader: Any = HandOffReader(account)
    found = survey("paper", "handoff", reader, world.clock(), types=reader.object_types, limit=5)
    [people] = found.objects
    assert "no list of records" in str(people.problem)
    assert people.sampled == 0
    assert field_of(found, "city", "people").percent is None
    with writing(world.worker.engine) as db:
        surveys.keep(db, found)
    with reading(world.worker.engine) as db:
        view = survey_views.view(db, "paper", load_policy(""), {})
    assert view is not None
    assert view.suggestions == ()


def test_no_value_of_any_record_is_kept(world: World) -> None:
    """Whatever stands in the CRM: the planted words, and every text that the samples hold."""
    names = ("first_name", "city", "company", "address", "notes_summary", "job_title")
    for name in names:
        world.edit_by_hand(name, f"{PLANTED}-{name}")
    kept(world)
    with reading(world.worker.engine) as db:
        [row] = db.execute(select(crm_surveys)).all()
    assert row.crm == "demo"
    assert PLANTED not in " ".join(map(str, row))
    metadata = _metadata_words(world)
    told = [value for value in _values(world) if value not in metadata and value in row.body]
    assert told == []


def _values(world: World) -> set[str]:
    records = [one for kind in ("contacts", "deals") for one in world.crm.app.store.all(kind)]
    values = {str(value) for one in records for value in one.fields.values()}
    return {value for value in values if len(value) > 4}


def _metadata_words(world: World) -> set[str]:
    """Labels and choices of open fields are the CRM's own words, not a customer's."""
    reader = world.worker.readers["demo"]
    fields = [one for kind in ("contacts", "deals") for one in reader.fields(kind).values()]
    told = {word for one in fields for word in (one.name, one.label)}
    opens = [one for one in fields if one.field_class is None]
    return told | {word for one in opens for word in one.allowed_values or ()}


def test_of_more_values_than_can_be_told_only_that_is_said(world: World) -> None:
    many = [f"Title {number}" for number in range(200)]
    count = plant(world, "job_title", many)
    found = field_of(sampled(world), "job_title")
    assert found.distinct == min(count, MOST_DISTINCT)


def test_the_survey_of_an_account_that_is_gone_goes_too(world: World) -> None:
    kept(world)
    examine_all(world.worker)
    with reading(world.worker.engine) as db:
        assert surveys.last(db, "demo") is not None
    world.worker = replace(world.worker, vendors={})
    examine_all(world.worker)
    with reading(world.worker.engine) as db:
        assert surveys.last(db, "demo") is None


# The page.


@pytest.fixture
def app(world: World) -> Iterator[FlaskClient]:
    web = SERVICE.web
    assert web is not None
    part = Web(settings=object, wire=lambda _: world.web, blueprints=web.blueprints)
    engine = open_database(f"sqlite:///{world.folder}/sessions.db")
    built = build_app(
        [("writer", part, world.web)],
        world.people,
        public_url="http://127.0.0.1:8080",
        sessions=Sessions(engine=engine, clock=world.clock),
    )
    yield built.test_client()
    engine.dispose()


def page(app: FlaskClient, world: World, who: str, path: str, code: int = 200) -> str:
    token = world.people.make_token(who, "test")
    answer = app.get(path, headers={"Authorization": f"Bearer {token}", "Accept": "text/html"})
    assert answer.status_code == code, answer.text
    return answer.text


def test_the_page_is_reached_by_admins_and_names_the_command_before_a_survey(
    world: World, app: FlaskClient
) -> None:
    examine_all(world.worker)
    assert "/crms/demo/survey" in page(app, world, "eve", "/crms")
    assert "/crms/demo/survey" not in page(app, world, "ada", "/crms")


def test_the_page_names_what_notes_and_tasks_are_appended_to(
    world: World, app: FlaskClient
) -> None:
    examine_all(world.worker)
    shown = page(app, world, "eve", "/crms")
    assert "takes notes on contacts, deals, each found again by its change" in shown
    assert "takes tasks on contacts, deals, each found again by its change" in shown


def test_a_report_from_before_an_upgrade_is_shown_until_the_next_one(
    world: World, app: FlaskClient
) -> None:
    examine_all(world.worker)
    with writing(world.worker.engine) as db:
        body = json.loads(db.scalars(select(crm_reports.c.body)).one())
        body["capabilities"] |= {"notes": True, "tasks": False}
        db.execute(crm_reports.update().values(body=json.dumps(body)))
    assert "takes no notes of ours" in page(app, world, "eve", "/crms")
    page(app, world, "ada", "/crms/demo/survey", 403)
    page(app, world, "eve", "/crms/elsewhere/survey", 404)
    assert "countersign survey demo" in page(app, world, "eve", "/crms/demo/survey")


def test_the_page_shows_counts_steps_and_no_value_of_any_record(
    world: World, app: FlaskClient
) -> None:
    examine_all(world.worker)
    world.edit_by_hand("city", PLANTED)
    kept(world)
    text = page(app, world, "eve", "/crms/demo/survey")
    assert "Job title" in text
    assert "review, live" in text
    assert "money: closed for good" in text
    assert "countersign policy check" in text
    assert "[fields.demo.contacts." in text
    assert PLANTED not in text
    assert not [value for value in _values(world) if "@" in value and value in text]


# The command.


class Home:
    """An installation as a command sees it: what the writer's worker is given."""

    def __init__(self, world: World, database: str) -> None:
        self._given = {
            "DATABASE_URL": database,
            "WAKE_DIR": str(world.folder),
            "BROKER_URL": f"durable+sqlite:///{world.folder}/broker.db",
            "KEYS_DIR": str(world.folder / "keys"),
            "PEOPLE_FILE": str(world.folder / "people.toml"),
            "POLICY_FILE": str(world.worker.policy_file),
            "PUBLIC_URL": "http://127.0.0.1:8080",
            "CRM_URL": world.crm.url,
            "CRM_READ_TOKEN": READ,
            "CRM_WRITE_TOKEN": WRITE,
        }

    def environment(self, service: str, part: str) -> dict[str, str]:
        assert (service, part) == ("writer", "worker")
        return self._given


def test_the_command_samples_keeps_and_says_what_to_open(world: World) -> None:
    home = Home(world, fresh_database(world.folder, "writer"))
    before = world.worker.policy_file.read_text()
    world.crm.faulty.calls.clear()
    done = CliRunner().invoke(command, ["demo", "--limit", "20"], obj=home)
    assert done.exit_code == 0, done.output
    assert "contacts:" in done.output
    assert "countersign policy check" in done.output
    assert {method for method, _ in world.crm.faulty.calls} == {"GET"}
    with reading(world.worker.engine) as db:
        assert surveys.last(db, "demo") is not None
    assert world.worker.policy_file.read_text() == before
    told = CliRunner().invoke(command, ["demo", "--json"], obj=home)
    report = json.loads(told.stdout)
    assert report["crm"] == "demo"
    assert 1 <= len(report["suggestions"]) <= 3
    assert not [value for value in _values(world) if "@" in value and value in told.output]
    lost = CliRunner().invoke(command, ["elsewhere"], obj=home)
    assert lost.exit_code == 1
    assert "there are demo" in lost.output


def test_the_demo_crms_reader_bounds_what_it_reads_of_a_history(world: World) -> None:
    endless = json.dumps({"changes": [], "next": 1}).encode()
    world.crm.faulty.script("GET", *[status(200, endless)] * 1000)
    reader = DemoReader(world.crm.url, READ, clock=world.clock)
    with pytest.raises(CRMUnavailable, match="ask for less"):
        reader.changes_by_us(world.clock())


def test_a_database_of_the_first_form_learns_of_surveys(tmp_path: Path) -> None:
    from shared.migrations import migrate

    engine = open_database(fresh_database(tmp_path, "writer"))
    migrate(engine, "writer")
    with writing(engine) as db:
        assert surveys.last(db, "demo") is None
    engine.dispose()
