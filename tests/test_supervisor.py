"""The parent of the process tree: what it starts first, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.product import ROOT, Product

TREE = """
import os, sys, time
from pathlib import Path
from services.supervisor import Child, Supervisor
from shared.errors import ConfigurationError

opened = Path(sys.argv[1])

def door():
    opened.write_text(str(os.getpid()))
    time.sleep(60)

def others():
    limit = time.monotonic() + 20
    while not (opened.exists() and opened.read_text()):
        assert time.monotonic() < limit, "the door waits for the others"
        time.sleep(0.01)
    raise ConfigurationError("no queues")

try:
    Supervisor(door=Child(name="door", run=door), others=others, bury=print).run()
except ConfigurationError as error:
    print(error)
"""


def test_the_door_is_open_before_the_others_are_made_and_closed_where_they_cannot_be(
    tmp_path: Path,
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", TREE, str(tmp_path / "opened")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.stdout == "no queues\n", said.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "opened").read_text()), 0)


def test_a_start_without_its_broker_ends_with_one_sentence(tmp_path: Path) -> None:
    said = Product(
        folder=tmp_path, extra={"BROKER_URL": "pika://guest:guest@127.0.0.1:1/%2F"}
    ).command("run")
    assert said.returncode == 1
    assert "broker" in said.stderr
    assert "Traceback" not in said.stderr
