"""The pages and API of the sources: how each endpoint stands, and what its last requests were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import structlog
from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from services.ingest.deps import WebDeps
from services.ingest.handshakes import waiting_handshake
from services.ingest.kinds import kinds_not_seen
from services.ingest.mailboxes.shown import mailbox_states
from services.ingest.retention import LONGEST, SHORTEST, days_of
from services.ingest.setting_up_pages import add_acts
from services.ingest.sources import FETCHED, SOURCES
from services.ingest.states import (
    EndpointState,
    Last,
    endpoint_details,
    endpoint_states,
    known_source,
    recent_requests,
)
from shared.access import role, wants_json
from shared.db import reading
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import BadPayload, ConfigurationError

log = structlog.get_logger()


def sources_blueprint(deps: WebDeps) -> Blueprint:
    """``/status/sources`` and ``/api/sources``, for admins."""
    blueprint = Blueprint("sources", __name__, template_folder="templates")
    blueprint.register_error_handler(ConfigurationError, _unusable)
    _add_pages(blueprint, deps)
    _add_api(blueprint, deps)
    add_acts(blueprint, deps)
    return blueprint


def _add_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/status/sources")
    @role("admin")
    def page() -> str:
        return render_template(
            "ingest/sources.html",
            states=endpoint_states(deps),
            sources=SOURCES.values(),
            mailboxes=mailbox_states(deps.engine, rfc3339(deps.clock())[:10]),
        )

    @blueprint.get("/status/sources/<source>")
    @role("admin")
    def one(source: str) -> str:
        """Of a source that is fetched, which has no endpoint, too: how long it is kept."""
        found = known_source(source)
        states = endpoint_states(deps)
        with reading(deps.engine) as connection:
            days = days_of(connection, found)
        return render_template(
            "ingest/source.html",
            source=found,
            is_fetched=source in FETCHED,
            states=[state for state in states if state.source == source],
            keep_days=days,
            shortest=SHORTEST,
            longest=LONGEST,
            kinds=kinds_not_seen(found, ()),
        )

    @blueprint.get("/status/sources/<source>/<name>")
    @role("admin")
    def endpoint(source: str, name: str) -> ResponseReturnValue:
        """With ``test`` it begins one: what comes from now on is awaited."""
        if "test" in request.args:
            since = rfc3339(deps.clock())
            awaiting = url_for("sources.endpoint", source=source, name=name, since=since)
            return redirect(f"{awaiting}#requests", 303)
        return render_template(
            "ingest/endpoint.html",
            one=endpoint_details(deps, source, name),
            handshake=waiting_handshake(deps, source, name),
            **_awaited(deps, source, name),
        )

    @blueprint.get("/fragment/sources/<source>/<name>")
    @role("admin")
    def fragment(source: str, name: str) -> str:
        return render_template("ingest/last.html", **_awaited(deps, source, name))


def _add_api(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/api/sources")
    @role("admin")
    def api() -> ResponseReturnValue:
        states = [_plain(state) for state in endpoint_states(deps)]
        boxes = mailbox_states(deps.engine, rfc3339(deps.clock())[:10])
        return jsonify({"sources": states, "mailboxes": [asdict(box) for box in boxes]})

    @blueprint.get("/api/sources/<source>/<name>")
    @role("admin")
    def api_one(source: str, name: str) -> ResponseReturnValue:
        one = endpoint_details(deps, source, name)
        return jsonify({**asdict(one), "state": _plain(one.state)})


def _awaited(deps: WebDeps, source: str, name: str) -> dict[str, Any]:
    """The last requests; with ``since`` also the first answer to a test that began then."""
    recent = recent_requests(deps, source, name)
    since = _instant(request.args.get("since", ""))
    return {
        "recent": recent,
        "since": since,
        "arrived": _after(recent, since),
        "path": f"{source}/{name}",
    }


def _instant(text: str) -> str | None:
    if not text:
        return None
    try:
        return rfc3339(parse_instant(text))
    except ValidationError as error:
        raise BadPayload("since must be a time.") from error


def _after(recent: Sequence[Last], since: str | None) -> Last | None:
    return next((last for last in recent if since and last.at >= since), None)


def _plain(state: EndpointState) -> dict[str, Any]:
    return {**asdict(state), "is_open": state.is_open}


def _unusable(error: ConfigurationError) -> ResponseReturnValue:
    """The file of the endpoints, or its key, is no good: told to the admin, who can mend it.

    The words name a place and never a value.
    """
    why = str(error)
    log.warning("the endpoints cannot be used", why=why)
    if wants_json():
        told = {
            "code": "endpoints_unusable",
            "message": why,
            "not_done": "Nothing was changed.",
            "advice": "Mend what it names: the next request finds it.",
        }
        return jsonify({"error": told}), 503, {"Retry-After": "30"}
    return render_template("ingest/unusable.html", why=why), 503, {"Retry-After": "30"}
