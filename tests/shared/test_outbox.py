from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import text

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
