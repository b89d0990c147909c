from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import reading
from shared.outbox import BATCH
from tests.shared.pipeline import Pipeline


def test_what_is_read_once_is_read_anew_in_the_next_transaction(tmp_path: Path) -> None:
    units = Pipeline(folder=tmp_path).deps.unit_of_work
    read: list[Any] = []

    def one_more(db: Any) -> int:
        read.append(db.scalar(text("SELECT 1")))
        return len(read)

    for expected in (1, 2):
        with units.batch() as unit_for:
            assert unit_for(None).once(one_more) == unit_for(None).once(one_more) == expected


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 1])
def test_one_round_of_the_relay_sends_all_that_waits(tmp_path: Path, count: int) -> None:
    pipeline = Pipeline(folder=tmp_path)
    assert len(set(pipeline.tell(count))) == count
    with reading(pipeline.deps.engine) as db:
        assert pipeline.deps.outbox.waiting(db) == 0
