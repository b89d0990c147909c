from __future__ import annotations

import html
import re

import pytest
import requests

from tests.fakes.crm_fixtures import Crm

SAME = {"Sec-Fetch-Site": "same-origin"}
PAGES = ["/contacts", "/contacts?q=bakery", "/contacts?q=zzz", "/contacts/1001", "/contacts/1001/edit", "/deals",
         "/deals/5001", "/deals/5001/edit", "/drafts", "/nothing", "/contacts/7"]  # fmt: skip


def post(
    crm: Crm, path: str, form: dict[str, str], headers: dict[str, str] | None = None
) -> requests.Response:
    return crm.session.post(
        crm.url + path, data=form, headers=headers or {}, timeout=5, allow_redirects=False
    )


def form_of(crm: Crm, path: str) -> dict[str, str]:
    """The form as a browser would send it untouched."""
    text = crm.session.get(crm.url + path, timeout=5).text
    pairs = re.findall(r'name="(version|was-\w+)" value="([^"]*)"', text)
    hidden = {name: html.unescape(value) for name, value in pairs}
    return hidden | {name[4:]: value for name, value in hidden.items() if name.startswith("was-")}


def page(crm: Crm, path: str) -> str:
    return crm.session.get(crm.url + path, timeout=5).text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_the_banner_and_nothing_inline(crm: Crm, path: str) -> None:
    text = page(crm, path)
    assert "an outside system with sample data" in text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", text)
    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', text)


def test_reading_a_page_changes_nothing(crm: Crm) -> None:
    before = crm.app.store.all("contacts")
    for path in PAGES:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert crm.session.request(method, crm.url + path, timeout=5).status_code < 500
    assert crm.app.store.all("contacts") == before


def test_the_list_finds_by_every_word(crm: Crm) -> None:
    assert "Dana Miller" in page(crm, "/contacts?q=bakery+dana")
    assert "Nothing matches" in page(crm, "/contacts?q=bakery+hartley")
    assert "Miller roof" in page(crm, "/deals?q=10234")
    assert "Miller roof" in page(crm, "/deals?q=dana")


def test_a_person_edits_a_field_and_the_history_names_them(crm: Crm) -> None:
    form = form_of(crm, "/contacts/1001/edit")
    answer = post(crm, "/contacts/1001/edit", form | {"phone": "+12025550177"}, SAME)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/contacts/1001")
    record = crm.app.store.get("contacts", "1001")
    assert (record.fields["phone"], record.version, record.changed_by) == (
        "+12025550177",
        2,
        "You, in the CRM",
    )
    newest = crm.app.store.history("contacts", "1001")[0]
    assert (newest.field, newest.old, newest.author, newest.change_id) == (
        "phone", "+12025550101", "You, in the CRM", None,
    )  # fmt: skip


def test_an_untouched_form_writes_nothing(crm: Crm) -> None:
    for path in ("/contacts/1001/edit", "/contacts/1008/edit", "/deals/5001/edit"):
        assert post(crm, path, form_of(crm, path), SAME).status_code == 303
        assert crm.app.store.get(path.split("/")[1], path.split("/")[2]).version == 1


def test_a_person_may_write_money_and_consent_and_clear_a_field(crm: Crm) -> None:
    form = form_of(crm, "/contacts/1001/edit")
    changed = {"credit_limit": "20000.00", "marketing_consent": "no", "company": ""}
    assert post(crm, "/contacts/1001/edit", form | changed, SAME).status_code == 303
    fields = crm.app.store.get("contacts", "1001").fields
    assert (fields["credit_limit"], fields["marketing_consent"], fields["company"]) == (
        "20000.00",
        False,
        None,
    )


def test_a_form_older_than_the_record_comes_back_with_what_was_typed(crm: Crm) -> None:
    form = form_of(crm, "/contacts/1001/edit") | {"phone": "+12025550177"}
    crm.patch("/api/contacts/1001", {"city": "Olney"})
    answer = post(crm, "/contacts/1001/edit", form, SAME)
    assert answer.status_code == 412
    assert "+12025550177" in answer.text
    # The other side's newer value stays: the form offers it, not the one from before.
    assert 'value="Olney"' in answer.text
    assert 'value="Rockville"' not in answer.text
    assert crm.app.store.get("contacts", "1001").version == 2


def test_a_wrong_value_comes_back_with_the_reason(crm: Crm) -> None:
    form = form_of(crm, "/contacts/1001/edit") | {"email": "nobody"}
    answer = post(crm, "/contacts/1001/edit", form, SAME)
    assert answer.status_code == 422
    assert "email is not a valid email" in answer.text
    assert post(crm, "/contacts/1001/edit", form | {"version": "x"}, SAME).status_code == 400


def test_a_note_of_a_person_is_shown_as_text(crm: Crm) -> None:
    text = "<script>alert(1)</script> & 'quotes'\nsecond line"
    assert post(crm, "/contacts/1001/notes", {"text": text}, SAME).status_code == 303
    shown = page(crm, "/contacts/1001")
    assert "<script>" not in shown
    assert html.escape(text).split("\n")[0] in shown.replace("&#34;", "&quot;").replace(
        "&#39;", "&#x27;"
    )
    assert post(crm, "/contacts/1001/notes", {"text": "  "}, SAME).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
     {"Origin": "https://evil.example"}, {"Origin": "null"},
     {"Origin": "SELF", "Sec-Fetch-Site": "cross-site"}],
)  # fmt: skip
def test_a_form_from_another_site_is_refused(crm: Crm, headers: dict[str, str]) -> None:
    sent = {name: crm.url if value == "SELF" else value for name, value in headers.items()}
    form = form_of(crm, "/contacts/1001/edit") | {"city": "Elsewhere"}
    assert post(crm, "/contacts/1001/edit", form, sent).status_code == 403
    assert post(crm, "/contacts/1001/notes", {"text": "x"}, sent).status_code == 403
    assert crm.app.store.get("contacts", "1001").version == 1


def test_a_browser_without_fetch_metadata_is_known_by_its_origin(crm: Crm) -> None:
    assert post(crm, "/contacts/1001/notes", {"text": "x"}, {"Origin": crm.url}).status_code == 303


def test_pages_answer_to_their_own_host_name_only(crm: Crm) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        answer = crm.session.get(crm.url + "/contacts", headers={"Host": host}, timeout=5)
        assert answer.status_code in {400, 421}
        assert "Dana" not in answer.text


def test_values_written_by_countersign_are_marked_with_their_change(crm: Crm) -> None:
    crm.patch(
        "/api/contacts/1001", {"phone": "+12025550166"}, "3f1c9a52-7b1e-5d0a-8d3b-1c2b3a4d5e6f"
    )
    shown = page(crm, "/contacts/1001")
    assert shown.count("field-integration") == 1
    assert "change 3f1c9a52" in shown
    assert "3f1c9a52-7b1e-5d0a-8d3b-1c2b3a4d5e6f" in shown


def test_drafts_show_likely_duplicates_and_their_change(crm: Crm) -> None:
    fields = {"first_name": "Dana", "last_name": "Millar", "company": "Miller Bakery Ltd"}
    crm.call("POST", "/api/drafts", {"type": "contacts", "fields": fields, "change_id": "run-5"})
    shown = page(crm, "/drafts")
    assert "similar name and company: Miller Bakery" in shown
    assert "run-5" in shown
    assert "Dana Millar" not in page(crm, "/contacts")
    assert crm.session.get(crm.url + "/drafts/9001", timeout=5).url.endswith("/drafts#draft-9001")
