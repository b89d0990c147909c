"""On one machine the door goes first: whoever posts a webhook gives up after seconds."""

from __future__ import annotations

from pathlib import Path

from tests.product import eventually, running

# As much of ``worker`` as the kernel keeps of every name.
WORKER = "-work"


def test_the_workers_give_way_to_the_door(tmp_path: Path) -> None:
    with running(tmp_path) as product:

        def workers() -> set[int]:
            found = [one for one in product.children() if WORKER in one.name()]
            return {one.nice() for one in found} if len(found) == 4 else set()

        [priority] = eventually(lambda: workers() if len(workers()) == 1 else None)
        doors = {one.nice() for one in product.children() if WORKER not in one.name()}
        assert doors
        assert max(doors) < priority
