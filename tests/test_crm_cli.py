"""`countersign crm`: a person lets an app in, on one machine and in one process of several."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from services.crm_cli import crm
from services.installation import Installation, RunSettings
from services.own_environment import OwnEnvironment
from shared.crm import readers
from shared.crm.accounts import accounts_of
from shared.crm.grant_settings import READ, WRITE, ReadGrantSettings
from shared.crm.jobber_api import code_flow
from shared.errors import ConfigurationError, Rejected
from shared.migrations import bring_up
from shared.settings import load_settings
from tests.fakes.jobber_fixtures import Running, running_jobber
from tests.fakes.token_endpoint import CODE


@dataclass(kw_only=True)
class Desk:
    home: Installation
    running: Running

    def run(self, *words: str, paste: str = "", home: object = None) -> Result:
        return CliRunner().invoke(crm, list(words), obj=home or self.home, input=paste)

    def address(self, printed: str) -> dict[str, list[str]]:
        [url] = re.findall(r"https?://\S+/api/oauth/authorize\S*", printed)
        return parse_qs(urlsplit(url).query)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home = Installation(root=tmp_path / "data", run=RunSettings())
    home.prepare()
    for name in (READ, WRITE):
        bring_up(home.database(name), name)
    with running_jobber(tmp_path) as running:
        for side in ("read", "write"):
            options = running.account(side).options.items()
            lines = [f'{name} = "{value}"' for name, value in options]
            text = "\n".join(
                ["[jobber]", *lines, "[demo]", f'url = "{running.url}"', 'token = "t"']
            )
            (home.root / f"crms.{side}.toml").write_text(text)
        yield Desk(home=home, running=running)


@pytest.fixture
def _known_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.crm_cli.secrets.token_urlsafe", lambda _: "state-1")


@pytest.mark.usefixtures("_known_state")
@pytest.mark.parametrize("side", ["read", "write"])
def test_an_app_that_was_let_in_is_used_from_then_on(desk: Desk, side: str) -> None:
    flag = ["--write"] if side == "write" else []
    done = desk.run(
        "authorize", "jobber", *flag, paste=f"https://example.com/back?code={CODE}&state=state-1\n"
    )
    assert f"[jobber] is authorised to {side}." in done.output
    asked = desk.address(done.output)
    assert asked["state"] == ["state-1"]
    assert asked["client_id"] == [f"client-{'2' if flag else '1'}"]
    assert re.search(r"jobber +ready", desk.run("grants", *flag).output)
    other = [] if flag else ["--write"]
    assert "jobber" not in desk.run("grants", *other).output, "the other side has none of it"
    assert "access" not in done.output.lower().replace("access_token", "")


def test_a_reader_of_the_installation_reads_with_its_grant(desk: Desk) -> None:
    given = load_settings(ReadGrantSettings, desk.home.environment("classifier", "worker"))
    grants = given.read_grants()
    accounts = accounts_of(desk.home.crms(write=False).read_text(), grants)
    reader = readers(accounts, timeout=1.0)["jobber"]
    with pytest.raises(
        Rejected, match=r"no grant for \[jobber\]: `countersign crm authorize jobber`"
    ):
        reader.read(desk.running.dana)
    assert grants is not None
    grants.keep("jobber", code_flow(desk.running.account("read")).first(CODE))
    assert reader.read(desk.running.dana).title == "Dana Miller"


@pytest.mark.parametrize(
    ("pasted", "why"),
    [
        (f"https://example.com/back?code={CODE}&state=another", "does not answer"),
        (f"https://example.com/back?code={CODE}", "does not answer"),
        ("https://example.com/back?error=access_denied&state=x", "access_denied"),
    ],
)
def test_an_answer_to_another_request_gives_nothing(desk: Desk, pasted: str, why: str) -> None:
    done = desk.run("authorize", "jobber", paste=f"{pasted}\n")
    assert isinstance(done.exception, Rejected)
    assert why in str(done.exception)
    assert desk.run("grants").output == ""


def test_what_cannot_be_authorised_is_said(desk: Desk) -> None:
    for account, why in (("demo", "takes a token"), ("acme", "no account")):
        done = desk.run("authorize", account)
        assert isinstance(done.exception, ConfigurationError)
        assert why in str(done.exception)


def test_a_process_without_the_write_grants_cannot_authorise_writing(desk: Desk) -> None:
    given = desk.home.environment("classifier", "worker")
    path = desk.home.crms(write=True)
    home = OwnEnvironment(given={**given, "CRMS_WRITE_FILE": str(path)})
    done = desk.run("authorize", "jobber", "--write", home=home)
    assert isinstance(done.exception, ConfigurationError)
    assert "needs the database of grants" in str(done.exception)


def test_the_key_of_reading_does_not_open_what_writes(desk: Desk) -> None:
    keys = [desk.home.keys / f"crm-{side}-grants.key" for side in ("read", "write")]
    assert keys[0].read_text() != keys[1].read_text()
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
