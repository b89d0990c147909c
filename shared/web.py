"""The one Flask builder: headers, access, errors, static files, health and the pages' frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from jinja2 import StrictUndefined
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from shared import problems
from shared.access import (
    LIMIT,
    MARK,
    ROLES,
    Access,
    Door,
    Person,
    admit,
    csrf_token,
    current_person,
    person_or_none,
    role,
    take_flashes,
)
from shared.assets import Assets
from shared.display import changed_parts, moments, visible
from shared.errors import ConfigurationError, NotFound, PipelineError
from shared.health import health_blueprint
from shared.metrics import Measure
from shared.readiness import Readiness

if TYPE_CHECKING:  # See shared/access.py.
    from shared.people import People
    from shared.sessions import Sessions

__all__ = ["BODY_LIMIT", "Banner", "Measure", "build_app"]

BODY_LIMIT = 256 * 1024
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = [
    ("Content-Security-Policy", CONTENT_POLICY),
    ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
]
NO_STORE = ("Cache-Control", "no-store")


@dataclass(frozen=True, kw_only=True)
class Banner:
    """What every page says on top, such as that writing is stopped, by whom and since when."""

    text: str
    href: str | None = None


@dataclass(frozen=True, kw_only=True)
class NavItem:
    """Shown to whoever may see the page at ``path``, and only where a process serves it.

    ``roles`` are those of the page, for the processes that do not serve it themselves.
    """

    key: str
    label: str
    path: str
    short: str
    roles: frozenset[str] = frozenset(ROLES)


_CARDS = frozenset({"approver", "admin", "auditor"})
_PEOPLE = frozenset({"admin", "auditor"})
NAV = (
    NavItem(key="queue", label="Queue", path="/queue", short="Queue", roles=_CARDS),
    NavItem(key="look", label="A person must look", path="/look", short="Look", roles=_CARDS),
    NavItem(key="decided", label="Decided", path="/decided", short="Decided", roles=_CARDS),
    NavItem(key="ask", label="Ask", path="/ask", short="Ask", roles=_CARDS),
    NavItem(key="search", label="Search", path="/search", short="Search"),
    NavItem(key="status", label="Status", path="/status", short="Status"),
    NavItem(key="people", label="People", path="/people", short="People", roles=_PEOPLE),
)
Share = Literal["whole", "front", "part"]
"""What one process serves of the public address: all of it, the frame and its own pages, or its
own pages alone. The frame is the first page, sign-in, people, and the fragments of nav and
banner."""


def build_app(
    parts: Sequence[tuple[str, Any, Any]],
    people: People | None,
    *,
    public_url: str,
    sessions: Sessions | None = None,
    counts: Callable[[Person], Mapping[str, int]] | None = None,
    banner: Callable[[], Banner | None] | None = None,
    readiness: Readiness | None = None,
    measures: Sequence[Callable[[], Iterable[Measure]]] = (),
    metrics_token: str | None = None,
    on_session: Callable[[str, str], None] | None = None,
    office_zone: Callable[[], tzinfo | None] | None = None,
    trusted_proxies: int = 0,
    share: Share = "whole",
) -> Flask:
    """One application out of the web parts ``(service name, Web, its dependencies)``.

    ``people`` is ``None`` where only machines call; views for people then answer 401.
    ``counts`` are the pending numbers in the nav, ``banner`` what stands on top of every page,
    ``readiness`` and ``measures`` feed ``/readyz`` and ``/metrics``. ``trusted_proxies`` is how
    many proxies in front set ``X-Forwarded-*``, ``share`` what other processes leave to this one.

    Raises `ConfigurationError` naming every view that says neither `role` nor `public`.
    """
    app = Flask("shared", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_LIMIT,
        MAX_FORM_MEMORY_SIZE=BODY_LIMIT,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
    )
    app.url_map.strict_slashes = False
    assets = Assets()
    for blueprint in (
        assets.blueprint(),
        health_blueprint(readiness or Readiness(), measures, metrics_token),
        *(() if share == "part" else _pages_of_people(people, sessions, on_session)),
        *(build(deps) for _, web, deps in parts for build in web.blueprints),
    ):
        app.register_blueprint(blueprint)
    views, limits = _access_of(app)
    app.extensions["door"] = Door(
        people=people, sessions=sessions, public_url=public_url, views=views, limits=limits
    )
    app.before_request(admit)
    app.register_error_handler(Exception, problems.answer)
    _log_requests(app, views)
    app.extensions["share"] = share
    _furnish(app, assets, counts, banner, office_zone)
    app.wsgi_app = _Frontage(  # type: ignore[method-assign]
        app.wsgi_app, prefix_of(public_url), trusted_proxies
    )
    return app


def _pages_of_people(
    people: People | None,
    sessions: Sessions | None,
    on_session: Callable[[str, str], None] | None,
) -> list[Blueprint]:
    if people is None:
        return []
    if sessions is None:
        raise ConfigurationError("people need a session store: set SESSIONS_URL")
    from shared.people_pages import account_blueprint, people_blueprint
    from shared.signing_in import sign_in_blueprint

    return [
        _frame_blueprint(),
        sign_in_blueprint(people, sessions, on_session),
        people_blueprint(people, sessions),
        account_blueprint(people, sessions),
    ]


def _frame_blueprint() -> Blueprint:
    """The first page, and the piece of the frame that keeps itself fresh."""
    blueprint = Blueprint("frame", __name__)

    @blueprint.get("/")
    @role(*ROLES)
    def home() -> ResponseReturnValue:
        first = next((item for item in _visible_nav(current_person())), None)
        if first is None:
            raise NotFound("No page is served here that you may see.")
        return redirect(request.script_root + first.path, 303)

    @blueprint.get("/fragment/nav")
    @role(*ROLES)
    def nav() -> ResponseReturnValue:
        here, path = request.args.get("here"), request.args.get("path", "")
        return render_template("nav.html", here=here, path=path)

    @blueprint.get("/fragment/banner")
    @role(*ROLES)
    def banner() -> ResponseReturnValue:
        return render_template("banner.html")

    return blueprint


def _access_of(app: Flask) -> tuple[dict[str, Access], dict[str, int]]:
    """Who may call each endpoint. A view that does not say is refused: deny by default."""
    views, limits, silent = {}, {}, []
    for endpoint, view in app.view_functions.items():
        access = getattr(view, MARK, None)
        if access is None:
            silent.append(endpoint)
            continue
        views[endpoint] = access
        if (limit := getattr(view, LIMIT, None)) is not None:
            limits[endpoint] = limit
    if silent:
        raise ConfigurationError(
            f"these views say neither @role nor @public: {', '.join(sorted(silent))}"
        )
    return views, limits


def _log_requests(app: Flask, views: Mapping[str, Access]) -> None:
    """One line per request of a person or program: the route, never the address with its ids."""
    silent = {endpoint for endpoint, access in views.items() if access.raw}

    @app.before_request
    def _() -> None:
        if request.endpoint not in silent:
            g.began = time.perf_counter()

    @app.after_request
    def _(response: Response) -> Response:
        if request.endpoint in silent or "began" not in g:
            return response
        import structlog

        structlog.get_logger().info(
            "request",
            method=request.method,
            route=str(request.url_rule or "-"),
            status=response.status_code,
            ms=round((time.perf_counter() - g.began) * 1000, 1),
        )
        return response


def _furnish(
    app: Flask,
    assets: Assets,
    counts: Callable[[Person], Mapping[str, int]] | None,
    banner: Callable[[], Banner | None] | None,
    office_zone: Callable[[], tzinfo | None] | None,
) -> None:
    """What every template may use."""
    env = app.jinja_env
    env.undefined = StrictUndefined
    env.trim_blocks = env.lstrip_blocks = True
    env.globals.update(
        asset=assets.url,
        csrf=_csrf_inputs,
        csrf_token=csrf_token,
        moment=moments(office_zone or (lambda: None)),
        visible=visible,
        changed_parts=changed_parts,
        may=_may,
        role_options=lambda what_for: [(one, one.capitalize(), what_for[one]) for one in ROLES],
        flashes=take_flashes,
        nav_items=lambda: _visible_nav(person_or_none()),
        is_framed_elsewhere=app.extensions["share"] == "part",
        counts=lambda: _quietly(lambda: (counts or _no_counts)(current_person()), {}),
        banner=lambda: _quietly(banner, None) if banner else None,
    )
    app.context_processor(lambda: {"person": _quietly(person_or_none, None), "here": None})


def _csrf_inputs(subject: str = "") -> Markup:
    """The hidden inputs of a form; with a subject the form is good for that alone."""
    inputs = Markup('<input type="hidden" name="csrf" value="{}">').format(csrf_token(subject))
    if subject:
        inputs += Markup('<input type="hidden" name="csrf_subject" value="{}">').format(subject)
    return inputs


def _may(*roles: str) -> bool:
    person = person_or_none()
    return person is not None and bool(person.roles & set(roles))


def _no_counts(_: Person) -> Mapping[str, int]:
    return {}


def _quietly(ask: Callable[[], Any], fallback: Any) -> Any:
    """The frame of a page must not fail, least of all that of an error page."""
    try:
        return ask()
    except PipelineError:
        return fallback


def _visible_nav(person: Person | None) -> list[NavItem]:
    if person is None:
        return []
    return [item for item in NAV if _is_for(person, item)]


def _is_for(person: Person, item: NavItem) -> bool:
    from flask import current_app

    from shared.access import door

    access = door().views.get(_endpoint_at(item.path))
    if access is None:
        is_elsewhere = current_app.extensions["share"] != "whole"
        return is_elsewhere and bool(item.roles & person.roles)
    return access.roles is None or bool(access.roles & person.roles)


def _endpoint_at(path: str) -> str:
    """The endpoint that serves ``path``, or nothing."""
    from flask import current_app

    try:
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        return ""
    return str(endpoint)


def prefix_of(public_url: str) -> str:
    """The sub-path of the public address; empty where there is none."""
    return urlsplit(public_url).path.rstrip("/")


def below(prefix: str, path: str) -> str:
    """The path within the application; a proxy may have stripped the prefix already."""
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :] or "/"
    return path


class _Frontage:
    """The outermost layer: the sub-path of the public address, proxies, and constant headers.

    The headers are added here, below nothing that could fail, so no response is without them and
    the intake pays one list concatenation for them.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], prefix: str, proxies: int) -> None:
        self._prefix = prefix
        self._app = app
        if proxies:
            from werkzeug.middleware.proxy_fix import ProxyFix

            self._app = ProxyFix(app, x_for=proxies, x_proto=proxies, x_host=proxies)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if self._prefix:
            environ["PATH_INFO"] = below(self._prefix, environ.get("PATH_INFO", ""))
            environ["SCRIPT_NAME"] = self._prefix

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            has_cache = any(name == "Cache-Control" for name, _ in headers)
            extra = HEADERS if has_cache else [*HEADERS, NO_STORE]
            return start_response(status, headers + extra, *rest)

        return self._app(environ, start)
