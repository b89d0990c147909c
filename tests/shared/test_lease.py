"""A lease's number only grows, whoever holds it and however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData

from shared.db import open_database
from shared.lease import Lease, lease_table

metadata = MetaData()
LEASES = lease_table(metadata)
AT = datetime(2026, 11, 28, 9, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_database(f"sqlite:///{tmp_path}/one.db")
    metadata.create_all(made)
    yield made
    made.dispose()


def lease(engine: Engine, owner: str) -> Lease:
    return Lease(engine=engine, table=LEASES, name="loop", clock=lambda: AT, owner=owner)


def test_the_number_grows_after_a_crash_and_after_giving_back(engine: Engine) -> None:
    first, second = lease(engine, "one:1"), lease(engine, "two:1")
    assert first.take() == 1
    assert second.take() is None
    first.give_back()
    assert second.take() == 2, "what was given back can be taken at once"
    second.give_back()
    assert first.take() == 3


def test_nobody_gives_back_what_another_holds(engine: Engine) -> None:
    first, second = lease(engine, "one:1"), lease(engine, "two:1")
    assert first.take() == 1
    second.give_back()
    assert second.take() is None
