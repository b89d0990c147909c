"""Who may call a view: the marks on views, the check before each request, the person in it."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import urlencode, urlsplit

from flask import (
    Response,
    after_this_request,
    current_app,
    g,
    redirect,
    render_template,
    request,
)
from flask.typing import ResponseReturnValue

from shared.errors import Forbidden, NotSignedIn
from shared.roles import ROLES

if TYPE_CHECKING:  # The intake alone needs neither: they cost a third of its start-up time.
    from shared.people import People
    from shared.people_file import Account
    from shared.sessions import Sessions

__all__ = [
    "ROLES",
    "Person",
    "body_limit",
    "bound_to",
    "csrf_token",
    "current_person",
    "flash",
    "person_or_none",
    "public",
    "role",
]

View = TypeVar("View", bound=Callable[..., Any])
MARK, LIMIT = "countersign_access", "countersign_body_limit"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FLASH_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Access:
    """``roles`` is ``None`` for public views; ``raw`` ones are left entirely to themselves."""

    roles: frozenset[str] | None = None
    raw: bool = False


@dataclass(frozen=True, kw_only=True)
class Person:
    """Whoever is signed in. ``auth_level`` is ``link``, ``password`` or ``token``."""

    id: str
    name: str
    roles: frozenset[str]
    aliases: tuple[str, ...]
    auth_level: str
    auth_time: datetime


@dataclass(frozen=True, kw_only=True)
class Door:
    """What the check before each request needs; one per application."""

    people: People | None
    sessions: Sessions | None
    public_url: str
    views: Mapping[str, Access] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https:")

    def cookie(self, suffix: str = "") -> str:
        """``__Host-`` binds a cookie to this host and https; plain http cannot have it."""
        return f"__Host-countersign{suffix}" if self.is_https else f"countersign{suffix}"


def role(*roles: str) -> Callable[[View], View]:
    """Only people with one of these roles may call the view."""
    unknown = set(roles) - set(ROLES)
    if unknown or not roles:
        raise ValueError(f"unknown roles: {sorted(unknown)}" if unknown else "no role named")

    def mark(view: View) -> View:
        setattr(view, MARK, Access(roles=frozenset(roles)))
        return view

    return mark


@overload
def public(view: View) -> View: ...
@overload
def public(*, raw: bool) -> Callable[[View], View]: ...
def public(view: View | None = None, *, raw: bool = False) -> View | Callable[[View], View]:
    """Anybody may call the view. ``raw``: no session, no form token, no origin check, no log."""

    def mark(marked: View) -> View:
        setattr(marked, MARK, Access(raw=raw))
        return marked

    return mark if view is None else mark(view)


def body_limit(size: int) -> Callable[[View], View]:
    """The largest body in bytes; the default is `shared.web.BODY_LIMIT`."""

    def mark(view: View) -> View:
        setattr(view, LIMIT, size)
        return view

    return mark


def door() -> Door:
    """The door of the application that handles this request."""
    found: Door = current_app.extensions["door"]
    return found


def current_person() -> Person:
    """Whoever makes this request. Raises `NotSignedIn`."""
    person = person_or_none()
    if person is None:
        raise NotSignedIn("You are not signed in.")
    return person


def person_or_none() -> Person | None:
    """As `current_person`, for pages that show more to those who are signed in."""
    if "person" not in g:
        g.person = None  # An error while looking must not be asked again by its own error page.
        g.person = _identify(door())
    person: Person | None = g.person
    return person


def csrf_token(subject: str = "") -> str:
    """The form token of this session for ``subject``; empty where nobody is signed in."""
    from shared.sessions import form_token

    token = session_token()
    return form_token(token, subject) if token and person_or_none() else ""


def session_token() -> str | None:
    """The session cookie's value."""
    return request.cookies.get(door().cookie())


def bound_to(subject: str) -> None:
    """The posted form was made for ``subject``. Raises `Forbidden`; API calls pass."""
    if request.mimetype == "application/json" or g.get("by_bearer"):
        return
    if request.form.get("csrf_subject", "") != subject:
        raise Forbidden("This form belongs to something else than what it was sent to.")


def flash(text: str, kind: str = "ok") -> None:
    """Show ``text`` once, on the next page. ``kind`` is ok, info, warn or danger."""
    waiting = [*g.get("flashes", []), [kind, text[:400]]]
    g.flashes = waiting
    packed = base64.urlsafe_b64encode(json.dumps(waiting).encode()).decode()

    @after_this_request
    def _(response: Response) -> Response:
        set_cookie(response, "-flash", packed, seconds=FLASH_SECONDS)
        return response


def take_flashes() -> list[tuple[str, str]]:
    """The messages of the request before this one; the browser forgets them."""
    packed = request.cookies.get(door().cookie("-flash"))
    if not packed:
        return []

    @after_this_request
    def _(response: Response) -> Response:
        drop_cookie(response, "-flash")
        return response

    try:
        pairs = json.loads(base64.urlsafe_b64decode(packed))
        return [(str(kind), str(text)) for kind, text in pairs][:5]
    except (ValueError, TypeError):
        return []


def set_cookie(response: Response, suffix: str, value: str, *, seconds: int | None = None) -> None:
    at = door()
    response.set_cookie(
        at.cookie(suffix),
        value,
        max_age=seconds,
        path="/",
        secure=at.is_https,
        httponly=True,
        samesite="Strict",
    )


def drop_cookie(response: Response, suffix: str) -> None:
    at = door()
    response.delete_cookie(
        at.cookie(suffix), path="/", secure=at.is_https, httponly=True, samesite="Strict"
    )


def admit() -> ResponseReturnValue | None:
    """Runs before each request: origin, role and form token, or a way to sign in."""
    at = door()
    endpoint = request.endpoint or ""
    access = at.views.get(endpoint)
    if endpoint in at.limits:
        request.max_content_length = at.limits[endpoint]
    if access is None or access.raw:
        return None  # No view: the router's own error follows.
    is_unsafe = request.method not in SAFE_METHODS
    if is_unsafe and "Authorization" not in request.headers:
        _refuse_other_origins(at, needs_proof=access.roles is None)
    if access.roles is None:
        return None
    person = person_or_none()
    if person is None:
        return _ask_to_sign_in()
    if not person.roles & access.roles:
        raise Forbidden(f"This is for: {', '.join(r for r in ROLES if r in access.roles)}.")
    if is_unsafe and not g.get("by_bearer"):
        _check_form_token()
    return None


def wants_json() -> bool:
    """An API call, or a client that likes JSON better than a page."""
    if request.path.startswith(("/api/", "/hooks/")):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json" or request.mimetype == "application/json"


def local_path(text: str | None, default: str) -> str:
    """``text`` if it is a path of this site, else ``default``: no open redirects."""
    if not text or not text.startswith("/") or text.startswith("//"):
        return default
    if any(ord(sign) <= 32 or sign == "\\" for sign in text):
        return default
    return text


def _identify(at: Door) -> Person | None:
    if at.people is None:
        return None
    given = request.headers.get("Authorization")
    if given is not None:
        g.by_bearer = True
        scheme, _, bearer = given.partition(" ")
        found = at.people.by_token(bearer.strip()) if scheme.lower() == "bearer" else None
        return _person(found[0], "token", found[1].created) if found else None
    token = session_token()
    session = at.sessions.find(token) if token and at.sessions else None
    account = at.people.get(session.person) if session else None
    if session is None or account is None or account.disabled:
        return None
    if account.signed_out_at and session.created_at <= account.signed_out_at:
        return None
    return _person(account, session.level, session.created_at)


def _person(account: Account, level: str, at: datetime) -> Person:
    return Person(
        id=account.id,
        name=account.name,
        roles=frozenset(account.roles),
        aliases=account.aliases,
        auth_level=level,
        auth_time=at,
    )


def _refuse_other_origins(at: Door, *, needs_proof: bool) -> None:
    """Only our own pages send forms here. ``needs_proof``: no form token will be asked for.

    Browsers send ``Sec-Fetch-Site`` to https and to this machine, and ``Origin: null`` from pages
    with ``Referrer-Policy: no-referrer``, which ours are; so null proves nothing either way.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in {"same-origin", "none"}:
            raise Forbidden("This form was sent by another site.")
        return
    origin = request.headers.get("Origin")
    if origin is None or (origin == "null" and not needs_proof):
        return
    ours = {urlsplit(at.public_url).netloc, request.host}
    if urlsplit(origin).netloc not in ours:
        raise Forbidden("This form was sent by another site.")


def _check_form_token() -> None:
    from shared.sessions import form_token

    given = request.headers.get("X-CSRF-Token")
    subject = ""
    if given is None and request.mimetype != "application/json":
        given, subject = request.form.get("csrf"), request.form.get("csrf_subject", "")
    right = form_token(session_token() or "", subject)
    if not given or not hmac.compare_digest(given.encode(), right.encode()):
        raise Forbidden("This page was opened in another session, or is not one of ours.")


def _ask_to_sign_in() -> ResponseReturnValue:
    if wants_json() or request.method not in SAFE_METHODS or door().people is None:
        raise NotSignedIn("You are not signed in, or your session has ended.")
    here = request.full_path.rstrip("?")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # The strict cookie stays away from a link that another site opened; our own page gets it.
        return render_template("onwards.html", target=request.script_root + here)
    # Spelt out, since another process may serve that page.
    return redirect(f"{request.script_root}/sign-in?{urlencode({'next': here}, safe='/?')}", 303)
