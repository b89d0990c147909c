from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.demo_crm.database import Database
from services.demo_crm.seed import seed
from services.demo_crm.store import Author, Store

US = Author(name="Countersign", change_id="run-1")


def _fail(*_: Any) -> None:
    raise RuntimeError("the notice cannot be queued")


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.update("contacts", "1001", {"city": "Olney"}, US),
        lambda store: store.promote("9001", US),
    ],
)
def test_a_change_whose_notice_cannot_be_queued_did_not_happen(
    tmp_path: Path, act: Callable[[Store], object]
) -> None:
    database = Database(tmp_path / "crm.db")
    plain = Store(database, lambda: datetime.now(UTC))
    seed(plain)
    plain.propose({"last_name": "Fields"}, Author(name="Countersign", change_id="draft-1"))
    with pytest.raises(RuntimeError):
        act(Store(database, lambda: datetime.now(UTC), _fail))
    assert plain.effects_of("run-1") == []
    assert plain.get("contacts", "1001").version == 1
    assert plain.get("drafts", "9001").fields["draft_state"] == "open"
    assert len(plain.all("contacts")) == 25
    database.close()
