"""The door: ``/hooks/<source>[/<endpoint>]``. Verify, read, split, identify, store, answer.

Nothing is parsed before the sender is verified, nothing is answered before it is durable, and
whatever comes in, the answer is a 4xx or a 503, never a 500.
"""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from services.ingest.arrival import Turned, read_hook
from services.ingest.deps import WebDeps
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
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
    hook = read_hook(
        request.environ,
        source,
        endpoint,
        public_url=deps.public_url,
        received_at=deps.clock(),
    )
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
