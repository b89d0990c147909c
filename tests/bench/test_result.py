"""How rounds become figures, and that a door which forgets is found out."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.bench import door
from tests.bench.result import Figure, kept


def a_round(ratio: float, foreign: float) -> dict[str, float]:
    return {"ratio": ratio, "foreign_cores": foreign}


def test_disturbed_rounds_are_dropped_and_counted() -> None:
    found = kept([a_round(1, 0.0), a_round(9, 0.5), a_round(3, 0.1)])
    figure = found.least("P1", "a ratio", "ratio", 2)
    assert (figure.value, figure.spread, figure.dropped) == (2, (1, 3), 1)
    assert figure.is_met
    assert not figure.is_disturbed


def test_where_every_round_was_disturbed_all_are_kept_and_it_is_said() -> None:
    figure = kept([a_round(1, 2.0), a_round(3, 2.0)]).most("P1", "a ratio", "ratio", 1)
    assert (figure.value, figure.rounds, figure.dropped) == (2, 2, 2)
    assert figure.is_disturbed
    assert not figure.is_met


def test_a_figure_without_a_goal_is_neither_met_nor_missed() -> None:
    assert Figure(target="P1", what="a rate", value=1).is_met is None


def test_a_door_that_answers_without_a_commit_is_found_out() -> None:
    if not shutil.which("wrk"):
        if os.environ.get("CI"):
            pytest.fail("no wrk: .ci/run installs it")
        pytest.skip("no wrk: apt-get install wrk")
    with door.opened("no-commit") as opened:
        with pytest.raises(AssertionError), opened.counted() as cells:
            cells.append(opened.cell("no-commit", seconds=1))
    assert cells[0].answers > 0
