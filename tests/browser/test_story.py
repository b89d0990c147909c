"""The stranger's story on the pages, by keyboard alone; then the same pages on a phone."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, Open, Watched, demonstrate, sign_in
from tests.product import Client, Product, somebody_is_faster

DANA = "dana.miller@example.com"
NEW_PHONE = "+12025550186"
EDITED = "+12025550194"


@pytest.fixture(scope="module", autouse=True)
def _empty_first(product: Product, client: Client) -> None:
    """The tests of this file tell one story, in their order."""
    assert client.get("/api/cards")["total"] == 0


def test_empty_pages_say_what_to_do(product: Product, open_page: Open) -> None:
    seen = open_page()
    sign_in(seen, product)
    for path, words in (
        ("/queue", "Nothing needs a decision"),
        ("/decided", "No cards here"),
        ("/look", "Nobody waits for you"),
        ("/drafts", "No drafts"),
        ("/search", "What happened to a customer?"),
        ("/search?q=nobody@example.org", "Nothing found"),
    ):
        seen.page.goto(product.url + path)
        expect(seen.page.locator("main")).to_contain_text(words)


def test_the_story_by_keyboard_alone(product: Product, client: Client, open_page: Open) -> None:
    demonstrate(product, client)
    seen = open_page()
    sign_in(seen, product)
    _approve_the_new_number(seen)
    _edit_one_field_and_approve(seen)
    _reject_with_a_reason(seen)
    _read_the_story(seen)
    assert product.crm(f"/api/search?email={DANA}")["results"][0]["fields"]["phone"] == NEW_PHONE
    [rosa] = product.crm("/api/search?email=rosa.delgado@example.com")["results"]
    assert rosa["fields"]["phone"] == EDITED


def _approve_the_new_number(seen: Watched) -> None:
    _open_row(seen, "Dana Miller")
    card = seen.page.locator("main")
    expect(card.locator("mark").first).to_contain_text("555")
    _wait_for_now(seen.page)
    for words in ("+12025550101", NEW_PHONE):
        expect(card).to_contain_text(words)
    seen.press("a")
    expect(card).to_contain_text("Written and read back")
    expect(card.locator("td[data-label='Read back']").first).to_contain_text(NEW_PHONE)


def _edit_one_field_and_approve(seen: Watched) -> None:
    """From card to card by ``j``."""
    for _ in range(10):
        _next_card(seen)
        if seen.page.locator("[name='value.phone']").count() and _is_about(seen, "Rosa Delgado"):
            break
    _wait_for_now(seen.page)
    seen.press("e")
    field = seen.page.locator("[name='value.phone']")
    expect(field).to_be_focused()
    seen.press("Control+a")
    seen.type(EDITED)
    seen.press("Control+Enter")
    main = seen.page.locator("main")
    expect(main).to_contain_text("Written and read back")
    expect(main.locator("td[data-label='Read back']").first).to_contain_text(EDITED)


def _reject_with_a_reason(seen: Watched) -> None:
    _next_card(seen)
    _wait_for_now(seen.page)
    seen.press("r")
    comment = seen.page.locator("[name=comment]")
    expect(comment).to_be_focused()
    seen.press("Shift+Tab", "ArrowDown", "ArrowDown")
    expect(seen.page.locator("[name=reason]:checked")).to_have_value("not_asked_for")
    seen.press("Tab")
    seen.type("Nobody asked for this.")
    seen.press("Control+Enter")
    main = seen.page.locator("main")
    expect(main).to_contain_text("Rejected")
    expect(main).to_contain_text("Nobody asked for this.")


def _read_the_story(seen: Watched) -> None:
    seen.press("/")
    seen.page.wait_for_url("**/search")
    expect(seen.page.locator("#q")).to_be_focused()
    for _ in range(20):  # The index may be a moment behind the write.
        seen.press("Control+a")
        seen.type(DANA)
        seen.press("Enter")
        seen.page.wait_for_url("**/search?q=*")
        if seen.page.get_by_text("applied").count():
            break
        seen.page.wait_for_timeout(300)
        seen.press("/")
    seen.press("j", "Enter")
    seen.page.wait_for_url("**/stories/**")
    main = seen.page.locator("main")
    for words in ("Eight questions", "Step by step", "Everything that must be logged"):
        expect(main).to_contain_text(words)
    seen.press("?")
    expect(seen.page.locator("#keys")).to_be_visible()
    seen.press("Escape")
    expect(seen.page.locator("#keys")).to_be_hidden()


def test_on_a_phone_everything_fits_and_works(
    product: Product, client: Client, open_page: Open
) -> None:
    demonstrate(product, client, cards=2)
    seen = open_page(viewport=NARROW, has_touch=True, is_mobile=True, device_scale_factor=2)
    sign_in(seen, product)
    page = seen.page
    _expect_no_sideways(page)
    page.get_by_role("link", name=re.compile("Grace Whitfield")).first.tap()
    page.wait_for_url("**/cards/*")
    _wait_for_now(page)
    _expect_no_sideways(page)
    page.get_by_text("Edit", exact=True).first.tap()
    field = page.locator("[name^='value.']").first
    field.fill(f"{field.input_value()} B")
    _expect_no_sideways(page)
    page.get_by_role("button", name="Approve").tap()
    expect(page.locator("main")).to_contain_text("Written and read back")
    _expect_no_sideways(page)
    page.get_by_role("link", name="Next card").tap()
    _wait_for_now(page)
    page.get_by_text("Reject…").tap()
    page.get_by_label("Something else").check()
    page.get_by_role("button", name="Reject").tap()
    expect(page.locator("main")).to_contain_text("Rejected")
    for path in (
        "/queue",
        "/decided",
        "/look",
        "/search?q=grace",
        f"/ask?q={DANA}",
        "/status",
        "/status/dead",
        "/status/sources",
        "/status/sources/servicetitan",
        "/status/sources/hubspot/demo",
        "/people",
        "/account",
    ):
        page.goto(product.url + path)
        _expect_no_sideways(page)


def test_where_the_record_has_moved_reading_again_stands_in_the_place_of_approving(
    product: Product, client: Client, open_page: Open
) -> None:
    demonstrate(product, client, cards=2)
    row = next(row for row in client.get("/api/cards")["rows"] if row["kind"] != "draft")
    somebody_is_faster(product, row)
    seen = open_page()
    sign_in(seen, product)
    seen.page.goto(f"{product.url}/cards/{row['id']}")
    main = seen.page.locator("main")
    expect(main).to_contain_text("The record has changed since this was proposed")
    expect(seen.page.get_by_role("button", name="Approve")).to_be_hidden()
    again = seen.page.get_by_role("button", name="Read again")
    expect(again).to_be_visible()
    seen.press("a")
    expect(main).to_contain_text("Read again. This card shows the values of now.")
    _wait_for_now(seen.page)


def test_a_person_asks_about_a_customer_by_keyboard(product: Product, open_page: Open) -> None:
    seen = open_page()
    sign_in(seen, product)
    seen.page.goto(f"{product.url}/ask")
    expect(seen.page.locator("#q")).to_be_focused()
    seen.type(DANA)
    seen.press("Enter")
    seen.page.wait_for_url("**/ask?q=*")
    seen.page.get_by_role("button", name="Reply draft").first.press("Enter")
    seen.page.wait_for_url("**/ask/*")
    main = seen.page.locator("main")
    expect(main).to_contain_text("Hello Dana")
    for words in ("never sent by itself", "Summary", "Next steps", "by the rules"):
        expect(main).to_contain_text(words)


def test_an_admin_opens_an_endpoint_and_sees_its_test_arrive_by_keyboard(
    product: Product, client: Client, open_page: Open
) -> None:
    seen = open_page()
    sign_in(seen, product)
    seen.page.goto(f"{product.url}/status/sources/zapier")
    seen.page.get_by_label("Name").focus()
    seen.type("by-keyboard")
    seen.press("Enter")
    main = seen.page.locator("main")
    expect(main).to_contain_text("The secret is shown this once")
    token = seen.page.locator(".copy-block pre").nth(1).inner_text()
    seen.page.get_by_role("link", name="Then test it").press("Enter")
    expect(main).to_contain_text("Waiting for a request")
    url = f"{product.url}/hooks/zapier/by-keyboard"
    requests.post(url, json={"id": "1"}, headers={"X-Ingest-Token": "wrong"}, timeout=40)
    expect(main).to_contain_text("A request came and was refused")
    seen.press("t")
    expect(main).to_contain_text("Waiting for a request")
    requests.post(url, json={"id": "1"}, headers={"X-Ingest-Token": token}, timeout=40)
    expect(main).to_contain_text("It works: a request was verified and kept")
    assert token not in seen.page.content()


def test_dark_is_dark_and_can_be_read(product: Product, client: Client, open_page: Open) -> None:
    seen = open_page(color_scheme="dark")
    sign_in(seen, product)
    for path in ("/queue", "/search", "/status"):
        seen.page.goto(product.url + path)
        ground, text = seen.page.evaluate(
            "() => { const of = (c) => c.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0);"
            " const style = getComputedStyle(document.body);"
            " return [of(style.backgroundColor), of(style.color)]; }"
        )
        assert ground < 120, path
        assert text > 500, path


def test_every_page_is_quiet_and_stays_at_home(
    product: Product, client: Client, open_page: Open
) -> None:
    """No script or policy error, no request to another host: the fixture judges at the end."""
    seen = open_page()
    sign_in(seen, product)
    for path in _all_paths(client):
        answer = seen.page.goto(product.url + path)
        assert answer is not None
        assert answer.ok, path
        seen.page.wait_for_load_state("networkidle")
        _expect_one_heading(seen.page, path)


def _all_paths(client: Client) -> list[str]:
    decided = client.get("/api/cards", tab="decided")["rows"]
    pending = client.get("/api/cards")["rows"]
    look = client.get("/api/worklist")["items"]
    drafts = client.get("/api/drafts", state="all")["items"]
    return [
        *("/queue", "/queue?tab=waiting", "/queue?tab=expired", "/decided", "/look", "/drafts"),
        *(f"/cards/{row['id']}" for row in [*decided, *pending]),
        *(f"/stories/{row['event_id']}" for row in decided[:2]),
        *(f"/look/{row['event_id']}" for row in look[:2]),
        *(f"/drafts/{row['change_id']}" for row in drafts),
        *(
            "/search",
            f"/search?q={DANA}",
            "/search?q=person:&after=2026-01-01",
            "/entries/0",
            "/log",
        ),
        *("/ask", f"/ask?q={DANA}", "/ask?record=demo/contacts/1001"),
        *(f"/ask/{row['id']}" for row in client.get("/api/asks")["items"]),
        *("/status", "/status/dead", "/status/sources", "/status/sources/hubspot"),
        *("/status/sources/hubspot/demo", "/policy", "/people", "/people/admin", "/account"),
    ]


def _open_row(seen: Watched, words: str) -> None:
    """``j`` until the row with these words has the focus, then Enter."""
    seen.page.wait_for_selector("[data-item]")
    for _ in range(seen.page.locator("[data-item]").count()):
        seen.press("j")
        if words in seen.page.evaluate("document.activeElement.textContent"):
            seen.press("Enter")
            seen.page.wait_for_url("**/cards/*")
            return
    raise AssertionError(f"no row says {words}")


def _next_card(seen: Watched) -> None:
    here = seen.page.url
    seen.press("j")
    seen.page.wait_for_url(lambda url: url != here and "/cards/" in url)


def _is_about(seen: Watched, name: str) -> bool:
    return name in seen.page.locator("main").inner_text()


def _wait_for_now(page: Page) -> None:
    """The live values are shown, so that the card can be approved."""
    expect(page.locator("#now")).not_to_contain_text("reading…")
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()


def _expect_no_sideways(page: Page) -> None:
    wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], (page.url, wide)


def _expect_one_heading(page: Page, path: str) -> None:
    assert page.locator("h1").count() == 1, path
