"""The door: ``/hooks/<source>[/<endpoint>]``. Verify, read, split, identify, store, answer.

Nothing is parsed before the sender is verified, nothing is answered before it is durable, and
whatever comes in, the answer is a 4xx or a 503, never a 500. The door is plain WSGI in front of
the application's views: see deploy/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import structlog
from flask import Blueprint

from services.ingest.arrival import Turned, read_hook
from services.ingest.deps import WebDeps
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.inbox import Refusal
from services.ingest.source import DEFECT, NOWHERE, PLAIN, Answer, Outcome, Source
from services.ingest.sources import SOURCES
from shared.canonical import sha256_hex
from shared.errors import ConfigurationError, NotJson, Rejected, Unavailable

log = structlog.get_logger()
PREFIX = "/hooks/"
# Names that come from outside and are not ours are never written to the log.
UNKNOWN = "unknown"
HANDSHAKE = "handshake"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def hooks_blueprint(deps: WebDeps) -> Blueprint:
    """Puts the door in front of the application that this is registered with."""
    blueprint = Blueprint("hooks", __name__)

    @blueprint.record_once
    def _(state: Any) -> None:
        state.app.wsgi_app = Door(state.app.wsgi_app, deps)

    return blueprint


class Door:
    """Answers what is sent to ``/hooks/`` and hands everything else to the application."""

    def __init__(self, application: Application, deps: WebDeps) -> None:
        self._application = application
        self._deps = deps

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self._application(environ, start_response)
        began = perf_counter()
        answer = self._answer(environ, path)
        self._deps.latencies.add(perf_counter() - began)
        start_response(answer.status_line, list(answer.header_list))
        return [answer.content]

    def _answer(self, environ: dict[str, Any], path: str) -> Answer:
        name, slash, rest = path[len(PREFIX) :].rstrip("/").partition("/")
        source = SOURCES.get(name)
        try:
            if source is None:
                return _nowhere(self._deps, UNKNOWN, "unknown-source")
            endpoint = self._deps.endpoints.find(name, rest if slash else DEFAULT_ENDPOINT)
            if endpoint is None:
                return _nowhere(self._deps, name, "unknown-endpoint")
            return source.answers[_take(self._deps, source, endpoint, environ)]
        except (Unavailable, ConfigurationError) as error:
            # An endpoints file that is no good opens nothing, and senders try again meanwhile.
            log.warning("a request cannot be taken", source=name if source else "", why=str(error))
            return (source.answers if source else PLAIN)[Outcome.BUSY]
        except Exception:
            log.exception("a request failed", source=name if source else "")
            return DEFECT


def _take(deps: WebDeps, source: Source, endpoint: Endpoint, environ: dict[str, Any]) -> Outcome:
    """The whole way of one request. Raises `Unavailable` when it could not be stored."""
    hook = read_hook(
        environ, source, endpoint, public_url=deps.public_url, received_at=deps.clock()
    )
    if isinstance(hook, Turned):
        return _refuse(deps, endpoint, hook, body=None)
    verdict = source.verify(hook, endpoint)
    if not verdict.ok:
        turned = Turned(outcome=Outcome.REFUSED, reason=str(verdict.reason), detail=verdict.detail)
        return _refuse(deps, endpoint, turned, body=hook.body)
    if handshake := source.handshake(hook):
        deps.inbox.set_aside(source, endpoint, hook, HANDSHAKE, handshake.detail)
        return Outcome.STORED
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


def _nowhere(deps: WebDeps, source: str, reason: str) -> Answer:
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
    return NOWHERE
