from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint
from structlog.testing import capture_logs

from shared.access import local_path, public, role
from shared.display import changed_parts, visible
from shared.errors import ConfigurationError, StoreUnavailable
from shared.metrics import Measure
from shared.readiness import Readiness
from shared.web import build_app

REQUIRED_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sign-in", 200),
        ("GET", "/queue", 303),
        ("GET", "/nowhere", 404),
        ("DELETE", "/queue", 405),
        ("OPTIONS", "/queue", 405),
        ("GET", "/fails/bug", 500),
        ("GET", "/fails/down", 503),
        ("GET", "/fails/wrong", 422),
        ("GET", "/fails/rule", 403),
        ("POST", "/hooks/test", 200),
        ("POST", "/decide", 401),
        ("GET", "/api/people", 401),
        ("GET", "/static/app.css", 200),
        ("GET", "/static/nothing.css", 404),
        ("GET", "/sign-in/unknown", 410),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
    ],
)
def test_every_kind_of_response_carries_every_header(
    office: Any, method: str, path: str, status: int
) -> None:
    answer = office.app.test_client().open(path, method=method)
    assert answer.status_code == status
    for name, value in REQUIRED_HEADERS.items():
        assert answer.headers.getlist(name) == [value], name
    age = int(answer.headers["Strict-Transport-Security"].split(";")[0].removeprefix("max-age="))
    assert age >= 365 * 86400
    assert len(answer.headers.getlist("Cache-Control")) == 1
    if not path.startswith("/static/app"):
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_view_that_says_neither_role_nor_public_is_refused_by_name(office: Any) -> None:
    def forgetful(_: Any) -> Blueprint:
        pages = Blueprint("forgetful", __name__)
        pages.get("/secret")(lambda: "everything")
        pages.get("/open", endpoint="open")(public(lambda: "fine"))
        return pages

    class Web:
        blueprints = (forgetful,)

    with pytest.raises(ConfigurationError, match=r"forgetful\.<lambda>"):
        build_app([("x", Web, None)], office.people, public_url="", sessions=office.sessions)


def test_a_role_that_does_not_exist_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="boss"):
        role("boss")


def test_people_without_a_session_store_are_a_configuration_error(office: Any) -> None:
    with pytest.raises(ConfigurationError, match="SESSIONS_URL"):
        build_app([], office.people, public_url="http://localhost")


def test_an_application_without_people_answers_machines_and_lets_nobody_in(office: Any) -> None:
    app = build_app([office.part], None, public_url="http://localhost")
    client = app.test_client()
    assert client.post("/hooks/test", data=b"12345").text == "5"
    assert client.get("/queue").status_code == 401
    assert client.get("/sign-in").status_code == 404


@pytest.mark.parametrize(("how", "status"), [("bug", 500), ("down", 503), ("wrong", 422)])
def test_an_error_says_what_happened_what_was_not_done_what_next_and_its_id(
    office: Any, how: str, status: int
) -> None:
    with capture_logs() as logs:
        answer = office.app.test_client().get(
            f"/fails/{how}", headers={"Accept": "application/json"}
        )
    assert answer.status_code == status
    error = answer.get_json()["error"]
    assert all(error[part] for part in ("code", "message", "not_done", "advice", "id"))
    assert [line["id"] for line in logs if "id" in line] == [error["id"]]
    page = office.app.test_client().get(f"/fails/{how}", headers={"Accept": "text/html"}).text
    assert error["message"] in page
    assert error["advice"] in page


@pytest.mark.parametrize("how", ["bug", "down"])
def test_words_of_a_fault_of_ours_are_never_shown(office: Any, how: str) -> None:
    for accept in ("text/html", "application/json"):
        text = office.app.test_client().get(f"/fails/{how}", headers={"Accept": accept}).text
        assert "secret" not in text


def test_the_log_of_a_bug_names_the_place_and_not_the_value(office: Any) -> None:
    with capture_logs() as logs:
        office.app.test_client().get("/fails/bug")
    line = next(line for line in logs if line["event"] == "request failed")
    assert line["error"] == "KeyError"
    assert any("conftest.py" in frame for frame in line["frames"])
    assert "a secret value" not in repr(logs)


def test_a_refusal_of_a_rule_names_the_rule(office: Any) -> None:
    error = office.app.test_client().get("/fails/rule", headers={"Accept": "application/json"})
    assert "read-only" in error.get_json()["error"]["advice"]


def test_requests_are_logged_by_route_and_never_by_address(office: Any) -> None:
    secret = office.people.make_link("admin")
    with capture_logs() as logs:
        office.app.test_client().get(f"/sign-in/{secret}?next=/search%3Fq%3Dkarin@example.com")
        office.app.test_client().post("/hooks/test", data=b"x")
    assert [line["route"] for line in logs] == ["/sign-in/<secret>"]
    assert secret not in repr(logs)
    assert "karin" not in repr(logs)


def test_an_api_call_gets_json_and_a_browser_a_page(office: Any) -> None:
    client = office.app.test_client()
    assert client.get("/api/nowhere").is_json
    assert client.get("/nowhere", headers={"Accept": "text/html"}).mimetype == "text/html"


def test_bodies_above_the_limit_are_refused_and_a_route_can_raise_its_own(office: Any) -> None:
    client, body = office.app.test_client(), b"x" * (300 * 1024)
    assert client.post("/hooks/test", data=body).status_code == 413
    assert client.post("/hooks/large", data=body).text == str(len(body))
    assert client.post("/hooks/large", data=body * 4).status_code == 413


def test_hooks_pay_for_no_session_and_no_person(office: Any) -> None:
    client = office.sign_in("admin")
    office.sessions.engine.dispose()
    (office.folder / "sessions.db").unlink()
    assert client.post("/hooks/test", data=b"x").status_code == 200


def test_a_trailing_slash_is_no_other_page(office: Any) -> None:
    assert office.app.test_client().get("/sign-in/").status_code == 200


def test_static_files_are_kept_for_ever_under_the_name_of_their_contents(office: Any) -> None:
    client = office.app.test_client()
    page = client.get("/sign-in").text
    for url in re.findall(r'(?:src|href)="(/static/[^"#]+)', page):
        answer = client.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"], url
        again = client.get(url, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
    assert "immutable" not in client.get("/static/app.css?v=other").headers["Cache-Control"]


@pytest.mark.parametrize("name", ["../web.py", "..%2fweb.py", "%2e%2e/web.py", "."])
def test_nothing_beside_the_static_files_is_served(office: Any, name: str) -> None:
    assert office.app.test_client().get(f"/static/{name}").status_code == 404


def test_no_page_holds_inline_script_or_style_or_anything_from_elsewhere(office: Any) -> None:
    client = office.sign_in("approver")
    admin = office.sign_in("admin")
    pages = [client.get("/queue").text, client.get("/account").text, admin.get("/people").text]
    pages.append(office.app.test_client().get("/sign-in").text)
    for page in pages:
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert not re.search(r"<script(?![^>]*src=)", page)
        assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", page)


def test_pages_work_under_a_sub_path(make_office: Any, tmp_path: Any) -> None:
    office = make_office(tmp_path, public_url="https://crm.example/sign")
    office.people.add("Ada", roles=["admin", "approver"])
    client = office.app.test_client()
    secret = office.people.make_link("ada")
    at = {"base_url": "https://crm.example"}
    for path in (f"/sign/sign-in/{secret}", f"/sign-in/{secret}"):  # A proxy may strip the prefix.
        assert 'href="/sign/static/app.css' in client.get(path, **at).text
    answer = client.post(f"/sign/sign-in/{secret}", **at)
    assert answer.headers["Location"] == "/sign/"
    assert client.get("/sign/", **at).headers["Location"] == "/sign/queue"
    assert 'href="/sign/search"' in client.get("/sign/queue", **at).text
    onwards = office.app.test_client().get("/sign/queue?a=1", **at)
    assert onwards.headers["Location"] == "/sign/sign-in?next=/queue?a%3D1"


def test_the_nav_shows_what_the_roles_may_see_with_counts(office: Any) -> None:
    def nav_of(person: str) -> list[str]:
        page = office.sign_in(person).get("/account").text
        return re.findall(r'<a href="/(\w+)"', page[page.index('id="nav"') : page.index("</nav>")])

    assert nav_of("approver") == ["queue"]
    assert nav_of("support") == ["search"]
    assert nav_of("auditor") == ["search", "people"]
    assert nav_of("admin") == ["queue", "search", "people"]
    assert ">12<" in office.sign_in("approver").get("/fragment/nav").text


def test_a_frame_whose_counts_cannot_be_read_still_stands(make_office: Any, tmp_path: Any) -> None:
    def down(*_: Any) -> Any:
        raise StoreUnavailable("gone")

    office = make_office(tmp_path, options={"counts": down, "banner": down})
    office.people.add("Ada", roles=["admin"])
    assert office.sign_in("ada").get("/queue").status_code == 200


def test_readiness_names_what_is_missing(make_office: Any, tmp_path: Any) -> None:
    checks: dict[str, Callable[[], str | None]] = {
        "store": lambda: None,
        "broker": lambda: "no connection to /secret.sock",
        "model": lambda: str(1 // 0),
    }
    office = make_office(tmp_path, options={"readiness": Readiness(checks=checks)})
    client = office.app.test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "ready": False,
        "failing": {"broker": "no connection to /secret.sock", "model": "ZeroDivisionError"},
        "noted": {},
    }
    outside = client.get("/readyz", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert outside.get_json()["failing"] == {"broker": "not ready", "model": "not ready"}


def test_figures_are_for_this_machine_admins_auditors_and_the_token(
    make_office: Any, tmp_path: Any
) -> None:
    def broken() -> list[Measure]:
        raise StoreUnavailable("gone")

    def figures() -> list[Measure]:
        return [
            Measure(
                name="countersign_queue_age_seconds", help="A.", value=n, labels={"queue": str(n)}
            )
            for n in (1, 2)
        ]

    options = {"metrics_token": "tok", "measures": [figures, broken]}
    office = make_office(tmp_path, options=options)
    for name in ("admin", "auditor", "support", "approver"):
        office.people.add(name, roles=[name])
    outside = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    page = office.app.test_client().get("/metrics").text
    assert 'countersign_queue_age_seconds{queue="2"} 2.0' in page
    assert "countersign_unreadable_parts 1.0" in page
    assert office.app.test_client().get("/metrics", **outside).status_code == 403
    proxied = office.app.test_client().get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
    assert proxied.status_code == 403
    bearer = {"Authorization": "Bearer tok"}
    assert office.app.test_client().get("/metrics", headers=bearer, **outside).status_code == 200
    wrong = {"Authorization": "Bearer tokk"}
    assert office.app.test_client().get("/metrics", headers=wrong, **outside).status_code == 403
    for name, status in (("admin", 200), ("auditor", 200), ("support", 403), ("approver", 403)):
        assert office.sign_in(name).get("/metrics", **outside).status_code == status


def test_typed_text_comes_back_when_a_form_is_refused(office: Any) -> None:
    client = office.sign_in("approver")
    form = {"comment": "a long and careful text", "csrf": "0" * 64, "password": "hidden"}
    page = client.post("/decide", data=form)
    assert page.status_code == 403
    assert "a long and careful text" in page.text
    assert "hidden\n" not in page.text


def test_a_message_is_shown_once(office: Any, csrf_of: Callable[[str], str]) -> None:
    client = office.sign_in("approver")
    token = csrf_of(client.get("/queue").text)
    assert client.post("/decide", data={"csrf": token}).status_code == 200
    assert "Approved." in client.get("/account").text
    assert "Approved." not in client.get("/account").text


@pytest.mark.parametrize(
    "text", ["//evil.example", "https://evil.example", "/\\evil.example", "/\tx", "x", "", None]
)
def test_only_paths_of_this_site_are_gone_on_to(text: str | None) -> None:
    assert local_path(text, "/") == "/"


def test_signs_that_cannot_be_seen_are_marked() -> None:
    assert "U+202E" in visible("abc\u202edef")
    assert "U+200B" in visible("a\u200bb")
    assert "U+00A0" in visible("a\u00a0b")
    assert "empty" in visible(None)
    assert visible("<b>Größe</b>\n✓") == "&lt;b&gt;Größe&lt;/b&gt;\n✓"


def test_changed_parts_put_together_are_the_new_value() -> None:
    assert changed_parts("12 Main St", "14 Main St") == [("14", True), (" Main St", False)]
    assert changed_parts(None, "x") == [("x", True)]
    assert changed_parts("x", None) == []
    for new in ("14 Main St.", "", "12", "x" * 5000):
        assert "".join(text for text, _ in changed_parts("12 Main St", new)) == new


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_meet_wcag_aa(scheme: str) -> None:
    from shared.assets import FOLDER

    css = (FOLDER / "app.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    token = {name: (light if scheme == "light" else dark) for name, light, dark in pairs}

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted([luminance(token[one]), luminance(token[other])])
        return (high + 0.05) / (low + 0.05)

    for text in ("text", "muted", "accent", "danger"):
        for ground in ("bg", "surface", "sunken", "hover"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for tone in ("ok", "warn", "danger"):
        assert contrast(tone, f"{tone}-soft") >= 4.5, tone
        assert contrast("text", f"{tone}-soft") >= 4.5, tone
    assert contrast("accent-strong", "accent-soft") >= 4.5
    assert contrast("muted", "accent-soft") >= 4.5
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("text", "mark") >= 4.5
    assert contrast("edge", "surface") >= 3
