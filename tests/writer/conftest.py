from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.writer.world import World, running_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path) as found:
        yield found
