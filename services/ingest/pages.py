"""The pages and API of ingest: how each endpoint stands, and the raw bytes of an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, Response, jsonify, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from services.ingest.deps import WebDeps
from services.ingest.hook import Endpoint
from services.ingest.mailboxes.shown import mailbox_states
from services.ingest.raw import raw_bytes
from services.ingest.sources import SOURCES
from services.ingest.store import tallies
from shared.access import current_person, role
from shared.db import reading
from shared.domain import ids
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import ConfigurationError

RESULTS = ("accepted", "duplicate", "refused")
# Of the accepted ones, those that go no further.
ASIDE = ("ignored", "unknown-kind")


@dataclass(frozen=True, kw_only=True)
class Last:
    """The last request: ``result`` is accepted, duplicate or refused."""

    at: str
    result: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class EndpointState:
    """What a person needs to set an endpoint up and to see whether it works. No secret in it."""

    source: str
    title: str
    name: str
    url: str
    secrets: int
    screen: str
    credential: str
    made_by: str
    options: Mapping[str, str]
    option_help: Mapping[str, str]
    today: Mapping[str, int]
    last: Last | None

    @property
    def is_open(self) -> bool:
        return self.secrets > 0


def sources_blueprint(deps: WebDeps) -> Blueprint:
    blueprint = Blueprint("sources", __name__, template_folder="templates")

    @blueprint.get("/status/sources")
    @role("admin")
    def page() -> str:
        states, problem = _states_or_problem(deps)
        missing = [source for source in SOURCES.values() if source.name not in _names(states)]
        return render_template(
            "ingest/sources.html",
            states=states,
            problem=problem,
            missing=missing,
            mailboxes=mailbox_states(deps.engine, rfc3339(deps.clock())[:10]),
        )

    @blueprint.get("/api/sources")
    @role("admin")
    def api() -> ResponseReturnValue:
        states = endpoint_states(deps)
        boxes = mailbox_states(deps.engine, rfc3339(deps.clock())[:10])
        return jsonify(
            {
                "sources": [{**asdict(s), "is_open": s.is_open} for s in states],
                "mailboxes": [asdict(box) for box in boxes],
            }
        )

    @blueprint.get("/raw/<id_>")
    @role("approver", "admin")
    def raw(id_: str) -> ResponseReturnValue:
        return _raw(deps, id_)

    return blueprint


def endpoint_states(deps: WebDeps) -> list[EndpointState]:
    """One for each configured endpoint. Raises `ConfigurationError` for a file that is no good."""
    day = rfc3339(deps.clock())[:10]
    with reading(deps.engine) as connection:
        newest = [
            dict(row)
            for row in connection.execute(select(tallies).order_by(tallies.c.last_at)).mappings()
        ]
    last = {(row["source"], row["endpoint"]): row for row in newest}
    today: dict[tuple[str, str], dict[str, int]] = {}
    for row in newest:
        if row["day"] == day:
            counts = today.setdefault((row["source"], row["endpoint"]), _no_requests())
            counts[row["result"]] += row["count"]
            if row["result"] == "accepted" and row["reason"] in ASIDE:
                counts[row["reason"]] += row["count"]
    return [
        _state(
            deps,
            endpoint,
            today.get((endpoint.source, endpoint.name), _no_requests()),
            last.get((endpoint.source, endpoint.name)),
        )
        for endpoint in deps.endpoints.all()
    ]


def _no_requests() -> dict[str, int]:
    return dict.fromkeys((*RESULTS, *ASIDE), 0)


def _state(
    deps: WebDeps, endpoint: Endpoint, today: Mapping[str, int], row: Mapping[str, Any] | None
) -> EndpointState:
    source = SOURCES[endpoint.source]
    return EndpointState(
        source=source.name,
        title=source.title,
        name=endpoint.name,
        url=endpoint.public_url or f"{deps.public_url}{endpoint.path}",
        secrets=len(endpoint.secrets),
        screen=source.setup.screen,
        credential=source.setup.credential,
        made_by=source.setup.made_by,
        options=endpoint.options,
        option_help=source.setup.options,
        today=today,
        last=None
        if row is None
        else Last(
            at=row["last_at"], result=row["result"], reason=row["reason"], detail=row["detail"]
        ),
    )


def _states_or_problem(deps: WebDeps) -> tuple[list[EndpointState], str | None]:
    """A file that is no good is shown to the admin who can mend it."""
    try:
        return endpoint_states(deps), None
    except ConfigurationError as error:
        return [], str(error)


def _names(states: Iterable[EndpointState]) -> set[str]:
    return {state.source for state in states}


def _raw(deps: WebDeps, id_: str) -> Response:
    """The bytes as they came. Who looked at what is in the log before they leave."""
    content, sha256, _ = raw_bytes(deps.engine, deps.files, id_)
    person = current_person()
    with deps.unit_of_work.begin() as unit:
        unit.publish(
            Topic.RECORD_UNMASKED,
            {"what": f"raw/{sha256}", "reason": "opened the raw request"},
            subject=f"event/{id_}",
            chain=id_,
            actor=f"person:{person.id}",
            key=ids.fresh(),
        )
    try:
        content.decode("utf-8")
        media_type = "text/plain; charset=utf-8"
    except UnicodeDecodeError:
        media_type = "application/octet-stream"
    response = Response(content, content_type=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{sha256[:16]}.txt"'
    response.headers["Content-Digest"] = f"sha-256={sha256}"
    return response
