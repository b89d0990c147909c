"""Which field comes next: never a closed one, the least risky first, three at most, each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.writer import survey_views, surveys
from services.writer.crm.hubspot import WRITTEN
from services.writer.crm.jobber_operations import OPERATIONS
from services.writer.opening import (
    ENOUGH_DECIDED,
    MOST_SUGGESTED,
    Suggestion,
    suggestions,
    why_not,
)
from services.writer.policy_watch import follow
from services.writer.surveying import survey
from services.writer.surveys import Survey, SurveyedField, SurveyedObject
from services.writer.track_record import TrackRecord, track_records
from shared.crm import FieldMeta
from shared.crm.accounts import accounts_of
from shared.crm.pipedrive_values import OPEN
from shared.crm.rights import RIGHTS
from shared.crm.salesforce_connection import OPEN_TYPES
from shared.crm.servicetitan_fields import TAKEN
from shared.db import reading, writing
from shared.domain.decision import FieldVerdict
from shared.policy import check_classes, load_policy
from tests.writer.world import World, phone_change, policy_text, running_world

NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
PROVEN = TrackRecord(decided=ENOUGH_DECIDED, unedited=ENOUGH_DECIDED, failed=0)


def field(name: str, type_: str = "text", **more: Any) -> SurveyedField:
    values: dict[str, Any] = {
        "name": name,
        "label": name.title(),
        "type": type_,
        "max_length": None,
        "allowed_values": ("a", "b") if type_ == "enum" else None,
        "read_only": False,
        "field_class": None,
        "read": 100,
        "filled": 60,
        "distinct": 30,
        "differs": False,
    }
    return SurveyedField(**{**values, **more})


def surveyed(*fields: SurveyedField, object_: str = "contacts", **more: Any) -> Survey:
    one = SurveyedObject(name=object_, sampled=100, problem=None, fields=fields)
    values: dict[str, Any] = {
        "crm": "demo",
        "vendor": "demo",
        "at": NOW,
        "people": "contacts",
        "ruled": ("job_title", "phone", "email", "address"),
        "objects": (one,),
    }
    return Survey(**{**values, **more})


def steps(found: Survey, policy: str = "", **records: TrackRecord) -> tuple[Suggestion, ...]:
    by_field = {("contacts", name): record for name, record in records.items()}
    return suggestions(found, load_policy(policy), by_field, is_content=True, has_sandbox=True)


def names(found: tuple[Suggestion, ...]) -> list[str]:
    return [one.field for one in found]


MENU = surveyed(
    field("email", "email"),
    field("customer_number", differs=True),
    field("phone", "phone"),
    field("address"),
    field("job_title"),
    field("balance", "money", field_class="money"),
    field("owner", "enum", field_class="owner"),
    field("opted_out", "boolean", field_class="consent"),
    field("stage", "enum", field_class="stage"),
    field("passport", field_class="sensitive"),
    field("record_type", field_class="permission"),
    field("score", read_only=True),
    field("made_at", "datetime"),
    field("company_id", "reference"),
    field("channel", "enum"),
    field("colour", "enum", allowed_values=tuple(map(str, range(100)))),
    field("rare", filled=9),
    field("wants_letters", "boolean"),
    field("house_discount"),
    field("c1", label="Agreed price per hour"),
    field("Roof type of the house"),
)


def test_the_order_is_that_of_caution_and_three_come_at_a_time() -> None:
    found = steps(MENU)
    assert names(found) == ["job_title", "channel", "address"]
    assert len(found) == MOST_SUGGESTED
    assert {one.stage for one in found} == {"dry-run"}


def test_each_step_is_a_policy_that_is_valid_and_nothing_comes_twice() -> None:
    """Somebody takes every suggestion, until there are none."""
    policy, taken = "", []
    while found := steps(MENU, policy):
        assert len(found) <= MOST_SUGGESTED
        policy += found[0].toml
        taken.append(found[0].field)
        assert not set(taken) & set(names(steps(MENU, policy)))
    assert taken == ["job_title", "channel", "address", "phone", "email", "customer_number"]
    rules = load_policy(policy).fields
    assert len(rules) == len(taken)
    assert {str(rule.stage) for rule in rules.values()} == {"dry-run"}
    assert {str(rule.mode) for rule in rules.values()} == {"review"}


@pytest.mark.parametrize(
    "name",
    [
        *("discount", "unit_price", "Vertragswert_contract", "iban", "tax_number", "date_of_birth"),
        *("marketing_opt_in", "do_not_call", "gdpr_note", "assigned_to", "portal_password"),
    ],
)
def test_what_only_its_name_gives_away_is_left_to_a_person(name: str) -> None:
    assert steps(surveyed(field(name))) == ()
    assert why_not(field(name)) is None
    assert names(steps(surveyed(field(name), field("roof_colour")))) == ["roof_colour"]


def test_ordinary_words_are_not_taken_for_delicate_ones() -> None:
    ordinary = ("coffee_order", "payload_notes", "billingCountry")
    assert set(names(steps(surveyed(*map(field, ordinary))))) == set(ordinary)


def test_what_an_admin_has_closed_is_not_suggested_again() -> None:
    closed = (
        '[fields.demo.contacts.job_title]\nmode = "never"\ntype = "text"\nmax_length = 10\n'
        'reason = "We want it so."\n'
    )
    assert "job_title" not in names(steps(MENU, closed))


def test_a_reason_says_how_full_and_of_what_kind_the_field_is() -> None:
    first = steps(MENU)[0]
    assert "60 % of 100 contacts" in first.reason
    assert "plain text" in first.reason
    assert "the rules propose it" in first.reason
    assert "only a model" in steps(surveyed(field("colour", "enum")))[0].reason


def test_what_our_writer_cannot_change_there_is_not_suggested() -> None:
    tickets = surveyed(field("colour", "enum"), object_="tickets", vendor="hubspot")
    assert steps(tickets) == ()
    assert names(steps(surveyed(field("colour", "enum"), vendor="hubspot"))) == ["colour"]


def test_the_types_of_which_fields_are_suggested_are_those_that_each_writer_writes() -> None:
    assert RIGHTS["hubspot"].written == set(WRITTEN)
    assert RIGHTS["salesforce"].written == set(OPEN_TYPES)
    assert RIGHTS["pipedrive"].written == set(OPEN)
    assert RIGHTS["servicetitan"].written == set(TAKEN)
    changing = {name for name, one in OPERATIONS.items() if one.is_change}
    edits = {name.removesuffix("Edit") + "s" for name in changing if name.endswith("Edit")}
    assert RIGHTS["jobber"].written == edits


def test_a_field_of_ones_own_may_begin_with_a_digit_and_bear_quotes() -> None:
    own = field("3f1c" * 10, "enum", allowed_values=('say "x"', "Größe"))
    [step] = steps(surveyed(own))
    [rule] = load_policy(step.toml).fields.values()
    assert (rule.name, rule.allowed) == (own.name, own.allowed_values)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "class_",
    [None, "money", "owner", "consent", "permission", "stage", "sensitive", "read_only"],
)
def test_what_may_be_listed_is_what_the_policys_own_check_lets_through(
    class_: str | None, read_only: bool
) -> None:
    one = field("colour", read_only=read_only, field_class=class_)
    meta = FieldMeta(
        name="colour",
        label="Colour",
        type="text",
        max_length=None,
        allowed_values=None,
        read_only=read_only,
        field_class=class_,
    )
    [step] = steps(surveyed(field("colour")))
    forbidden = check_classes(load_policy(step.toml), {("demo", "contacts"): [meta]})
    assert (why_not(one) is None) is (forbidden == [])


# The next stage of a field that is listed.


def listed(stage: str) -> str:
    return (
        f'[fields.demo.contacts.job_title]\nmode = "review"\nstage = "{stage}"\ntype = "text"\n'
        'max_length = 80\nreason = "For the tests."\n'
    )


@pytest.mark.parametrize(
    ("record", "is_proven"),
    [
        (PROVEN, True),
        (TrackRecord(decided=ENOUGH_DECIDED - 1, unedited=ENOUGH_DECIDED - 1, failed=0), False),
        (TrackRecord(decided=ENOUGH_DECIDED, unedited=ENOUGH_DECIDED - 2, failed=0), True),
        (TrackRecord(decided=ENOUGH_DECIDED, unedited=ENOUGH_DECIDED - 3, failed=0), False),
        (TrackRecord(decided=100, unedited=100, failed=1), False),
        (TrackRecord(decided=0, unedited=0, failed=0), False),
    ],
)
@pytest.mark.parametrize(("stage", "then"), [("dry-run", "sandbox"), ("sandbox", "live")])
def test_the_next_stage_comes_after_the_numbers_alone(
    record: TrackRecord, is_proven: bool, stage: str, then: str
) -> None:
    found = steps(surveyed(field("job_title")), listed(stage), job_title=record)
    assert [(one.stage_now, one.stage) for one in found] == ([(stage, then)] if is_proven else [])


def test_live_is_suggested_only_where_the_doctor_is_content() -> None:
    records = {("contacts", "job_title"): PROVEN}
    one = surveyed(field("job_title"))
    for stage, expected in (("sandbox", 0), ("dry-run", 1)):
        policy = load_policy(listed(stage))
        found = suggestions(one, policy, records, is_content=False, has_sandbox=True)
        assert len(found) == expected


def test_without_a_test_account_it_says_what_to_set_instead_of_the_stage() -> None:
    records = {("contacts", "job_title"): PROVEN}
    [step] = suggestions(
        surveyed(field("job_title")),
        load_policy(listed("dry-run")),
        records,
        is_content=True,
        has_sandbox=False,
    )
    assert step.stage == step.stage_now == "dry-run"
    assert 'no account has sandbox_of = "demo"' in step.reason
    [account] = accounts_of(step.toml)
    assert (account.sandbox_of, account.vendor) == ("demo", "demo")


@pytest.mark.parametrize("has_sandbox", [True, False])
def test_what_nothing_can_stand_in_for_goes_live_where_the_doctor_is_content(
    has_sandbox: bool,
) -> None:
    policy = load_policy(listed("dry-run").replace("contacts", "deals"))
    found = suggestions(
        surveyed(field("job_title"), object_="deals"),
        policy,
        {("deals", "job_title"): PROVEN},
        is_content=True,
        has_sandbox=has_sandbox,
    )
    assert [(one.stage_now, one.stage) for one in found] == [("dry-run", "live")]


def test_proven_fields_come_before_new_ones_and_three_is_still_the_most() -> None:
    found = steps(MENU, listed("dry-run"), job_title=PROVEN)
    assert names(found) == ["job_title", "channel", "address"]
    assert found[0].stage == "sandbox"
    assert 'stage = "sandbox"' in found[0].toml


# The numbers themselves.


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    policy = policy_text(phone="").replace('stage = "live"', 'stage = "dry-run"')
    with running_world(tmp_path, policy=policy) as world:
        world.worker = replace(world.worker, vendors={"demo": "demo"})
        yield world


def decide(world: World, count: int, **choice: Any) -> None:
    for number in range(count):
        card = world.propose(phone_change(f"+120255502{number:02}")).id
        world.approve(card, **choice)
        world.pump()


def record_of(world: World, name: str = "phone") -> TrackRecord:
    with reading(world.worker.engine) as db:
        policy = load_policy(world.worker.policy_file)
        return track_records(db, policy, "demo")["contacts", name]


def test_decisions_at_the_present_stage_are_counted_and_those_of_another_are_not(
    world: World,
) -> None:
    assert record_of(world) == TrackRecord(decided=0, unedited=0, failed=0)
    decide(world, 3)
    decide(world, 1, phone={"verdict": FieldVerdict.EDITED, "value": "+12025550277"})
    assert record_of(world) == TrackRecord(decided=4, unedited=3, failed=0)
    assert record_of(world, "job_title").decided == 0
    text = world.worker.policy_file.read_text()
    world.worker.policy_file.write_text(text.replace("max_length = 100", "max_length = 90"))
    follow(world.worker)
    decide(world, 1)
    assert record_of(world).decided == 5, "another version with the same stage counts on"
    world.worker.policy_file.write_text(text.replace("dry-run", "sandbox"))
    follow(world.worker)
    assert record_of(world) == TrackRecord(decided=0, unedited=0, failed=0)


def test_a_refusal_for_another_reason_than_the_stage_is_a_failure(world: World) -> None:
    card = world.propose().id
    world.approve(card)
    text = world.worker.policy_file.read_text()
    world.worker.policy_file.write_text(text.replace("max_length = 100", "max_length = 3"))
    follow(world.worker)
    world.pump()
    assert record_of(world).failed == 1


def test_a_field_that_was_decided_often_enough_is_suggested_for_its_next_stage(
    world: World,
) -> None:
    reader = world.worker.readers["demo"]
    made = survey("demo", "demo", reader, world.clock(), types=reader.object_types, limit=50)
    with writing(world.worker.engine) as db:
        surveys.keep(db, made)

    def seen() -> list[tuple[str, str | None, str]]:
        with reading(world.worker.engine) as db:
            policy = load_policy(world.worker.policy_file)
            view = survey_views.view(db, "demo", policy, {"demo": "second"})
        assert view is not None
        assert [one.record.decided for one in view.tried if one.field == "phone"]
        return [(one.field, one.stage_now, one.stage) for one in view.suggestions]

    decide(world, ENOUGH_DECIDED - 1)
    assert all(now is None for _, now, _ in seen())
    decide(world, 1)
    assert seen()[0] == ("phone", "dry-run", "sandbox")
