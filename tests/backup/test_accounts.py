"""A backup keeps what CRM accounts look like, never what lets anybody in."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.backup.accounts import outline, to_do
from services.backup.commands import backup
from services.backup.taking import take
from services.installation import Installation
from tests.backup.test_refusing import file, home, restore

__all__ = ["file", "home"]

SECRET = "hunter2-very-secret"
ACCOUNTS = f"""
[jobber]
client_id = "{SECRET}-id"
client_secret = "{SECRET}"
redirect_url = "https://example.com/back/{SECRET}"
url = "https://api.example.com"
region = "DE"
calls = 100

["Café \\u007f"]
vendor = "hubspot"
token_file = "/etc/countersign/hubspot.token"
auth_url = "https://user:{SECRET}@example.com"
objects = ["{SECRET}"]
something_new = "{SECRET}"
"""


def test_the_outline_names_every_option_and_holds_the_value_of_harmless_ones_alone() -> None:
    text = outline(ACCOUNTS, "crms.read.toml")
    assert SECRET not in text
    found = tomllib.loads(text)
    assert found == {
        "jobber": {"url": "https://api.example.com", "region": "DE", "calls": 100},
        "Café \x7f": {"vendor": "hubspot", "token_file": "/etc/countersign/hubspot.token"},
    }
    for option in ("client_id", "client_secret", "redirect_url", "auth_url", "something_new"):
        assert f'# "{option}" =' in text
    assert tomllib.loads(outline("[jobber", "crms.read.toml")) == {}


@pytest.mark.parametrize(
    "value",
    [
        "https://user@example.com",
        "https://example.com/hooks/token",
        "https://example.com?key=token",
        "https://example.com:8443/token",
        "//[",
    ],
)
def test_an_address_that_may_hold_a_secret_is_left_out(value: str) -> None:
    assert tomllib.loads(outline(f'[a]\nurl = "{value}"\n', "x")) == {"a": {}}


def test_a_backup_has_no_secret_of_an_account_and_a_restore_says_what_to_do(
    home: Installation, tmp_path: Path
) -> None:
    for write in (False, True):
        home.crms(write=write).write_text(ACCOUNTS)
    said = CliRunner().invoke(backup, [str(tmp_path / "b.zip")], obj=home)
    assert said.exit_code == 0, said.output
    assert "crms.read.toml and crms.write.toml it holds an outline" in said.output
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert not any(SECRET.encode() in archive.read(name) for name in archive.namelist())
        assert not any(name.startswith("keys/") for name in archive.namelist())
    new = restore(tmp_path / "b.zip", tmp_path / "new", home.keys)
    assert not new.crms(write=False).exists()
    told = to_do(new.root)
    assert [line for line in told if "crm authorize" in line] == [
        "Let the app in again: countersign crm authorize jobber",
        "Let the app in again: countersign crm authorize jobber --write",
    ]
    assert sum("call it crms." in line for line in told) == 2


def test_an_installation_without_accounts_has_nothing_to_do(
    home: Installation, tmp_path: Path
) -> None:
    take(home, tmp_path / "b.zip")
    assert to_do(restore(tmp_path / "b.zip", tmp_path / "new", home.keys).root) == []
