"""A real Chromium that watches itself: where it asked, and what it complained about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.product import Client, Product, eventually, running

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}
Open = Callable[..., "Watched"]
# On a machine with other work, too.
PATIENCE_MS = 40_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass(kw_only=True)
class Watched:
    """A page, all hosts it asked, and everything that its console said."""

    page: Page
    context: BrowserContext
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.context.on("request", lambda request: self._asked(request.url))
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "about"}:
            self.hosts.add(parts.hostname or parts.scheme)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type} on {self.page.url}: {message.text}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("product")) as product:
        yield product


@pytest.fixture(scope="module")
def client(product: Product) -> Client:
    return product.client()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """A fresh browser profile for each call; at the end none may have complained or gone out."""
    opened: list[Watched] = []

    def open_(**options: Any) -> Watched:
        context = browser.new_context(**{"viewport": WIDE, "color_scheme": "light", **options})
        context.set_default_timeout(PATIENCE_MS)
        watched = Watched(page=context.new_page(), context=context)
        watched.listen()
        opened.append(watched)
        return watched

    yield open_
    for watched in opened:
        watched.context.close()
        assert watched.hosts <= {"127.0.0.1"}, watched.hosts
        assert watched.complaints == []


@contextmanager
def focus_shown(watched: Watched) -> Iterator[None]:
    """Whatever happens inside leaves the focus on something a person can see."""
    yield
    assert watched.page.evaluate("document.activeElement.getClientRects().length > 0")


def sign_in(watched: Watched, product: Product) -> None:
    """By the one-time link; the button has the focus."""
    watched.page.goto(product.link())
    # The browser gives the focus with the first frame, which may come after the page has loaded.
    expect(watched.page.get_by_role("button", name="Sign in")).to_be_focused()
    watched.press("Enter")
    watched.page.wait_for_url(f"{product.url}/queue")


def demonstrate(product: Product, client: Client, cards: int = 4) -> None:
    """Run the demonstration and wait until its cards are there."""
    said = product.command("demo")
    assert said.returncode == 0, said.stdout + said.stderr
    eventually(lambda: client.get("/api/cards")["total"] >= cards)
