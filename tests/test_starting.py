"""Start-up failures are one sentence that says what to do."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.installation import SIGNING_KEYS, Installation, RunSettings
from shared.errors import ConfigurationError
from tests.product import ROOT, Product


def start(product: Product) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services", "run"],
        cwd=ROOT,
        env=product.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = start(Product(folder=tmp_path, port=taken.getsockname()[1]))
    assert said.returncode == 1
    assert "PORT=" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    said = start(Product(folder=tmp_path))
    assert said.returncode == 1
    assert "DATA_DIR" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_malformed_setting_is_named_and_its_value_is_not(tmp_path: Path) -> None:
    said = start(Product(folder=tmp_path, extra={"WEB_THREADS": "hunter2"}))
    assert said.returncode == 1
    assert "WEB_THREADS" in said.stderr
    assert "hunter2" not in said.stderr


def test_a_command_before_the_first_start_says_what_to_do_first(tmp_path: Path) -> None:
    said = Product(folder=tmp_path).command("verify")
    assert said.returncode == 1
    assert "make run" in said.stderr


@pytest.mark.parametrize("words", ["backup /tmp/never.zip", "keys list", "reload", "run"])
def test_one_process_of_several_says_where_a_command_of_the_whole_runs(
    tmp_path: Path, words: str
) -> None:
    said = Product(folder=tmp_path, extra={"PROCESS": "audit-worker"}).command(*words.split())
    assert said.returncode == 1
    assert "one process of several: `docker compose" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("name", SIGNING_KEYS)
def test_a_lost_key_is_never_made_anew(tmp_path: Path, name: str) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    assert home.prepare() is True
    home.people.write_text("version = 1\n")
    assert home.prepare() is False
    (home.keys / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        home.prepare()
    assert not (home.keys / name).exists()
