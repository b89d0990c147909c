"""Versions by hash; a wrong file keeps the old version and stops writing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from services.writer import policy_store, queries
from services.writer.policy_cli import policy
from services.writer.policy_watch import follow, require_policy
from services.writer.tables import policy_versions
from shared.db import reading
from shared.domain.topics import Topic
from shared.errors import ConfigurationError
from shared.policy import load_policy
from tests.fakes.crm_fixtures import READ, WRITE
from tests.fakes.faulty_crm import status
from tests.writer.world import NEW_PHONE, OLD_PHONE, World, policy_text, running_world


def write(world: World, text: str) -> None:
    world.clock.forward(seconds=2)
    (world.folder / "policy.toml").write_text(text)
    follow(world.worker)


def test_a_version_is_published_once_and_stays_loadable_by_its_hash(world: World) -> None:
    first = queries.policy(world.web).hash
    world.outgoing()
    assert world.topics() == ["policy.changed"]
    follow(world.worker)
    write(world, policy_text(phone="per_hour = 3"))
    world.outgoing()
    changed = world.last(Topic.POLICY_CHANGED)
    assert changed["previous"] == first
    assert changed["policy"] == queries.policy(world.web).hash
    with reading(world.worker.engine) as db:
        texts = db.scalars(select(policy_versions.c.text).where(policy_versions.c.hash == first))
        assert [load_policy(text).version for text in texts] == [first]
    write(world, policy_text())
    write(world, policy_text(phone="per_hour = 3"))
    world.outgoing()
    assert world.topics().count("policy.changed") == 4


def test_a_wrong_file_keeps_the_old_version_and_stops_writing(world: World) -> None:
    in_force = queries.policy(world.web).hash
    card = world.propose()
    world.approve(card.id)
    write(world, "nonsense = [")
    stop = queries.stop_state(world.web)
    assert stop.problem
    assert queries.policy(world.web).hash == in_force
    world.pump()
    world.complete()
    assert world.in_crm() == OLD_PHONE

    write(world, policy_text())
    assert queries.stop_state(world.web).problem is None
    world.complete()
    assert world.in_crm() == NEW_PHONE


def test_a_field_closed_after_the_approval_is_not_written(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    write(world, policy_text().replace('mode = "review"', 'mode = "never"', 1))
    world.pump()
    assert world.in_crm() == OLD_PHONE
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "field-is-listed"


@pytest.mark.parametrize(
    "field", ["credit_limit", "owner", "marketing_consent", "external_id", "lifecycle"]
)
def test_money_owner_consent_and_read_only_fields_refuse_the_start_by_name(
    tmp_path: Path, field: str
) -> None:
    with running_world(tmp_path) as world:
        text = policy_text().replace("contacts.company]", f"contacts.{field}]")
        world.worker.policy_file.write_text(text)
        with pytest.raises(ConfigurationError, match=field):
            require_policy(world.worker)
        follow(world.worker)
        assert field in (queries.stop_state(world.web).problem or "")


def test_while_the_crms_field_list_is_unknown_nothing_is_written(world: World) -> None:
    world.crm.faulty.script("GET", *[status(503)] * 4)
    write(world, policy_text(phone="per_hour = 3"))
    assert "could not be read" in (queries.stop_state(world.web).problem or "")
    world.crm.faulty.faults.clear()
    follow(world.worker)
    assert queries.stop_state(world.web).problem is None


def test_widened_names_every_right_that_is_added_and_no_other() -> None:
    old = load_policy(policy_text(two_person=("phone",), company="per_hour = 5\nper_day = 50"))
    new = load_policy(
        policy_text(company="per_hour = 9\nper_day = 50", job_title='roles = ["admin"]').replace(
            'max_length = 100\nexpiry_hours = 16\nreason = "For the tests."\nper_hour = 9',
            'max_length = 90\nexpiry_hours = 16\nreason = "For the tests."\nper_hour = 9',
        )
    )
    assert sorted(policy_store.widened(old, new)) == [
        "demo.contacts.company: more writes per hour or day",
        "demo.contacts.job_title: the role admin may approve",
        "demo.contacts.phone: mode two_person → review",
    ]
    assert list(policy_store.widened(new, new)) == []
    assert list(policy_store.widened(None, new))


def test_the_command_line_checks_shows_and_compares(world: World) -> None:
    class Home:
        policy = world.folder / "policy.toml"

        @staticmethod
        def database(name: str) -> str:
            return f"sqlite:///{world.folder}/{name}.db"

        @staticmethod
        def environment(service: str, role: str) -> dict[str, str]:
            return {
                "DATABASE_URL": f"sqlite:///{world.folder}/{service}.db",
                "BROKER_URL": "durable+sqlite:///none",
                "WAKE_DIR": str(world.folder),
                "KEYS_DIR": str(world.folder / "keys"),
                "PEOPLE_FILE": str(world.folder / "people.toml"),
                "POLICY_FILE": str(world.folder / "policy.toml"),
                "PUBLIC_URL": "http://127.0.0.1",
                "CRM_URL": world.crm.url,
                "CRM_READ_TOKEN": READ,
                "CRM_WRITE_TOKEN": WRITE,
            }

    run = CliRunner()
    money = world.folder / "money.toml"
    money.write_text(policy_text().replace("contacts.phone", "contacts.credit_limit"))
    refused = run.invoke(policy, ["check", str(money)], obj=Home).exception
    assert "demo.contacts.credit_limit: a money field" in str(refused)
    assert "valid" in run.invoke(policy, ["check"], obj=Home).output
    assert "demo.contacts.phone" in run.invoke(policy, ["show"], obj=Home).output
    other = world.folder / "other.toml"
    other.write_text(policy_text(phone="per_hour = 10000"))
    assert "! demo.contacts.phone" in run.invoke(policy, ["diff", str(other)], obj=Home).output
    assert "no difference" in run.invoke(policy, ["diff"], obj=Home).output
    other.write_text("[fields")
    wrong = run.invoke(policy, ["check", str(other)], obj=Home)
    assert isinstance(wrong.exception, ConfigurationError)
