"""The measurements run: each of the cheap ones at its smallest scale. No figure is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.bench.__main__ import PARTS
from tests.product import ROOT

CHEAP = ("p1", "p7", "p9", "p13", "p16", "p11", "m8-sqlite", "m8-lone", "m8-consume", "m8-relay")
CHEAP += ("p15",)


def run(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *names],
        cwd=ROOT,
        env={**os.environ, "SMOKE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_the_cheap_measurements_run_and_hand_every_round_over() -> None:
    said = run(*CHEAP)
    assert said.returncode == 0, said.stdout + said.stderr
    path = ROOT / said.stdout.rpartition("Every round: ")[2].strip()
    result = json.loads(path.read_text())
    assert set(result["rounds"]) | set(result["skipped"]) == set(CHEAP)
    assert all(figure["value"] > 0 for figure in result["figures"]), result["figures"]
    assert {"commit", "python", "cpu", "ram_mb", "filesystem", "kernel"} <= set(
        result["environment"]
    )


def test_a_name_that_is_none_is_answered_with_those_that_are() -> None:
    said = run("p99")
    assert said.returncode != 0
    assert all(name in said.stderr for name in PARTS)
