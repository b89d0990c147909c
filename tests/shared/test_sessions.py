from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.sessions import SignInPace, form_token

Csrf = Callable[[str], str]
SAME = {"Sec-Fetch-Site": "same-origin"}


def cookie_of(answer: Any) -> str:
    return next(line for line in answer.headers.getlist("Set-Cookie") if "countersign=" in line)


def store_digest(office: Any) -> tuple[bytes, list[Any]]:
    with office.sessions.engine.connect() as db:
        rows = [tuple(row) for row in db.exec_driver_sql("select * from sessions order by hash")]
        tries = [tuple(row) for row in db.exec_driver_sql("select * from sign_in_failures")]
    return office.people.path.read_bytes(), [rows, tries]


def test_a_link_shows_a_button_and_only_posting_signs_in(office: Any) -> None:
    secret = office.people.make_link("approver")
    scanner = office.app.test_client()
    before = store_digest(office)
    for method in ("GET", "HEAD", "OPTIONS"):
        scanner.open(f"/sign-in/{secret}", method=method)
    assert store_digest(office) == before
    assert scanner.get("/queue").status_code != 200
    assert "<button" in scanner.get(f"/sign-in/{secret}").text
    answer = office.app.test_client().post(f"/sign-in/{secret}")
    assert answer.status_code == 303
    assert office.opened == [("approver", "link")]


def test_a_link_signs_one_browser_in_however_many_try_at_once(office: Any) -> None:
    secret = office.people.make_link("approver")
    answers: list[int] = []

    def attempt() -> None:
        answers.append(office.app.test_client().post(f"/sign-in/{secret}").status_code)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [303] + [410] * 7


def test_a_late_or_used_link_says_so(office: Any) -> None:
    secret = office.people.make_link("approver")
    office.clock.forward(minutes=16)
    answer = office.app.test_client().get(f"/sign-in/{secret}")
    assert answer.status_code == 410
    assert "used up" in answer.text


def test_cookies_are_bound_to_the_host_on_https_and_only_there(
    make_office: Any, tmp_path: Any
) -> None:
    for url, name, secure in (
        ("https://crm.example", "__Host-countersign", True),
        ("http://localhost", "countersign", False),
    ):
        folder = tmp_path / name
        folder.mkdir()
        office = make_office(folder, public_url=url)
        office.people.add("Ada", roles=["approver"])
        secret = office.people.make_link("ada")
        line = cookie_of(office.app.test_client().post(f"/sign-in/{secret}", base_url=url))
        assert line.startswith(f"{name}=")
        assert ("; Secure" in line) is secure
        for part in ("; HttpOnly", "; SameSite=Strict", "; Path=/"):
            assert part in line
        assert "Domain" not in line


def test_a_cookie_planted_before_sign_in_is_worth_nothing_after(office: Any) -> None:
    client = office.app.test_client()
    client.set_cookie("countersign", "planted-by-somebody")
    office.sign_in("approver", client)
    assert client.get_cookie("countersign").value != "planted-by-somebody"
    thief = office.app.test_client()
    thief.set_cookie("countersign", "planted-by-somebody")
    assert thief.get("/account").status_code == 303


def test_signing_in_again_ends_the_session_before(office: Any) -> None:
    client = office.sign_in("approver")
    old = client.get_cookie("countersign").value
    office.sign_in("approver", client)
    other = office.app.test_client()
    other.set_cookie("countersign", old)
    assert other.get("/account").status_code == 303


def test_tokens_are_long_random_and_stored_as_digests(office: Any) -> None:
    tokens = {office.sign_in("approver").get_cookie("countersign").value for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) >= 43 for token in tokens)  # 256 bits in base64.
    stored = repr(store_digest(office))
    assert not [token for token in tokens if token in stored]


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(
    office: Any, csrf_of: Csrf
) -> None:
    client = office.sign_in("approver")
    copy = office.app.test_client()
    copy.set_cookie("countersign", client.get_cookie("countersign").value)
    token = csrf_of(client.get("/account").text)
    assert client.post("/sign-out", data={"csrf": token}).status_code == 303
    assert client.get_cookie("countersign") is None
    assert copy.get("/account").status_code == 303


def test_a_disabled_person_is_out_at_once_and_their_open_page_decides_nothing(
    office: Any, csrf_of: Csrf
) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/queue").text)
    bearer = {"Authorization": f"Bearer {office.people.make_token('approver', 'x')}"}
    assert client.post("/decide", data={"csrf": token}).status_code == 200
    assert office.app.test_client().post("/api/decide", headers=bearer).status_code == 200
    office.people.disable("approver")
    assert client.post("/decide", data={"csrf": token}).status_code == 401
    assert office.app.test_client().post("/api/decide", headers=bearer).status_code == 401
    office.clock.forward(seconds=1)
    office.people.enable("approver")
    assert client.get("/queue").status_code == 303, "an old session came back to life"
    assert office.sign_in("approver").get("/queue").status_code == 200


def test_disabling_by_hand_in_the_file_acts_at_once_too(office: Any) -> None:
    client = office.sign_in("approver")
    head, mark, rest = office.people.path.read_text().partition('id = "approver"')
    by_hand = head + mark + rest.replace("disabled = false", "disabled = true", 1)
    office.people.path.write_text(by_hand)
    assert client.get("/queue").status_code == 303


def test_a_role_taken_away_counts_at_the_next_request(office: Any) -> None:
    client = office.sign_in("approver")
    assert client.get("/queue").status_code == 200
    office.people.set_roles("approver", ["support"])
    assert client.get("/queue").status_code == 403


def test_sessions_end_by_idling_and_by_age(office: Any) -> None:
    client = office.sign_in("approver")
    for _ in range(3):
        office.clock.forward(hours=7)
        assert client.get("/queue").status_code == 200
    office.clock.forward(hours=4)
    assert client.get("/queue").status_code == 303, "older than a day"
    idle = office.sign_in("approver")
    office.clock.forward(hours=8)
    assert idle.get("/queue").status_code == 303, "idle for eight hours"


def test_one_session_or_all_can_be_ended_from_the_account_page(office: Any, csrf_of: Csrf) -> None:
    here, there = office.sign_in("approver"), office.sign_in("approver")
    page = here.get("/account").text
    other = re.search(r"/account/sessions/(\w+)/end", page)
    assert other
    here.post(other[0], data={"csrf": csrf_of(page)})
    assert there.get("/queue").status_code == 303
    assert here.get("/queue").status_code == 200
    here.post("/account/sign-out-everywhere", data={"csrf": csrf_of(page)})
    assert here.get("/queue").status_code == 303


def test_nobody_ends_the_session_of_somebody_else(office: Any, csrf_of: Csrf) -> None:
    victim, other = office.sign_in("approver"), office.sign_in("support")
    (session,) = office.sessions.of("approver")
    token = csrf_of(other.get("/account").text)
    other.post(f"/account/sessions/{session.id}/end", data={"csrf": token})
    assert victim.get("/queue").status_code == 200


CROSS_SITE: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("a plain form", {"Sec-Fetch-Site": "cross-site"}, {"data": {}}),
    ("a form from a neighbour host", {"Sec-Fetch-Site": "same-site"}, {"data": {}}),
    ("a stolen token, but another site", {"Sec-Fetch-Site": "cross-site"}, {"token": True}),
    ("a neighbour with a token", {"Sec-Fetch-Site": "same-site"}, {"token": True}),
    ("an old browser with an origin", {"Origin": "https://evil.example"}, {"token": True}),
    ("an origin that only begins like ours", {"Origin": "http://localhost.evil"}, {"token": True}),
    ("another port", {"Origin": "http://localhost:81"}, {"token": True}),
    ("a sandboxed frame", {"Origin": "null"}, {"data": {}}),
    ("no token", SAME, {"data": {}}),
    ("an empty token", SAME, {"data": {"csrf": ""}}),
    ("somebody else's token", SAME, {"data": {"csrf": form_token("other session", "")}}),
    ("a token in the address", SAME, {"data": {}, "in_query": True}),
    ("JSON as text", {}, {"data": '{"a":1}', "content_type": "text/plain"}),
    ("JSON with a cookie only", {}, {"json": {}}),
    ("a multipart form", {}, {"data": {"a": "b"}, "content_type": "multipart/form-data"}),
    (
        "a token that is no text",
        SAME,
        {"data": {"csrf": "\udcff\u1234".encode("utf-16", "replace")}},
    ),
]


@pytest.mark.parametrize(("what", "headers", "more"), CROSS_SITE, ids=[c[0] for c in CROSS_SITE])
def test_no_form_of_another_site_decides(
    office: Any, csrf_of: Csrf, what: str, headers: dict[str, str], more: dict[str, Any]
) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/queue").text)
    more = dict(more)
    if more.pop("token", False):
        more["data"] = {"csrf": token}
    path = f"/decide?csrf={token}" if more.pop("in_query", False) else "/decide"
    answer = client.post(path, headers=headers, **more)
    assert answer.status_code == 403, what
    assert b'"by"' not in answer.data


def test_our_own_form_decides_with_every_browser(office: Any, csrf_of: Csrf) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/queue").text)
    for headers in (
        SAME,
        {},
        {"Origin": "http://localhost"},
        {"Origin": "null"},  # What our own pages send, for they have no-referrer.
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    ):
        assert client.post("/decide", data={"csrf": token}, headers=headers).status_code == 200
    header = {"X-CSRF-Token": token}
    assert client.post("/api/decide", json={}, headers=header).status_code == 200


def test_a_form_token_dies_with_its_session(office: Any, csrf_of: Csrf) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/queue").text)
    office.sign_in("approver", client)
    assert client.post("/decide", data={"csrf": token}).status_code == 403


def test_a_form_made_for_one_card_decides_no_other(office: Any) -> None:
    client = office.sign_in("approver")
    session = client.get_cookie("countersign").value
    form = {"csrf": form_token(session, "card-1"), "csrf_subject": "card-1"}
    assert client.post("/decide/card-1", data=form).status_code == 200
    assert client.post("/decide/card-2", data=form).status_code == 403
    forged = {"csrf": form_token(session, "card-1"), "csrf_subject": "card-2"}
    assert client.post("/decide/card-2", data=forged).status_code == 403
    plain = {"csrf": form_token(session, "")}
    assert client.post("/decide/card-2", data=plain).status_code == 403


def test_another_site_cannot_sign_a_visitor_in_as_somebody(office: Any) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        secret = office.people.make_link("approver")
        client = office.app.test_client()
        assert client.post(f"/sign-in/{secret}", headers=headers).status_code == 403
        assert client.get_cookie("countersign") is None


def test_an_api_token_acts_for_its_person_and_needs_no_form_token(office: Any) -> None:
    token = office.people.make_token("approver", "export")
    client = office.app.test_client()
    for path in ("/api/decide", "/decide"):
        answer = client.post(path, headers={"Authorization": f"Bearer {token}"})
        assert answer.get_json() == {"by": "approver", "level": "token"}
    for wrong in (f"Bearer {token}0", f"Basic {token}", "Bearer", "Bearer cs_x_y", "Bearer é"):
        answer = client.post("/api/decide", headers={"Authorization": wrong})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_wrong_token_is_not_mended_by_a_cookie(office: Any) -> None:
    client = office.sign_in("approver")
    answer = client.post("/decide", headers={"Authorization": "Bearer cs_x_y"})
    assert answer.status_code == 401


def test_a_token_makes_no_tokens_and_no_passwords(office: Any) -> None:
    bearer = {"Authorization": f"Bearer {office.people.make_token('approver', 'x')}"}
    client = office.app.test_client()
    for path, form in (("tokens", {"name": "y"}), ("password", {"password": "long enough"})):
        assert client.post(f"/account/{path}", data=form, headers=bearer).status_code == 403


def test_a_link_from_a_mail_lands_on_a_page_that_goes_on_same_site(office: Any) -> None:
    stranger = office.app.test_client()
    answer = stranger.get("/queue?tab=a&x=%22", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/queue?tab=a&amp;x=%22"' in answer.text
    assert "Miller" not in answer.text
    second = stranger.get("/queue", headers={"Sec-Fetch-Site": "same-origin"})
    assert second.status_code == 303
    assert second.headers["Location"] == "/sign-in?next=/queue"


def test_a_person_goes_on_to_the_page_they_wanted(office: Any) -> None:
    office.people.set_password("approver", "correct horse battery")
    client = office.app.test_client()
    form = {"name": "approver", "password": "correct horse battery", "next": "/queue?tab=b"}
    assert client.post("/sign-in", data=form).headers["Location"] == "/queue?tab=b"
    assert office.opened == [("approver", "password")]
    form["next"] = "//evil.example/"
    assert client.post("/sign-in", data=form).headers["Location"] == "/"


def test_unknown_disabled_and_wrong_answer_the_same(office: Any) -> None:
    office.people.set_password("approver", "correct horse battery")
    office.people.set_password("support", "correct horse battery")
    office.people.disable("support")
    answers = set()
    for name, password in (
        ("approver", "wrong password"),
        ("nobody", "wrong password"),
        ("auditor", "wrong password"),
        ("support", "correct horse battery"),
    ):
        client = office.app.test_client()
        answer = client.post(
            "/sign-in",
            data={"name": name, "password": password},
            environ_base={"REMOTE_ADDR": f"192.0.2.{len(name)}"},
        )
        answers.add((answer.status_code, answer.text.replace(f'value="{name}"', "")))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401


def test_guessing_is_slowed_and_nobody_else_is_locked_out(office: Any) -> None:
    pace = SignInPace(engine=office.sessions.engine, clock=office.clock)
    allowed = 0
    for _ in range(100):
        if pace.wait("approver", "192.0.2.1") == 0:
            allowed += 1
            pace.failed("approver", "192.0.2.1")
        office.clock.forward(seconds=1)
    assert allowed < 15, "a hundred tries in as many seconds"
    assert pace.wait("support", "192.0.2.9") == 0, "another person from elsewhere"
    assert pace.wait("approver", "192.0.2.9") <= 5, "the person themselves from elsewhere"
    assert office.sign_in("approver").get("/queue").status_code == 200, "a link is never slowed"
    office.clock.forward(hours=1)
    pace.failed("x", "192.0.2.2")
    assert pace.wait("approver", "192.0.2.1") == 0


def test_the_slowed_answer_says_how_long(office: Any) -> None:
    client = office.app.test_client()
    form = {"name": "nobody", "password": "wrong password"}
    codes = [client.post("/sign-in", data=form).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    answer = client.post("/sign-in", data=form)
    assert int(answer.headers["Retry-After"]) >= 1


def test_getting_changes_nothing_on_any_page(office: Any) -> None:
    client = office.sign_in("admin")
    paths = [
        str(rule)
        for rule in office.app.url_map.iter_rules()
        if "GET" in (rule.methods or set()) and not rule.arguments
    ]
    before, changes = store_digest(office), list(office.changes)
    for path in [*paths, "/people/support", "/people/nobody", "/sign-in/unknown"]:
        for method in ("GET", "HEAD", "OPTIONS"):
            client.open(path, method=method)
    assert store_digest(office) == before
    assert office.changes == changes
    assert len(paths) > 10


def test_the_people_page_and_its_api_do_the_same(office: Any, csrf_of: Csrf) -> None:
    client = office.sign_in("admin")
    token = csrf_of(client.get("/people").text)
    page = client.post(
        "/people", data={"csrf": token, "name": "Eve", "email": "", "roles": ["support"]}
    )
    assert page.status_code == 201
    secret = re.search(r"http://localhost/sign-in/([\w-]+)", page.text)
    assert secret
    assert office.people.take_link(secret[1]).id == "eve"
    bearer = {"Authorization": f"Bearer {office.people.make_token('admin', 'x')}"}
    api = office.app.test_client()
    made = api.post("/api/people", json={"name": "Max", "roles": ["auditor"]}, headers=bearer)
    assert made.status_code == 201
    assert made.get_json()["person"]["id"] == "max"
    assert made.get_json()["link"].startswith("http://localhost/sign-in/")
    roles = api.post("/api/people/max/roles", json={"roles": ["support"]}, headers=bearer)
    assert roles.get_json()["person"]["roles"] == ["support"]
    names = [one["id"] for one in api.get("/api/people", headers=bearer).get_json()["people"]]
    assert {"eve", "max"} <= set(names)
    own = api.post("/api/people/admin/roles", json={"roles": ["approver"]}, headers=bearer)
    assert own.status_code == 403
    unknown = api.post("/api/people", json={"name": "A", "roles": ["boss"]}, headers=bearer)
    assert unknown.status_code == 422
    assert "boss" not in unknown.text
    extra = api.post("/api/people/max/disable", json={"x": 1}, headers=bearer)
    assert extra.status_code == 422
    assert api.post("/api/people/max/disable", json={}, headers=bearer).status_code == 200
    assert office.people.get("max").disabled
    assert api.post("/api/people/nobody/enable", json={}, headers=bearer).status_code == 404


def test_a_password_is_changed_with_the_old_one_or_after_a_link(office: Any, csrf_of: Csrf) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/account").text)
    form = {"csrf": token, "password": "correct horse battery"}
    assert client.post("/account/password", data=form).status_code == 303
    by_password = office.app.test_client()
    by_password.post("/sign-in", data={"name": "approver", "password": "correct horse battery"})
    token = csrf_of(by_password.get("/account").text)
    change = {"csrf": token, "password": "another long one", "current_password": "not it at all"}
    assert by_password.post("/account/password", data=change).status_code == 403
    change["current_password"] = "correct horse battery"
    assert by_password.post("/account/password", data=change).status_code == 303
    assert office.people.check_password("approver", "another long one")


def test_a_token_made_on_the_account_page_is_shown_once(office: Any, csrf_of: Csrf) -> None:
    client = office.sign_in("auditor")
    token = csrf_of(client.get("/account").text)
    page = client.post("/account/tokens", data={"csrf": token, "name": "export"}).text
    bearer = re.search(r"cs_[0-9a-f]{8}_[0-9a-f]{64}", page)
    assert bearer
    assert bearer[0] not in client.get("/account").text
    api = office.app.test_client()
    me = api.get("/api/account", headers={"Authorization": f"Bearer {bearer[0]}"})
    assert me.get_json()["id"] == "auditor"
    client.post(f"/account/tokens/{bearer[0].split('_')[1]}/drop", data={"csrf": token})
    gone = api.get("/api/account", headers={"Authorization": f"Bearer {bearer[0]}"})
    assert gone.status_code == 401
