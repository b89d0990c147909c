"""How each endpoint stands: what its sender needs, its last requests by verdict, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from services.ingest.deps import WebDeps
from services.ingest.endpoints import Held
from services.ingest.hook import Endpoint
from services.ingest.kinds import Kind, kinds_not_seen, kinds_seen
from services.ingest.retention import days_of
from services.ingest.source import Option, Source
from services.ingest.sources import FETCHED, SOURCES
from services.ingest.store import tallies
from shared.db import reading
from shared.domain.schema import rfc3339
from shared.errors import NotFound

RESULTS = ("accepted", "duplicate", "refused")
# Of the accepted ones, those that go no further.
ASIDE = ("ignored", "unknown-kind")
UNKNOWN_ADDRESS = "unknown-endpoint"
SHOWN = 6
_SECRETS_DIFFER = (
    "the secret here is not the one that the sender signs with, or the sender signs another "
    "address than the one above"
)
# Reason → what whoever sets the endpoint up can do about it.
ADVICE: Mapping[str, str] = {
    "mismatch": _SECRETS_DIFFER,
    "missing": "the sender does not sign: enter the secret there",
    "malformed": "the signature has another form than this source's: compare the options",
    "stale": "it is an old request, or the sender's clock is wrong",
    "replayed": "it had come before, and counts once",
    "policy": "the signature is right and the rules of this source do not allow it",
    "no-secret": "set a secret here first",
    "not-json": "the sender sends something else than JSON",
    "bad-payload": "the body has another shape than this source's: is it the right source?",
    "too-large": "let the sender send less at once",
    "handshake": "it only sets the delivery up, and is no event",
    "ignored": "it is verified and kept; nothing looks at this kind, on purpose",
    "unknown-kind": "it is verified and kept; this source does not know the kind",
}


@dataclass(frozen=True, kw_only=True)
class Last:
    """The last request of one verdict: ``result`` is accepted, duplicate or refused.

    ``today`` counts those of its day.
    """

    at: str
    result: str
    reason: str
    detail: str
    today: int = 1

    @property
    def advice(self) -> str:
        return ADVICE.get(self.reason, "")


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


@dataclass(frozen=True, kw_only=True)
class EndpointDetails:
    """All of one endpoint. ``recent`` has the newest request of each verdict, newest first.

    ``lost`` is the last request to an address of this source that does not exist.
    """

    state: EndpointState
    public_url: str | None
    held: Sequence[Held]
    recent: Sequence[Last]
    lost: Last | None
    seen: Sequence[Kind]
    not_seen: Sequence[Kind]
    keep_days: int
    options: Mapping[str, Option]
    form: str


def source_named(name: str) -> Source:
    """Raises `NotFound`."""
    source = SOURCES.get(name)
    if source is None:
        raise NotFound("There is no such source.")
    return source


def known_source(name: str) -> Source:
    """As `source_named`, with those that are fetched: they have no endpoint. Raises `NotFound`."""
    return FETCHED.get(name) or source_named(name)


def endpoint_states(deps: WebDeps) -> list[EndpointState]:
    """One for each configured endpoint. Raises `ConfigurationError` for a file that is no good."""
    with reading(deps.engine) as connection:
        rows = _tallies(connection)
    return [_state(deps, endpoint, rows) for endpoint in deps.endpoints.all()]


def endpoint_details(deps: WebDeps, source_name: str, name: str) -> EndpointDetails:
    """Raises `NotFound`, and `ConfigurationError` as `endpoint_states`."""
    source = source_named(source_name)
    endpoint = deps.endpoints.find(source_name, name)
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    with reading(deps.engine) as connection:
        rows = _tallies(connection, source_name)
        seen = kinds_seen(connection, source, name)
        days = days_of(connection, source)
    lost = [row for row in rows if row["reason"] == UNKNOWN_ADDRESS]
    return EndpointDetails(
        state=_state(deps, endpoint, rows),
        public_url=endpoint.public_url,
        held=deps.endpoints.secrets(source_name, name),
        recent=_recent([row for row in rows if row["endpoint"] == name]),
        lost=_last(lost[-1]) if lost else None,
        seen=seen,
        not_seen=kinds_not_seen(source, seen),
        keep_days=days,
        options=source.setup.options,
        form=source.setup.form,
    )


def recent_requests(deps: WebDeps, source: str, name: str) -> list[Last]:
    with reading(deps.engine) as connection:
        rows = _tallies(connection, source)
    return _recent([row for row in rows if row["endpoint"] == name])


def _tallies(connection: Connection, source: str | None = None) -> list[Mapping[str, Any]]:
    """The oldest first."""
    query = select(tallies).order_by(tallies.c.last_at)
    if source is not None:
        query = query.where(tallies.c.source == source)
    return [dict(row) for row in connection.execute(query).mappings()]


def _recent(rows: Sequence[Mapping[str, Any]]) -> list[Last]:
    newest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        newest[row["result"], row["reason"]] = row
    ordered = sorted(newest.values(), key=lambda row: row["last_at"], reverse=True)
    return [_last(row) for row in ordered[:SHOWN]]


def _last(row: Mapping[str, Any]) -> Last:
    return Last(
        at=row["last_at"],
        result=row["result"],
        reason=row["reason"],
        detail=row["detail"],
        today=row["count"],
    )


def _state(deps: WebDeps, endpoint: Endpoint, rows: Sequence[Mapping[str, Any]]) -> EndpointState:
    source = SOURCES[endpoint.source]
    mine = [r for r in rows if (r["source"], r["endpoint"]) == (endpoint.source, endpoint.name)]
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
        option_help={name: option.hint for name, option in source.setup.options.items()},
        today=_today(mine, rfc3339(deps.clock())[:10]),
        last=_last(mine[-1]) if mine else None,
    )


def _today(rows: Sequence[Mapping[str, Any]], day: str) -> dict[str, int]:
    counts = dict.fromkeys((*RESULTS, *ASIDE), 0)
    for row in (row for row in rows if row["day"] == day):
        counts[row["result"]] += row["count"]
        if row["result"] == "accepted" and row["reason"] in ASIDE:
            counts[row["reason"]] += row["count"]
    return counts
