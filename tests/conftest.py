"""What all tests share: their order, and one Chromium, since one process drives one playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Few tests that take long each: begun last they would keep one process busy, and the other waiting.
# The faults and the stores' suite of the contracts both load PostgreSQL: far from each other.
LONG = ("faults", "hostile", "backup", "journey", "operations", "browser", "bench", "contracts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    return LONG.index(folder) if folder in LONG else len(LONG)


def chromium_path() -> str:
    """Where Chromium is. In CI a machine without one fails; elsewhere the tests say so and rest."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail("no chromium on this machine: .ci/run installs it")
    pytest.skip("no chromium on this machine")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        yield browser
        browser.close()
