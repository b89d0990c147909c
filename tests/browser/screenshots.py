"""Takes every page in every state, light and dark, wide and narrow, into ``screenshots/``.

Run it with ``python -m tests.browser.screenshots [name …]`` and look at what it made.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import requests
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from services.demonstration import posts, send
from shared.bus.publisher import Publisher
from tests.browser.conftest import NARROW, WIDE
from tests.conftest import ARGUMENTS
from tests.product import ROOT, Client, Product, eventually, running, somebody_is_faster

FOLDER = ROOT / "screenshots"
VIEWS: dict[str, dict[str, Any]] = {
    "light-wide": {"viewport": WIDE, "color_scheme": "light"},
    "dark-wide": {"viewport": WIDE, "color_scheme": "dark"},
    "light-phone": {"viewport": NARROW, "color_scheme": "light", "is_mobile": True},
    "dark-phone": {"viewport": NARROW, "color_scheme": "dark", "is_mobile": True},
}
NEW_PHONE = "+12025550186"


class Camera:
    """One signed-in browser profile per view."""

    def __init__(self, browser: Browser, product: Product, wanted: Sequence[str]) -> None:
        self._product = product
        self._wanted = wanted
        self._profiles = {name: browser.new_context(**view) for name, view in VIEWS.items()}
        for context in self._profiles.values():
            _sign_in(context, product)

    def shoot(self, name: str, path: str) -> None:
        """``path`` of the product, or a whole address."""
        if self._wanted and not any(name.startswith(wanted) for wanted in self._wanted):
            return
        for view, context in self._profiles.items():
            page = context.new_page()
            page.goto(path if "://" in path else self._product.url + path)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(150)
            page.screenshot(path=FOLDER / f"{name}--{view}.png", full_page=True)
            page.close()

    def submit(self, name: str, path: str, button: str) -> None:
        """What follows on a button of the page."""
        if self._wanted and not any(name.startswith(wanted) for wanted in self._wanted):
            return
        for view, context in self._profiles.items():
            page = context.new_page()
            page.goto(self._product.url + path)
            field = page.locator("[name=name]")
            if field.count():
                field.fill(view)
            page.get_by_role("button", name=button).click()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=FOLDER / f"{name}--{view}.png", full_page=True)
            page.close()


def _sign_in(context: BrowserContext, product: Product) -> None:
    page = context.new_page()
    page.goto(product.link())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/queue")
    page.close()


def main(wanted: Sequence[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="countersign-screens-"))
    with running(folder) as product, sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        camera, client = Camera(browser, product, wanted), product.client()
        _empty(camera)
        _outside(browser, product, camera)
        assert product.command("demo").returncode == 0
        eventually(lambda: client.get("/api/cards")["total"] >= 4)
        _pending(camera, product, client)
        _decided(camera, product, client)
        _around(camera, product, client)
        _crms(camera, product)
        _sources(camera, product, client)
        _dead(camera, product)
        _appended(camera, product, client)
        browser.close()
    shutil.rmtree(folder)


def _empty(camera: Camera) -> None:
    for name in ("queue", "decided", "look", "drafts", "search", "status", "log"):
        camera.shoot(f"{name}-empty", f"/{name}")
    camera.shoot("search-nothing", "/search?q=nobody@example.org")


def _outside(browser: Browser, product: Product, camera: Camera) -> None:
    """Pages of people who are not signed in."""
    link = product.link()
    for view, options in VIEWS.items():
        context = browser.new_context(**options)
        page = context.new_page()
        for name, address in (
            ("sign-in", f"{product.url}/sign-in"),
            ("sign-in-link", link),
            ("sign-in-link-used", f"{product.url}/sign-in/wrong"),
        ):
            page.goto(address)
            page.screenshot(path=FOLDER / f"{name}--{view}.png", full_page=True)
        context.close()


def _pending(camera: Camera, product: Product, client: Client) -> None:
    rows = {row["title"]: row for row in client.get("/api/cards")["rows"]}
    camera.shoot("queue-full", "/queue")
    for title, row in rows.items():
        short = title.lower().replace(" ", "-")[:24].strip("-")
        camera.shoot(f"card-pending-{short}", f"/cards/{row['id']}")
    first = f"/cards/{_card_of(client, NEW_PHONE)}"
    with _asleep(product, "demo-crm"):
        camera.shoot("card-now-unreachable", first)
    look = client.get("/api/worklist")["items"]
    camera.shoot("look-full", "/look")
    for number, row in enumerate(look[:3]):
        camera.shoot(f"item-{number}", f"/look/{row['event_id']}")


def _decided(camera: Camera, product: Product, client: Client) -> None:
    """One written, one stopped, one stale, one moved, one rejected, drafts."""
    rows = client.get("/api/cards")["rows"]
    drafts = [row for row in rows if row["kind"] == "draft"]
    phone = _card_of(client, NEW_PHONE)
    others = [row for row in rows if row["kind"] != "draft" and row["id"] != phone]
    _approve(client, phone)
    eventually(lambda: _change(client, phone) == "applied")
    camera.shoot("card-written", f"/cards/{phone}")
    client.post("/api/stop", reason="The CRM is being moved")
    _approve(client, others[0]["id"])
    eventually(lambda: _change(client, others[0]["id"]) == "intended")
    camera.shoot("card-held", f"/cards/{others[0]['id']}")
    camera.shoot("status-stopped", "/status")
    somebody_is_faster(product, others[0])
    somebody_is_faster(product, others[1])
    camera.shoot("card-moved", f"/cards/{others[1]['id']}")
    client.post("/api/resume", reason="It is back")
    eventually(lambda: _change(client, others[0]["id"]) == "stale")
    camera.shoot("card-stale", f"/cards/{others[0]['id']}")
    client.post(f"/api/cards/{others[1]['id']}/reject", reason="wrong_value", comment="Misread.")
    camera.shoot("card-rejected", f"/cards/{others[1]['id']}")
    for row in drafts:
        _approve(client, row["id"])
    [draft, *_] = eventually(lambda: client.get("/api/drafts")["items"])
    camera.shoot("drafts-full", "/drafts")
    camera.shoot("draft", f"/drafts/{draft['change_id']}")
    camera.shoot("decided-full", "/decided")


def _around(camera: Camera, product: Product, client: Client) -> None:
    hits = eventually(lambda: client.get("/api/search", q="dana.miller@example.com")["rows"])
    camera.shoot("search-hits", "/search?q=dana.miller@example.com")
    camera.shoot("search-problem", "/search?after=yesterday")
    camera.shoot("story", f"/stories/{hits[0]['chain']}")
    camera.shoot("entry", f"/entries/{hits[0]['seq']}")
    camera.shoot("ask-empty", "/ask")
    camera.shoot("ask-found", "/ask?q=dana.miller@example.com")
    asked = client.post("/api/asks", record="demo/contacts/1001", kind="reply").json()["id"]
    eventually(lambda: client.get(f"/api/asks/{asked}")["is_answered"])
    camera.shoot("ask-answered", f"/ask/{asked}")
    for name in ("log", "status", "policy", "people", "account", "people/admin", "status/sources"):
        camera.shoot(name.replace("/", "-"), f"/{name}")
    camera.shoot("error-not-found", "/cards/nothing-like-this")
    for name, path in (
        ("contacts", "/contacts"),
        ("contact", "/contacts/1001"),
        ("deals", "/deals"),
        ("drafts", "/drafts"),
    ):
        camera.shoot(f"crm-{name}", product.crm_url + path)


def _crms(camera: Camera, product: Product) -> None:
    """Before and after a survey; one field is on its way."""
    camera.shoot("crms", "/crms")
    camera.shoot("survey-empty", "/crms/demo/survey")
    file = product.home().policy
    text = file.read_text()
    title = '[fields.demo.contacts.job_title]\nmode = "review"\n'
    file.write_text(text.replace(title, title + 'stage = "dry-run"\n'))
    assert product.command("survey", "demo").returncode == 0
    time.sleep(3)  # The worker follows the policy file.
    camera.shoot("survey-full", "/crms/demo/survey")
    file.write_text(text)


def _sources(camera: Camera, product: Product, client: Client) -> None:
    """Each source's page, and endpoints that were used, refused, not set up, or wait for a test."""
    for name in ("servicetitan", "hubspot", "aws-sns"):
        camera.shoot(f"source-{name}", f"/status/sources/{name}")
    camera.shoot("endpoint-used", "/status/sources/hubspot/demo")
    client.post("/api/sources/jobber", name="acme")
    camera.shoot("endpoint-no-secret", "/status/sources/jobber/acme")
    client.post("/api/sources/zapier", name="acme")
    client.post("/api/sources/zapier/acme/rotate")
    camera.shoot("endpoint-waiting", "/status/sources/zapier/acme?since=2026-01-01T00:00:00Z")
    requests.post(f"{product.url}/hooks/zapier/acme", json={"id": 1}, timeout=5)
    camera.shoot("endpoint-refused", "/status/sources/zapier/acme?since=2026-01-01T00:00:00Z")
    camera.submit("endpoint-opened", "/status/sources/make", "Open the endpoint")


def _dead(camera: Camera, product: Product) -> None:
    camera.shoot("dead-empty", "/status/dead")
    publisher = Publisher(product.home().bus_url)
    for number, (queue, topic, reason) in enumerate(
        (
            ("classifier", "event.received", "CRMUnavailable: the CRM did not answer in 5 s"),
            ("classifier", "event.received", "bug: KeyError"),
            ("writer", "receipt.issued", "the process died while handling it (delivery_limit)"),
        )
    ):
        said = {"topic": topic, "chain": f"c-{number}", "at": "2026-11-27T10:00:00.000Z"}
        publisher.park(queue, str(uuid.uuid4()), json.dumps(said), reason)
    publisher.park("audit", "no-envelope", "<html>", "BadPayload: the message is no envelope")
    publisher.close()
    camera.shoot("dead-full", "/status/dead")
    camera.shoot("dead-filtered", "/status/dead?queue=writer")
    camera.submit("dead-dry-run", "/status/dead?queue=classifier", "Dry run")
    camera.shoot("status-dead", "/status")


def _appended(camera: Camera, product: Product, client: Client) -> None:
    """A note and a task, which the shipped policy closes: asked for, and written."""
    file = product.home().policy
    file.write_text(file.read_text().replace('mode = "never"', 'mode = "review"'))
    time.sleep(3)  # The workers follow the policy file.
    secrets = product.secrets()
    [mail] = [one for one in posts(secrets, "opened") if one.what == "A customer complains"]
    assert send(mail, base_url=product.url, public_url=product.url, secrets=secrets) == 200

    def cards() -> list[dict[str, Any]]:
        rows = client.get("/api/cards")["rows"]
        return [row for row in rows if row["kind"] in {"note", "task"}]

    for row in eventually(lambda: cards() if len(cards()) == 2 else None):
        camera.shoot(f"card-{row['kind']}-pending", f"/cards/{row['id']}")
        _approve(client, row["id"])
        eventually(partial(_is_applied, client, row["id"]))
        camera.shoot(f"card-{row['kind']}-written", f"/cards/{row['id']}")
    record = row["record"].removeprefix("demo/")
    camera.shoot("crm-contact-with-task", f"{product.crm_url}/{record}")


@contextmanager
def _asleep(product: Product, name: str) -> Iterator[None]:
    """A process of the tree that does not answer."""
    [victim] = [child for child in product.children() if child.name() == name]
    victim.suspend()
    try:
        yield
    finally:
        victim.resume()
        assert victim.status() != psutil.STATUS_STOPPED


def _card_of(client: Client, value: str) -> str:
    rows = client.get("/api/cards")["rows"]
    return next(row["id"] for row in rows if any(f["after"] == value for f in row["fields"]))


def _approve(client: Client, card: str) -> None:
    digest = client.get(f"/api/cards/{card}/now")["card_digest"]
    answer = client.post(f"/api/cards/{card}/approve", card_digest=digest)
    assert answer.ok, answer.text


def _is_applied(client: Client, card: str) -> bool:
    return _change(client, card) == "applied"


def _change(client: Client, card: str) -> str | None:
    change = client.get(f"/api/cards/{card}")["change"]
    return change["state"] if change else None


if __name__ == "__main__":
    main(sys.argv[1:])
