"""A small part of every kind of fault, as the gate can afford it; `make faults` does the rest.

Seeds that once failed are replayed before the fresh one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import calls, killing, record, storm
from tests.faults.columns import embedded
from tests.faults.points import names
from tests.faults.servers import SHARED
from tests.faults.stage import Ended

SEED = 20261123


def require_good(ended: Ended) -> None:
    assert ended.differences == [], ended
    assert ended.is_good, ended


def test_there_are_at_least_forty_points_to_die_at() -> None:
    assert len(names()) >= 40, sorted(names())


@pytest.mark.timeout(600)
def test_a_death_at_every_named_point_leaves_no_difference(tmp_path: Path) -> None:
    ended = killing.at_points(embedded, tmp_path, SEED, kills=1, seconds=400)
    require_good(ended)
    assert set(ended.notes["killed"]) == names(), ended.notes["left"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [*record.kept_seeds("storm"), SEED])
def test_deaths_and_failing_links_together_leave_no_difference(tmp_path: Path, seed: int) -> None:
    require_good(storm.of_everything(tmp_path, seed, faults=12, held_seconds=2, where=SHARED))


@pytest.mark.parametrize("seed", [*record.kept_seeds("crm-calls"), SEED])
def test_a_crm_that_misbehaves_at_random_gets_each_change_at_most_once(
    tmp_path: Path, seed: int
) -> None:
    require_good(calls.scripted(tmp_path, seed, changes_=25))
