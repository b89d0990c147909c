"""Settings: all faults at once, names and never values, secrets also from files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.settings import load_settings, setting


@dataclass(frozen=True, kw_only=True)
class Sample:
    address: str = setting("an address")
    count: int = setting("a number")
    folder: Path = setting("a folder", default=Path("here"))
    token: str = setting("a secret", secret=True)


def test_all_faults_are_named_at_once_and_no_value_is_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(Sample, {"COUNT": "hunter2"})
    assert str(caught.value) == "missing or malformed: ADDRESS, COUNT, TOKEN"


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    settings = load_settings(Sample, {"ADDRESS": "a", "COUNT": "3", "TOKEN_FILE": str(file)})
    assert settings == Sample(address="a", count=3, folder=Path("here"), token="s3cret")


def test_an_empty_value_is_a_missing_one() -> None:
    with pytest.raises(ConfigurationError, match="ADDRESS"):
        load_settings(Sample, {"ADDRESS": "", "COUNT": "3", "TOKEN": "x"})


def test_the_process_environment_is_left_as_it_was() -> None:
    before = dict(os.environ)
    load_settings(Sample, {"ADDRESS": "a", "COUNT": "3", "TOKEN": "x"})
    assert dict(os.environ) == before
