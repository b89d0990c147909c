"""How an event ended does not depend on which messages were heard in one batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from services.audit.outcomes import End, record_ends
from services.audit.tables import EVENT_ENDS, metadata
from shared.db import open_database, reading, writing

EVENTS = st.sampled_from(["a", "b", "c"])
ENDS = st.one_of(
    st.builds(End, event=EVENTS),
    st.builds(End, event=EVENTS, failed=st.booleans()),
    st.builds(
        End, event=EVENTS, outcome=st.sampled_from(["proposed", "rejected"]), failed=st.just(False)
    ),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_database(f"sqlite:///{Path(tmp_path_factory.mktemp('ends'))}/audit.db")
    metadata.create_all(engine)
    return engine


def said_in_turn(ends: list[End]) -> dict[str, tuple[str | None, bool]]:
    """What is known after each message by itself."""
    known: dict[str, tuple[str | None, bool]] = {}
    for end in ends:
        outcome, failed = known.get(end.event, (None, False))
        known[end.event] = (end.outcome or outcome, failed if end.failed is None else end.failed)
    return known


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=st.lists(st.lists(ENDS, max_size=5), max_size=4))
def test_batches_end_as_single_messages_do(engine: Engine, batches: list[list[End]]) -> None:
    with writing(engine) as db:
        db.execute(delete(EVENT_ENDS))
    for batch in batches:
        with writing(engine) as db:
            record_ends(db, batch)
    with reading(engine) as db:
        rows = db.execute(select(EVENT_ENDS.c.event, EVENT_ENDS.c.outcome, EVENT_ENDS.c.failed))
        found = {row.event: (row.outcome, row.failed) for row in rows}
    assert found == said_in_turn([end for batch in batches for end in batch])
