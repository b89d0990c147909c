from __future__ import annotations

import multiprocessing
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shared.errors import BadPayload, ConfigurationError, Conflict, NotApproved, StoreUnavailable
from shared.people import People
from shared.people_cli import PeopleCommands
from shared.people_cli import people as commands


def add_many(path: str, prefix: str) -> None:
    people = People(Path(path))
    for number in range(10):
        people.add(f"{prefix} {number}", roles=["support"])


def test_people_survive_a_restart_with_every_kind_of_name(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    names = ["Ada", 'Quote " \\ Back', "Ünïcödé 李", "= [people]", "# no comment"]
    for number, name in enumerate(names):
        People(path).add(name, roles=["approver", "support"], email=f"p{number}@example.com")
    read = People(path)
    assert sorted(one.name for one in read.all()) == sorted(names)
    assert {one.roles for one in read.all()} == {("approver", "support")}
    assert len({one.id for one in read.all()}) == len(names)


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    people = People(tmp_path / "people.toml")
    people.add("Ada", roles=["admin"])
    people.make_link("ada")
    assert stat.S_IMODE(people.path.stat().st_mode) == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"people.toml", ".people.toml.lock"}


def test_no_secret_stands_in_the_file(tmp_path: Path) -> None:
    people = People(tmp_path / "people.toml")
    people.add("Ada", roles=["admin"])
    people.set_password("ada", "correct horse battery")
    secrets = [people.make_link("ada"), people.make_token("ada", "export").split("_")[2]]
    text = people.path.read_text()
    assert not [secret for secret in [*secrets, "correct horse"] if secret in text]
    assert "$argon2id$" in text


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(str(path), name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    accounts = People(path).all()
    assert len(accounts) == 40
    assert len({one.id for one in accounts}) == 40


def test_another_process_change_is_seen_at_the_next_look(tmp_path: Path) -> None:
    one, other = People(tmp_path / "people.toml"), People(tmp_path / "people.toml")
    one.add("Ada", roles=["admin"])
    one.add("Bob", roles=["approver"])
    assert not other.get("bob").disabled  # type: ignore[union-attr]
    one.disable("bob")
    assert other.get("bob").disabled  # type: ignore[union-attr]


def test_a_broken_file_closes_the_door_and_names_no_value(tmp_path: Path) -> None:
    path = tmp_path / "people.toml"
    for text in (
        'version = 1\n[[people]]\nid = "karin"\nname = "Karin Secret"\nroles = ["boss"]',
        'version = 1\n[[people]]\nid = "Karin Secret',
        '[[people]]\nid = "karin"\nname = "Karin Secret"',
        'version = 1\n[[people]]\nid = "karin"\nname = "Karin Secret"\npower = true',
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            People(path).all()
        assert "Secret" not in str(caught.value)


def test_nobody_can_edit_their_own_roles(office: Any) -> None:
    with pytest.raises(NotApproved) as caught:
        office.people.set_roles("admin", ["admin", "approver"], by="admin")
    assert caught.value.rule == "own-roles"
    with pytest.raises(NotApproved):
        office.people.disable("admin", by="admin")
    office.people.set_roles("support", ["support", "approver"], by="admin")


def test_nor_through_another_name_of_theirs(office: Any) -> None:
    text = office.people.path.read_text()
    office.people.path.write_text(
        text.replace('id = "support"\n', 'id = "support"\naliases = ["admin"]\n')
    )
    with pytest.raises(NotApproved):
        office.people.set_roles("support", ["approver"], by="admin")


def test_the_last_admin_stays(office: Any) -> None:
    for attempt in (
        lambda: office.people.disable("admin"),
        lambda: office.people.set_roles("admin", ["support"]),
    ):
        with pytest.raises(Conflict, match="last admin"):
            attempt()
    office.people.set_roles("support", ["admin"])
    assert office.people.disable("admin").disabled


def test_a_change_that_cannot_be_announced_does_not_take_effect(office: Any) -> None:
    def down(*_: Any) -> None:
        raise StoreUnavailable("the outbox is gone")

    office.people.on_change = down
    with pytest.raises(StoreUnavailable):
        office.people.disable("approver")
    assert not office.people.get("approver").disabled
    office.people.on_change = None
    assert office.people.disable("approver").disabled


def test_every_change_is_announced_with_the_roles_it_leaves(office: Any) -> None:
    office.people.add("Eve", roles=["auditor"])
    office.people.set_roles("eve", ["support", "approver"])
    office.people.make_link("eve")
    office.people.make_token("eve", "x")
    office.people.disable("eve")
    office.people.enable("eve")
    actions = [(person, action) for person, action, _ in office.changes]
    assert actions == [
        ("eve", action)
        for action in ("added", "roles", "link made", "token made", "disabled", "enabled")
    ]
    assert office.changes[1][2] == ("approver", "support")


def test_a_link_works_once_and_for_fifteen_minutes(office: Any) -> None:
    secret = office.people.make_link("admin")
    assert office.people.link_is_good(secret)
    assert office.people.take_link(secret).id == "admin"
    assert office.people.take_link(secret) is None
    late = office.people.make_link("admin")
    office.clock.forward(minutes=15)
    assert office.people.take_link(late) is None


def test_a_newer_link_makes_the_older_one_void(office: Any) -> None:
    older, newer = office.people.make_link("admin"), office.people.make_link("admin")
    assert office.people.take_link(older) is None
    assert office.people.take_link(newer) is not None


def test_disabling_kills_links_and_tokens(office: Any) -> None:
    link, token = office.people.make_link("support"), office.people.make_token("support", "x")
    office.people.disable("support")
    assert office.people.take_link(link) is None
    assert office.people.by_token(token) is None
    office.people.enable("support")
    assert office.people.take_link(link) is None
    assert office.people.by_token(token) is None


def test_tokens_belong_to_a_person_and_end(office: Any) -> None:
    token = office.people.make_token("auditor", "export")
    account, found = office.people.by_token(token)
    assert (account.id, found.name) == ("auditor", "export")
    for wrong in ("", "cs", "cs_", token[:-1], token + "0", token.replace("cs_", "ct_")):
        assert office.people.by_token(wrong) is None
    office.clock.forward(days=366)
    assert office.people.by_token(token) is None


def test_passwords_fit_or_do_not(office: Any) -> None:
    office.people.set_password("admin", "correct horse battery")
    check = office.people.check_password
    assert check("admin", "correct horse battery").id == "admin"
    assert check("ADMIN@example.com", "correct horse battery").id == "admin"
    assert check("admin", "correct horse batterz") is None
    assert check("nobody", "correct horse battery") is None
    assert check("support", "") is None
    assert check("admin", "\ud800") is None
    with pytest.raises(BadPayload):
        office.people.set_password("admin", "short")


def test_an_unknown_name_takes_as_long_as_a_wrong_password(office: Any) -> None:
    office.people.set_password("admin", "correct horse battery")
    names = {"admin": [], "nobody": [], "support": []}  # type: dict[str, list[float]]
    for _ in range(12):
        for name, times in names.items():
            started = time.process_time()
            assert office.people.check_password(name, "wrong password") is None
            times.append(time.process_time() - started)
    known, unknown, without = (statistics.median(times[2:]) for times in names.values())
    # One argon2 verification each; without it an unknown name would take a hundredth.
    assert 0.6 < unknown / known < 1.6
    assert 0.6 < without / known < 1.6


@pytest.mark.parametrize(
    ("name", "email", "roles"),
    [
        ("", None, ["admin"]),
        ("x" * 101, None, ["admin"]),
        ("bad\x00name", None, ["admin"]),
        ("Eve", "not an address", ["admin"]),
        ("Eve", None, []),
        ("Eve", None, ["boss"]),
    ],
)
def test_people_who_make_no_sense_are_refused(
    office: Any, name: str, email: str | None, roles: list[str]
) -> None:
    with pytest.raises(BadPayload):
        office.people.add(name, email=email, roles=roles)


def test_an_address_belongs_to_one_person(office: Any) -> None:
    with pytest.raises(Conflict):
        office.people.add("Other", email="ADMIN@example.com", roles=["support"])


def test_the_commands_do_what_they_say(office: Any) -> None:
    runner = CliRunner()
    at = PeopleCommands(people=office.people, public_url="http://localhost:8080/")

    def run(*words: str, **more: Any) -> Any:
        return runner.invoke(commands, list(words), obj=at, **more)

    added = run("add", "Grace Hopper", "--role", "approver", "--email", "grace@example.com")
    assert added.exit_code == 0
    secret = added.output.split("http://localhost:8080/sign-in/")[1].strip()
    assert office.people.take_link(secret).id == "grace-hopper"
    assert "http://localhost:8080/sign-in/" in run("link", "grace@example.com").output
    assert run("roles", "grace-hopper", "support", "auditor").exit_code == 0
    assert office.people.get("grace-hopper").roles == ("support", "auditor")
    token = run("token", "Grace Hopper", "--days", "3").output.strip()
    assert office.people.by_token(token)[0].id == "grace-hopper"
    assert run("password", "grace-hopper", input="longenough1\nlongenough1\n").exit_code == 0
    assert run("disable", "grace-hopper").exit_code == 0
    assert "(disabled)" in run("list").output
    assert run("enable", "grace-hopper").exit_code == 0
    assert "Nobody is called" in run("link", "nobody").output
    last = run("disable", "admin")
    assert last.exit_code == 1
    assert "last admin" in last.output


def test_importing_the_web_foundation_loads_nothing_heavy() -> None:
    heavy = (
        "sqlalchemy",
        "argon2",
        "prometheus_client",
        "structlog",
        "requests",
        "openai",
        "kombu",
    )
    code = f"import sys, shared.web; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
