"""The door: ``/hooks/<source>[/<endpoint>]``. Verify, read, split, identify, store, answer.

Nothing is parsed before the sender is verified, nothing is answered before it is durable, and
whatever comes in, the answer is a 4xx or a 503, never a 500.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from services.ingest.deps import WebDeps
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint, Hook
from services.ingest.inbox import Refusal
from services.ingest.source import PLAIN, Answer, Outcome, Source
from services.ingest.sources import SOURCES
from shared.access import public
from shared.canonical import sha256_hex
from shared.errors import ConfigurationError, NotJson, Rejected, Unavailable

log = structlog.get_logger()
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Names that come from outside and are not ours are never written to the log.
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Turned:
    """Why a request goes no further: the outcome to answer and the words for the log."""

    outcome: Outcome
    reason: str
    detail: str


def hooks_blueprint(deps: WebDeps) -> Blueprint:
    blueprint = Blueprint("hooks", __name__)

    @blueprint.route("/hooks/<source>", methods=METHODS)
    @blueprint.route("/hooks/<source>/<endpoint>", methods=METHODS)
    @public(raw=True)
    def receive(source: str, endpoint: str = DEFAULT_ENDPOINT) -> ResponseReturnValue:
        known = SOURCES.get(source)
        try:
            if known is None:
                return _nowhere(deps, UNKNOWN, "unknown-source")
            configured = deps.endpoints.find(source, endpoint)
            if configured is None:
                return _nowhere(deps, source, "unknown-endpoint")
            return _response(known.answers[_take(deps, known, configured)])
        except (Unavailable, ConfigurationError) as error:
            # An endpoints file that is no good opens nothing, and senders try again meanwhile.
            log.warning(
                "cannot take a request", source=source if known else UNKNOWN, error=str(error)
            )
            return _response((known.answers if known else PLAIN)[Outcome.BUSY])

    return blueprint


def _take(deps: WebDeps, source: Source, endpoint: Endpoint) -> Outcome:
    """The whole way of one request. Raises `Unavailable` when it could not be stored."""
    hook = _hook(deps, source, endpoint)
    if isinstance(hook, Turned):
        return _refuse(deps, endpoint, hook, body=None)
    verdict = source.verify(hook, endpoint)
    if not verdict.ok:
        turned = Turned(outcome=Outcome.REFUSED, reason=str(verdict.reason), detail=verdict.detail)
        return _refuse(deps, endpoint, turned, body=hook.body)
    try:
        found = [source.identify(raw, hook) for raw in source.split(hook)]
    except Rejected as error:
        is_json = not isinstance(error, NotJson)
        outcome = Outcome.BAD_PAYLOAD if is_json else Outcome.NOT_JSON
        deps.inbox.set_aside(source, endpoint, hook, str(outcome), str(error))
        return outcome
    return deps.inbox.accept(source, endpoint, hook, found)


def _hook(deps: WebDeps, source: Source, endpoint: Endpoint) -> Hook | Turned:
    """The request with its whole body, or why it cannot be had."""
    if request.method not in source.methods:
        return Turned(outcome=Outcome.REFUSED, reason="policy", detail="method not allowed")
    # One more than allowed: a body without a length is cut off at the limit, without an error.
    request.max_content_length = source.max_bytes + 1
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return _too_large(source)
    except (HTTPException, OSError):
        return _ENDED_EARLY
    if len(body) > source.max_bytes:
        return _too_large(source)
    if request.content_length not in (None, len(body)):
        return _ENDED_EARLY  # Some servers hand over what came before the connection broke.
    return Hook(
        method=request.method,
        url=_url(deps.public_url, endpoint),
        headers=_headers(),
        body=body,
        received_at=deps.clock(),
    )


def _too_large(source: Source) -> Turned:
    detail = f"more than {source.max_bytes} bytes"
    return Turned(outcome=Outcome.TOO_LARGE, reason=str(Outcome.TOO_LARGE), detail=detail)


_ENDED_EARLY = Turned(outcome=Outcome.NOT_JSON, reason="malformed", detail="the body ended early")


def _url(public_url: str, endpoint: Endpoint) -> str:
    """What the sender signed: the configured address with the query exactly as it came."""
    environ = request.environ
    base = endpoint.public_url or f"{public_url.rstrip('/')}{environ['PATH_INFO']}"
    query = environ.get("QUERY_STRING", "")
    return f"{base}?{query}" if query else base


def _headers() -> dict[str, str]:
    """Lower-case names; WSGI keeps two of them apart from the others."""
    environ = request.environ
    headers = {_plain_name(name): value for name, value in environ.items() if name[:5] == "HTTP_"}
    if content_type := environ.get("CONTENT_TYPE"):
        headers["content-type"] = content_type
    if content_length := environ.get("CONTENT_LENGTH"):
        headers["content-length"] = content_length
    return headers


@functools.lru_cache(maxsize=1024)
def _plain_name(name: str) -> str:
    """``webhook-id`` for ``HTTP_WEBHOOK_ID``."""
    return name[5:].replace("_", "-").lower()


def _refuse(deps: WebDeps, endpoint: Endpoint, turned: Turned, body: bytes | None) -> Outcome:
    deps.inbox.refuse(
        Refusal(
            source=endpoint.source,
            endpoint=endpoint.name,
            reason=turned.reason,
            detail=turned.detail,
            received_at=deps.clock(),
            raw_sha256=None if body is None else sha256_hex(body),
        )
    )
    return turned.outcome


def _nowhere(deps: WebDeps, source: str, reason: str) -> Response:
    """There is no such address; counted and logged without repeating it."""
    deps.inbox.refuse(
        Refusal(
            source=source,
            endpoint=UNKNOWN,
            reason=reason,
            detail="no such address",
            received_at=deps.clock(),
        )
    )
    body = '{"error":{"code":"not-found","message":"There is no such endpoint."}}'
    return _response(Answer(status=404, body=body, content_type="application/json"))


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)
