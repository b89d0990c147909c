"""The web applications: all pages and hooks in one process, or those of one service alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from services.place import Place
from shared.domain import ids
from shared.domain.topics import Topic
from shared.settings import load_settings, setting

WEB_SERVICES = ("ingest", "writer", "audit")


FRAME = ("services.measures", "services.readiness", "shared.sessions", "shared.web")
PAGES: Mapping[str, tuple[str, ...]] = {
    "ingest": (),
    "writer": (
        "services.writer.pages",
        "services.writer.routes",
        "shared.people_pages",
        "shared.signing_in",
    ),
    "audit": ("services.dead_pages", "services.status"),
}
"""Modules that only a web process needs, and imports where it needs them."""


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """What every web process needs beside the settings of its service."""

    public_url: str = setting("address under which senders and people reach this installation")
    people_file: Path = setting("the people of this installation")
    sessions_url: str = setting(
        "database of the sessions, which all web processes share", secret=True
    )
    metrics_token: str = setting("opens /metrics to a program", default="", secret=True)
    trusted_proxies: int = setting("proxies in front that set X-Forwarded-*", default=0)


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What `countersign demo` needs where it runs inside the network."""

    door_url: str = setting("the front door as this process reaches it", default="")


def application(given: Mapping[str, Mapping[str, str]]) -> Any:
    """One WSGI application of the services named in ``given``, each with its environment.

    The writer's process serves the frame; without it other processes under the same address do.
    Raises `ConfigurationError`.
    """
    from services.measures import all_measures
    from services.readiness import readiness
    from shared.db import open_database
    from shared.people import People
    from shared.sessions import Sessions
    from shared.web import build_app

    webs = {name: _web(name) for name in given}
    frame = load_settings(FrameSettings, next(iter(given.values())))
    place = load_settings(Place, given.get("audit", next(iter(given.values()))))
    deps = {
        name: webs[name].wire(load_settings(webs[name].settings, given[name])) for name in given
    }
    parts = [(name, webs[name], deps[name]) for name in given]
    writer, audit = deps.get("writer"), deps.get("audit")
    if audit is not None:
        parts.append(_status(deps, place, frame.public_url))
    return build_app(
        parts,
        _people(People, frame.people_file, writer),
        public_url=frame.public_url.rstrip("/"),
        sessions=Sessions(engine=open_database(frame.sessions_url)),
        readiness=readiness(deps, place),
        measures=all_measures(deps, place),
        metrics_token=frame.metrics_token or None,
        trusted_proxies=frame.trusted_proxies,
        share=_share(given),
        **(_of_writer(writer, audit) if writer else {}),
    )


def load(names: Iterable[str]) -> None:
    """Import what the `application` of these services does: a parent does it for all it forks."""
    for name in names:
        _web(name)
        for module in PAGES[name]:
            import_module(module)
    for module in FRAME:
        import_module(module)


def largest_body(path: str, public_url: str = "") -> int:
    """How many bytes a request to this path may bring: what its source takes, or a page."""
    from services.ingest.routes import PREFIX
    from services.ingest.sources import SOURCES
    from shared.web import BODY_LIMIT, below, prefix_of

    path = below(prefix_of(public_url), path)
    source = SOURCES.get(path[len(PREFIX) :].partition("/")[0]) if path.startswith(PREFIX) else None
    return source.max_bytes if source else BODY_LIMIT


def _web(name: str) -> Any:
    """The web part of a service, imported only where it is served."""
    return import_module(f"services.{name}.service").SERVICE.web


def _share(given: Mapping[str, Any]) -> Any:
    if set(given) >= set(WEB_SERVICES):
        return "whole"
    return "front" if "writer" in given else "part"


def _people(people: Any, file: Path, writer: Any | None) -> Any:
    """Only the writer's process changes people, and tells the log."""
    if writer is None:
        return people(file)
    return people(file, on_change=partial(person_changed, writer.unit_of_work))


def _status(deps: Mapping[str, Any], place: Place, public_url: str) -> Any:
    from services.dead_pages import dead_letters
    from services.status import StatusDeps, status
    from shared.service import Web

    status_deps = StatusDeps(
        audit=deps["audit"], writer=deps.get("writer"), place=place, public_url=public_url
    )
    web = Web(settings=Place, wire=lambda _: status_deps, blueprints=(status, dead_letters))
    return "status", web, status_deps


def _of_writer(writer: Any, audit: Any | None) -> dict[str, Any]:
    """What the frame shows: pending numbers, that writing is stopped, and an alarm to admins."""
    from services.status import alarm_banner
    from services.writer import queries
    from shared.web import Banner

    def counts(person: Any) -> Mapping[str, int]:
        found = queries.counts(writer, person)
        return {"queue": found.needs_you, "look": found.worklist}

    def banner() -> Banner | None:
        stop = queries.stop_state(writer)
        if stop.problem:
            return Banner(text=f"Nothing is written: {stop.problem}", href="/status")
        if stop.stopped:
            text = f"Writing is stopped by {stop.person}: {stop.reason}"
            return Banner(text=text, href="/status")
        return alarm_banner(audit) if audit is not None else None

    return {
        "counts": counts,
        "banner": banner,
        "on_session": partial(session_opened, writer.unit_of_work),
    }


def session_opened(unit_of_work: Any, person: str, how: str) -> None:
    """Tell the log who signed in, and how."""
    with unit_of_work.begin() as unit:
        unit.publish(
            Topic.SESSION_OPENED,
            {"person": person, "how": how},
            subject=f"person/{person}",
            actor=f"person:{person}",
            key=ids.fresh(),
        )


def person_changed(unit_of_work: Any, person: str, action: str, roles: Iterable[str]) -> None:
    """Tell the log what became of a person."""
    with unit_of_work.begin() as unit:
        unit.publish(
            Topic.PERSON_CHANGED,
            {"person": person, "action": action, "roles": sorted(roles)},
            subject=f"person/{person}",
            key=ids.fresh(),
        )
