"""One installation of ingest per test, and one real socket for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vectors import Server, Store

PUBLIC_URL = "https://hooks.example.com"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.fresh(tmp_path, PUBLIC_URL)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
