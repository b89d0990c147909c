"""Which account stands in for which, what the doctor says of it, and what the policy check tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from services.installation import Installation, RunSettings
from services.writer.crm_reports import Level, problem_of, reports
from services.writer.deps import ByCrm
from services.writer.doctor import examine_all
from services.writer.policy_cli import policy
from shared.crm.accounts import accounts_of, require_apart, sandboxes_of, with_built_in
from shared.db import reading
from shared.errors import ConfigurationError
from tests.writer.trial_stage import LIVE, TRIAL, Rehearsal, policy_of, rehearsal

ACCOUNT = '[{name}]\nvendor = "{vendor}"\n{more}\n'


def account(name: str, vendor: str = "hubspot", of: str = "") -> str:
    return ACCOUNT.format(name=name, vendor=vendor, more=f'sandbox_of = "{of}"' if of else "")


def test_a_sandbox_is_of_the_same_vendor_or_the_demo_crm() -> None:
    two = account("hubspot") + account("hubspot-test", of="hubspot")
    assert sandboxes_of(accounts_of(two)) == {"hubspot": "hubspot-test"}
    in_demo = account("hubspot") + account("rehearsal", "demo", of="hubspot")
    assert sandboxes_of(accounts_of(in_demo)) == {"hubspot": "rehearsal"}
    other = account("second", "demo", of="demo") + 'url = "http://127.0.0.1:1"\n'
    assert sandboxes_of(accounts_of(other)) == {"demo": "second"}
    assert sandboxes_of(accounts_of(account("hubspot"))) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (account("a", of="a"), "names no other account"),
        (account("a", of="b"), "names no other account"),
        (account("a", "demo", of="demo"), "cannot stand in for itself"),
        (account("a") + account("b", of="a") + account("c", of="b"), "is a sandbox itself"),
        (account("a") + account("b", of="a") + account("c", of="a"), "b stands in for a already"),
        (account("a") + account("b", "pipedrive", of="a"), "neither that of a nor demo"),
        (account("a", "handoff") + account("b", "demo", of="a"), "nothing can be tried by hand"),
        (account("a") + account("b", "handoff", of="a"), "nothing can be tried by hand"),
    ],
)
def test_what_cannot_stand_in_is_said_at_the_start(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        sandboxes_of(accounts_of(text))


@pytest.mark.parametrize("option", ["token", "refresh_token"])
def test_a_sandbox_with_the_credential_of_the_live_account_is_refused(option: str) -> None:
    same = f'{option} = "a-secret"\n'
    text = account("hubspot") + same + account("hubspot-test", of="hubspot") + same
    with pytest.raises(ConfigurationError, match=f"{option} is that of .hubspot.") as refused:
        sandboxes_of(accounts_of(text))
    assert "a-secret" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="trials would reach the live account"):
        require_apart(accounts_of(text), {"hubspot": "hubspot-test"})


def test_an_account_in_the_built_in_crm_needs_no_address_and_no_token() -> None:
    text = account("hubspot") + account("rehearsal", "demo", of="hubspot")
    live, stand_in = with_built_in(accounts_of(text), url="http://127.0.0.1:1", token="t")
    assert dict(live.options) == {}
    assert dict(stand_in.options) == {"url": "http://127.0.0.1:1", "token": "t"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path) as found:
        yield found


@dataclass(kw_only=True)
class Narrowed:
    """A side of a connector whose credential has other scopes."""

    of: Any
    given: tuple[str, ...]

    def scopes(self) -> tuple[str, ...]:
        return self.given

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


def _with_scopes(stage: Rehearsal, read: tuple[str, ...], write: tuple[str, ...]) -> None:
    worker = stage.world.worker
    readers, writers = dict(worker.readers), dict(worker.writers)
    readers[TRIAL] = Narrowed(of=readers[TRIAL], given=read)
    writers[TRIAL] = Narrowed(of=writers[TRIAL], given=write)
    stage.world.worker = replace(worker, readers=ByCrm(readers), writers=ByCrm(writers))


CONTACTS = ("crm.objects.contacts.read", "crm.objects.contacts.write")


def test_too_many_rights_in_a_sandbox_are_a_note_and_refuse_nothing(stage: Rehearsal) -> None:
    _with_scopes(stage, CONTACTS, (*CONTACTS, "crm.objects.deals.write", "crm.export"))
    examine_all(stage.world.worker)
    with reading(stage.world.worker.engine) as db:
        [report] = [one for one in reports(db) if one.crm == TRIAL]
        assert problem_of(db, TRIAL) is None
    assert report.sandbox_of == LIVE
    notes = " ".join(one.text for one in report.findings if one.level is Level.NOTE)
    assert f"it stands in for {LIVE}" in notes
    assert "the read credential can write" in notes
    assert "crm.export" in notes
    assert "knows all" in " ".join(one.text for one in report.findings if one.level is Level.OK)


def test_too_few_rights_in_a_sandbox_keep_trials_waiting_and_nothing_else(
    tmp_path: Path,
) -> None:
    with rehearsal(tmp_path, policy_of(city="live")) as stage:
        _with_scopes(stage, ("something.else",), CONTACTS)
        examine_all(stage.world.worker)
        with reading(stage.world.worker.engine) as db:
            assert "lacks the scope" in str(problem_of(db, TRIAL))
        card = stage.propose().id
        assert stage.try_out(card) == "intended"
        assert "lacks the scope" in stage.world.change(card).held
        assert stage.live.writes() == stage.trial.writes() == []


def test_the_policy_check_says_what_tasks_of_a_crm_cannot_do(tmp_path: Path) -> None:
    home = Installation(root=tmp_path / "data", run=RunSettings())
    home.prepare()
    table = """[servicetitan]
url = "http://127.0.0.1:9"
auth_url = "http://127.0.0.1:9"
private_address = "yes"
tenant_id = "4711"
client_id = "x"
client_secret = "x"
app_key = "x"
"""
    for side in ("read", "write"):
        (home.root / f"crms.{side}.toml").write_text(table)
    file, opened = tmp_path / "policy.toml", "ServiceTitan names no scope for tasks"
    rule = '[fields.servicetitan.tasks.subject]\ntype = "text"\nmax_length = 9\n'
    for mode, is_said in (("review", True), ("never", False)):
        file.write_text(f'{rule}reason = "For the tests."\nmode = "{mode}"\n')
        said = CliRunner().invoke(policy, ["check", str(file)], obj=home)
        assert said.exit_code == 0, said.output
        assert (f"servicetitan.tasks: {opened}" in said.output) is is_said


def test_the_policy_check_says_where_each_field_is_tried(tmp_path: Path) -> None:
    home = Installation(root=tmp_path / "data", run=RunSettings())
    home.prepare()
    live = account("hubspot") + 'url = "http://127.0.0.1:9"\nprivate_address = "yes"\ntoken = "t"\n'
    demo = account("rehearsal", "demo", of="hubspot")
    for side in ("read", "write"):
        (home.root / f"crms.{side}.toml").write_text(live + demo)
    file = tmp_path / "policy.toml"
    file.write_text(policy_of())
    said = CliRunner().invoke(policy, ["check", str(file)], obj=home)
    assert "hubspot.contacts.phone is tried in rehearsal, then promoted by a person" in said.output
    file.write_text(policy_of().replace("hubspot.contacts.city", "hubspot.contacts.hs_language"))
    said = CliRunner().invoke(policy, ["check", str(file)], obj=home)
    assert "rehearsal has no field that stands for hs_language" in str(said.exception)
