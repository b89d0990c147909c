from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, request
from playwright.sync_api import Browser, Page
from werkzeug.serving import WSGIRequestHandler, make_server

from shared.access import public, role


class Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class Site:
    """A real server with the foundation's pages and two of this test's own."""

    def __init__(self, office: Any) -> None:
        self.posts: list[dict[str, str]] = []
        self.polls = 0
        self.holds = threading.Event()
        self.holds.set()
        self.office = office
        name, web, _ = office.part
        office.part = (name, type(web)(blueprints=(*web.blueprints, self.pages)), None)
        office.app = office.build()
        self.server = make_server("127.0.0.1", 0, office.app, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.server.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pages(self, _: Any) -> Blueprint:
        blueprint = Blueprint("live", __name__)

        @blueprint.post("/seen")
        @role("approver", "admin")
        def seen() -> str:
            self.posts.append(request.form.to_dict())
            return "seen"

        @blueprint.get("/fragment/live")
        @public
        def live() -> str:
            self.holds.wait(10)
            self.polls += 1
            return f'<a href="#one">one</a> <span>{self.polls}</span>'

        @blueprint.get("/live")
        @role("approver")
        def page() -> str:
            from flask import render_template_string

            return render_template_string("""
              {% extends "layout.html" %}{% block main %}
              <div id="live" data-poll="/fragment/live" data-every="0.3"><a href="#one">one</a></div>
              <button data-needs="#late" id="waits">Approve</button>
              <div id="late" data-poll="/fragment/live" data-every="0">reading…</div>
              <form method="post" action="/seen">{{ csrf() }}<textarea name="note"></textarea>
                <button class="button primary" name="what" value="send">Send</button></form>
              <form method="post" action="/seen" data-auto hidden>{{ csrf() }}
                <input name="what" value="opened"></form>
              {% endblock %}""")

        return blueprint


@pytest.fixture
def site(make_office: Any, tmp_path: Path) -> Iterator[Site]:
    office = make_office(tmp_path, clock=lambda: datetime.now(UTC))
    office.people.add("Ada", roles=["approver", "admin"])
    made = Site(office)
    yield made
    made.server.shutdown()


def signed_in(site: Site, browser: Browser, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.goto(f"{site.url}/sign-in/{site.office.people.make_link('ada')}?next=/queue")
    page.click("button")
    page.wait_for_url("**/queue")
    return page


def test_signing_in_by_link_works_under_the_content_policy(site: Site, browser: Browser) -> None:
    faults: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{site.url}/sign-in/{site.office.people.make_link('ada')}?next=/queue")
    page.click("button")
    page.wait_for_url("**/queue")
    page.wait_for_load_state("networkidle")
    assert faults == []
    assert page.evaluate("document.querySelector('.brand .icon').getBoundingClientRect().width") > 0
    assert page.title().startswith("(12) ")


def test_the_list_is_worked_by_keyboard(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser)
    at = "document.activeElement.closest('[data-item]')?.id"
    for key, expected in (("j", "row-2"), ("j", "row-3"), ("j", "row-3"), ("k", "row-2")):
        page.keyboard.press(key)
        assert page.evaluate(at) == expected
    page.keyboard.press("Enter")
    assert page.url.endswith("#2")


def test_no_shortcut_fires_while_typing_or_with_a_modifier(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser)
    page.evaluate(
        """() => { window.hits = []; document.querySelectorAll('[data-key]').forEach(
        (one) => one.addEventListener('click', (event) => {
          window.hits.push(one.dataset.key); event.preventDefault(); })); }"""
    )
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.keyboard.press("/")
    assert page.evaluate("window.hits") == ["a", "r", "/"]
    page.fill("#f-comment", "")
    page.focus("#f-comment")
    page.keyboard.type("are we/?")
    page.locator("body").click(position={"x": 2, "y": 300})
    for chord in ("Control+a", "Alt+r", "Meta+a"):
        page.keyboard.press(chord)
    assert page.evaluate("window.hits") == ["a", "r", "/"]
    assert page.input_value("#f-comment") == "are we/?"
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("a")
    assert page.evaluate("window.hits") == ["a", "r", "/"]
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_fragments_refresh_themselves_without_moving_the_focus(
    site: Site, browser: Browser
) -> None:
    page = signed_in(site, browser)
    page.goto(f"{site.url}/live")
    page.focus("#live a")
    page.locator("#live span", has_text="4").wait_for()
    assert page.evaluate("document.activeElement.matches('#live a')")


def test_a_button_waits_for_what_it_needs_and_opening_is_told_once(
    site: Site, browser: Browser
) -> None:
    page = signed_in(site, browser)
    site.holds.clear()
    page.goto(f"{site.url}/live", wait_until="domcontentloaded")
    page.locator("#waits:disabled").wait_for()
    site.holds.set()
    page.locator("#waits:enabled").wait_for()
    told = [post for post in site.posts if post.get("what") == "opened"]
    assert len(told) == 1


def test_a_second_click_sends_no_second_decision(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser)
    page.goto(f"{site.url}/live")
    page.fill("textarea", "once")
    page.evaluate("const b = document.querySelector('button[name=what]'); b.click(); b.click();")
    page.wait_for_url("**/seen")
    assert [post["note"] for post in site.posts if "note" in post] == ["once"]


def test_control_enter_sends_the_form_with_its_button(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser)
    page.goto(f"{site.url}/live")
    page.fill("textarea", "by keyboard")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/seen")
    sent = [post for post in site.posts if "note" in post]
    assert [(post["note"], post["what"]) for post in sent] == [("by keyboard", "send")]


def test_the_chosen_theme_stays(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("[data-theme-toggle]")
    dark = page.evaluate(ground)
    assert dark != light
    page.goto(f"{site.url}/account")
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("path", ["/queue", "/people", "/account", "/people/ada", "/nowhere"])
def test_nothing_scrolls_sideways_on_a_phone(site: Site, browser: Browser, path: str) -> None:
    page = signed_in(site, browser, viewport={"width": 360, "height": 740})
    page.goto(f"{site.url}{path}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_everything_works_without_script(site: Site, browser: Browser) -> None:
    page = signed_in(site, browser, java_script_enabled=False)
    page.goto(f"{site.url}/people")
    page.fill("#f-name", "Grace Hopper")
    page.check("input[value=support]")
    page.click("text=Add and make a link")
    assert "/sign-in/" in page.inner_text(".copy-block pre")
    assert not page.is_visible("[data-copy]")
    page.click(".menu summary")
    page.click("text=Sign out")
    page.wait_for_url("**/sign-in")
    assert "You are signed out." in page.inner_text("main")
