"""Signing in by a one-time link or a password, and signing out."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from shared.access import (
    ROLES,
    door,
    drop_cookie,
    flash,
    local_path,
    person_or_none,
    public,
    role,
    session_token,
    set_cookie,
)
from shared.errors import Rejected, TooFast
from shared.people import People
from shared.people_file import Account
from shared.sessions import LIFE, Sessions, SignInPace

OnSession = Callable[[str, str], None]
WRONG = "Name and password do not fit together."
BROWSERS = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def sign_in_blueprint(
    people: People, sessions: Sessions, on_session: OnSession | None
) -> Blueprint:
    """``/sign-in``, ``/sign-in/<secret>`` and ``/sign-out``."""
    blueprint = Blueprint("sign_in", __name__)
    pace = SignInPace(engine=sessions.engine, clock=sessions.clock)

    @blueprint.get("/sign-in")
    @public
    def page() -> ResponseReturnValue:
        if person_or_none() is not None:
            return redirect(_target(), 303)
        return _form()

    @blueprint.post("/sign-in")
    @public
    def by_password() -> ResponseReturnValue:
        name, address = request.form.get("name", ""), request.remote_addr or ""
        if seconds := pace.wait(name, address):
            raise TooFast(f"Wait {seconds} seconds before the next try.", seconds=seconds)
        account = people.check_password(name, request.form.get("password", ""))
        if account is None:
            pace.failed(name, address)
            return _form(name=name, error=WRONG), 401
        pace.succeeded(name, address)
        return _sign_in(account, "password", sessions, on_session)

    _add_links(blueprint, people, sessions, on_session)
    return blueprint


def _add_links(
    blueprint: Blueprint, people: People, sessions: Sessions, on_session: OnSession | None
) -> None:
    @blueprint.get("/sign-in/<secret>")
    @public
    def link(secret: str) -> ResponseReturnValue:
        is_good = people.link_is_good(secret)
        page = render_template("sign_in_link.html", is_good=is_good, target=_next())
        return page, 200 if is_good else 410

    @blueprint.post("/sign-in/<secret>")
    @public
    def by_link(secret: str) -> ResponseReturnValue:
        account = people.take_link(secret)
        if account is None:
            return render_template("sign_in_link.html", is_good=False, target=_next()), 410
        return _sign_in(account, "link", sessions, on_session)

    @blueprint.post("/sign-out")
    @role(*ROLES)
    def sign_out() -> ResponseReturnValue:
        if token := session_token():
            sessions.end(token)
        flash("You are signed out.", "info")
        response = make_response(redirect(f"{request.script_root}/sign-in", 303))
        drop_cookie(response, "")
        response.headers["Clear-Site-Data"] = '"cache"'
        return response


def _sign_in(
    account: Account, how: str, sessions: Sessions, on_session: OnSession | None
) -> Response:
    """A fresh token, whatever cookie came: one that was planted before is worth nothing."""
    if not account.roles:
        raise Rejected("This account has no role yet: ask an admin.")
    if on_session is not None:
        on_session(account.id, how)
    if old := session_token():
        sessions.end(old)
    token = sessions.open(account.id, how, _device(request.headers.get("User-Agent", "")))
    response = make_response(redirect(_target(), 303))
    set_cookie(response, "", token, seconds=int(LIFE.total_seconds()))
    return response


def _form(*, name: str = "", error: str | None = None) -> str:
    # A link from elsewhere came without the strict cookie; following our own link brings it.
    may_be_signed_in = bool(request.args.get("next")) and "Sec-Fetch-Site" not in request.headers
    return render_template(
        "sign_in.html",
        name=name,
        error=error,
        target=_next(),
        may_be_signed_in=may_be_signed_in,
        host=urlsplit(door().public_url).netloc,
    )


def _next() -> str:
    return local_path(request.values.get("next"), "/")


def _target() -> str:
    return request.script_root + _next()


def _device(agent: str) -> str:
    """``Firefox on Linux``: enough to recognise one's own sessions by."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "A program")
    system = next((name for mark, name in SYSTEMS if mark in agent), None)
    return f"{browser} on {system}" if system else browser
