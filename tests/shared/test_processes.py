"""What a process tells the kernel, the collector and the processes it forks."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from shared.processes import lasting
from tests.product import ROOT

APART = """
import os, sys
from shared.processes import apart

def act():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    if len(sys.argv) > 2:
        raise OSError("the disk is gone")

try:
    apart(act)
finally:
    print(os.getpid())
"""


def apart(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", APART, str(file), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_done_apart_is_over_and_was_done_by_another_process(tmp_path: Path) -> None:
    said = apart(tmp_path / "file")
    assert said.returncode == 0, said.stderr
    (doer,) = (tmp_path / "file").read_text().split()
    assert doer != said.stdout.strip()


def test_what_fails_apart_is_said_by_who_asked_for_it(tmp_path: Path) -> None:
    said = apart(tmp_path / "file", "fail")
    assert said.returncode == 1
    assert "the disk is gone" in said.stderr
    assert said.stdout.strip() in (tmp_path / "file").read_text().split()


def test_what_lasts_is_never_looked_through_again() -> None:
    before = gc.get_freeze_count()
    with lasting():
        assert not gc.isenabled()
        held = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() - before > len(held)
    finally:
        gc.unfreeze()
