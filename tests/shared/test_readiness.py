"""Readiness is never slow and never silent."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from shared.db import open_database, require_writable
from shared.errors import StoreUnavailable
from shared.readiness import Readiness
from tests.databases import fresh_database


def test_a_check_that_hangs_is_a_reason_and_holds_nobody_up() -> None:
    free, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        free.wait(10)

    readiness = Readiness(checks={"slow": hang, "good": lambda: None}, seconds=0.1)
    began = time.monotonic()
    for _ in range(3):
        assert readiness.failing() == {"slow": "no answer within 0.1 s"}
    assert time.monotonic() - began < 2
    assert len(calls) == 1, "a check that hangs is not begun again and again"
    free.set()


def test_checks_run_side_by_side() -> None:
    checks = {str(n): lambda: time.sleep(0.2) for n in range(10)}
    began = time.monotonic()
    assert Readiness(checks=checks).failing() == {}
    assert time.monotonic() - began < 1.5


def test_the_door_asks_only_for_what_it_needs() -> None:
    readiness = Readiness(
        checks={"disk": lambda: None, "broker": lambda: "down"}, intake=frozenset({"disk"})
    )
    assert readiness.failing() == {"broker": "down"}
    assert readiness.failing(intake_only=True) == {}


def test_a_database_that_takes_no_writes_is_unavailable(tmp_path: Path) -> None:
    engine = open_database(fresh_database(tmp_path, "x"))
    require_writable(engine)
    if engine.dialect.name == "sqlite":
        engine.dispose()
        read_only = open_database(f"sqlite:///file:{tmp_path}/x.db?mode=ro&uri=true")
        with pytest.raises(StoreUnavailable):
            require_writable(read_only)
        read_only.dispose()
    engine.dispose()
