"""The demo CRM as one WSGI application: routing, headers, and the doors that stay shut."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map
from werkzeug.wrappers import Request, Response

from services.demo_crm import api, pages
from services.demo_crm.database import Database
from services.demo_crm.objects import Refused
from services.demo_crm.seed import seed
from services.demo_crm.store import Store
from services.demo_crm.webhooks import Webhooks, key_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_LOG = logging.getLogger(__name__)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS = [
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
            " frame-ancestors 'none'; base-uri 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    # With no-referrer a browser sends "Origin: null" with our own forms.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]


class _Request(Request):
    max_content_length = 256 * 1024
    max_form_memory_size = 256 * 1024


class DemoCrm:
    """The WSGI callable. `close` ends its thread and its database connections."""

    def __init__(
        self, store: Store, api_: api.Api, pages_: pages.Pages, webhooks: Webhooks | None, host: str
    ) -> None:
        self.store = store
        self._api = api_
        self._pages = pages_
        self._webhooks = webhooks
        self._hosts = _LOOPBACK | {host}
        # A rule belongs to one map for good, so each application gets copies.
        rules = [rule.empty() for rule in (*api.RULES, *pages.RULES)]
        self._map = Map(rules, strict_slashes=False, merge_slashes=False)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = _Request(environ)
        response = self._answer(request)
        response.headers.extend(_HEADERS)
        if self._webhooks is not None and request.method in {"POST", "PATCH"}:
            self._webhooks.wake()
        return response(environ, start_response)

    def close(self) -> None:
        if self._webhooks is not None:
            self._webhooks.stop()
        self.store.database.close()

    def _answer(self, request: Request) -> Response | api.JsonAnswer:
        is_api = request.path.startswith("/api/")
        try:
            endpoint, values = self._map.bind_to_environ(request.environ).match()
            if is_api:
                return self._api.answer(request, endpoint, values)
            self._check_page_request(request)
            return self._pages.answer(request, endpoint, values)
        except Refused as refusal:
            return self._refusal(is_api, refusal.status, refusal.code, str(refusal))
        except HTTPException as error:
            status = error.code or 500
            text = error.description or error.name
            response = self._refusal(is_api, status, error.name.lower().replace(" ", "_"), text)
            response.headers.extend(
                (name, value)
                for name, value in error.get_headers()
                if name in {"Allow", "Location"}
            )
            return response
        except Exception:  # noqa: BLE001 - the last wall: a bug shows as 500 and in the log.
            _LOG.exception("the demo CRM failed")
            return self._refusal(is_api, 500, "internal", "The demo CRM failed.")

    def _check_page_request(self, request: Request) -> None:
        """Pages need no sign-in, so only a browser that is really here may use them."""
        # A foreign name that points at this address would otherwise count as the same origin.
        if (urlsplit(f"//{request.host}").hostname or "") not in self._hosts:
            raise Refused(421, "foreign_host", "The demo CRM is reached by its own address only.")
        if request.method == "POST" and not _is_same_origin(request):
            raise Refused(403, "cross_site", "The form came from another site.")

    def _refusal(
        self, is_api: bool, status: int, code: str, message: str
    ) -> Response | api.JsonAnswer:
        if not is_api:
            return self._pages.error(status, message)
        answer = api.as_json(status, {"error": {"code": code, "message": message}})
        if status == 401:
            answer.headers.append(("WWW-Authenticate", "Bearer"))
        return answer


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    db_path: Path,
    read_token: str,
    write_token: str,
    clock: Callable[[], datetime] = _utc_now,
    public_url: str | None = None,
    *,
    webhook_url: str | None = None,
    webhook_secret: str = "",
    idempotent: bool = False,
) -> DemoCrm:
    """Open (and, when empty, seed) ``db_path`` and build the application.

    ``public_url`` is put before the addresses of records; without it they are relative. With
    ``webhook_url`` each change of a contact or deal is posted there, signed with the
    ``webhook_secret`` (``whsec_`` and base64). With ``idempotent`` a repeated ``change_id`` has no
    second effect, which no vendor's CRM promises. Raises `ValueError` for a malformed secret.
    """
    database = Database(db_path)
    seed(Store(database, clock))
    webhooks = None
    if webhook_url is not None:
        webhooks = Webhooks(database, webhook_url, key_of(webhook_secret), clock)
    store = Store(database, clock, None if webhooks is None else webhooks.announce)
    prefix = (public_url or "").rstrip("/")
    tokens = api.Tokens(read=read_token, write=write_token)
    api_ = api.Api(store, tokens, lambda path: prefix + path, idempotent=idempotent)
    if webhooks is not None:
        webhooks.start()
    host = urlsplit(prefix).hostname or "localhost"
    return DemoCrm(store, api_, pages.Pages(store), webhooks, host)


def _is_same_origin(request: Request) -> bool:
    """By ``Sec-Fetch-Site``; by ``Origin`` where the browser sends no such header."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == request.host_url.rstrip("/")
