"""What a field shows at stage sandbox: failed trials count against it, a promotion is no second
decision about the same values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from services.writer.tables import proposals
from services.writer.track_record import TrackRecord, track_records
from shared.db import reading
from shared.faultpoints import wire_killer
from shared.policy import load_policy
from tests.fakes.faulty_crm import status
from tests.writer.trial_stage import LIVE, Rehearsal, rehearsal


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path) as found:
        yield found


def record_of(stage: Rehearsal) -> TrackRecord:
    with reading(stage.world.worker.engine) as db:
        policy = load_policy(stage.world.worker.policy_file)
        return track_records(db, policy, LIVE)["contacts", "phone"]


def test_a_trial_that_failed_counts_against_the_field(stage: Rehearsal) -> None:
    stage.trial.script("write", status(400), status(400), status(400), status(400))
    assert stage.try_out(stage.propose().id) == "failed"
    assert record_of(stage) == TrackRecord(decided=1, unedited=1, failed=1)


def test_a_promotion_is_no_second_decision(stage: Rehearsal) -> None:
    assert stage.try_out(stage.propose().id) == "applied"
    with reading(stage.world.worker.engine) as db:
        promotion = db.scalar(select(proposals.c.id).where(proposals.c.promotes.isnot(None)))
    assert stage.try_out(str(promotion)) == "applied"
    assert record_of(stage) == TrackRecord(decided=1, unedited=1, failed=0)


def test_a_value_that_the_crm_altered_in_a_trial_counts_as_not_kept(stage: Rehearsal) -> None:
    def alter(name: str) -> None:
        if name == "apply.written":
            [one] = stage.stand_ins()
            one.properties["phone"] = "+12025550100"

    wire_killer(alter)
    assert stage.try_out(stage.propose().id) == "applied"
    wire_killer(None)
    assert record_of(stage) == TrackRecord(decided=1, unedited=1, failed=1)
    with reading(stage.world.worker.engine) as db:
        assert db.scalar(select(proposals.c.id).where(proposals.c.promotes.isnot(None))) is None
