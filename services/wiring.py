"""Where the four services meet in one process tree: the web application and the commands.

Beside this module only `services/embedded.py`, `services/status.py`, `services/backup/` and the
command line know all four; the services know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from services.installation import Installation
from shared.domain import ids
from shared.domain.schema import now
from shared.domain.topics import Topic
from shared.people import People
from shared.settings import load_settings

DEMO = "demo"


def people_of(home: Installation) -> People:
    """The people; a change of them goes into the log."""
    return People(home.people, clock=now, on_change=lambda *args: _person_changed(home, *args))


def first_admin(home: Installation) -> None:
    """A first start has one person who may do everything; `countersign people` adds more."""
    people_of(home).add("Admin", roles=("admin", "approver", "support"))


def first_endpoints(home: Installation) -> None:
    """One endpoint ``demo`` for each source, with a secret of its own, for the demonstration.

    Those that are there stay as they are: a newer version may know more sources.
    """
    from services.ingest.endpoints import Endpoints
    from services.ingest.sources import SOURCES

    endpoints = Endpoints(home.endpoints)
    open_ = {endpoint.source for endpoint in endpoints.all() if endpoint.name == DEMO}
    for name in SOURCES:
        if name not in {"demo-crm", *open_}:
            endpoints.add(name, DEMO)
    if endpoints.find("demo-crm", "default") is None:
        endpoints.add("demo-crm", "default", secrets=(home.crm_webhook_secret,))


def demo_secrets(home: Installation) -> Mapping[str, str]:
    """The first secret of the endpoint ``demo`` of each source."""
    from services.ingest.endpoints import Endpoints

    first_endpoints(home)
    return {
        endpoint.source: endpoint.secrets[0]
        for endpoint in Endpoints(home.endpoints).all()
        if endpoint.name == DEMO and endpoint.secrets
    }


def web_application(home: Installation) -> Any:
    """Hooks, pages and API of all services as one WSGI application."""
    from services.audit.service import SERVICE as AUDIT
    from services.ingest.service import SERVICE as INGEST
    from services.status import StatusDeps, measures, status
    from services.writer import queries
    from services.writer.service import SERVICE as WRITER
    from shared.db import open_database
    from shared.service import Web
    from shared.sessions import Sessions
    from shared.web import Banner, build_app

    parts = []
    for service in (INGEST, WRITER, AUDIT):
        web = service.web
        assert web is not None
        deps = web.wire(load_settings(web.settings, home.environment(service.name, "web")))
        parts.append((service.name, web, deps))
    status_deps = StatusDeps(home=home, parts={name: deps for name, _, deps in parts})
    writer = status_deps.parts["writer"]
    frame = Web(settings=object, wire=lambda _: status_deps, blueprints=(status,))

    def counts(person: Any) -> Mapping[str, int]:
        found = queries.counts(writer, person)
        return {"queue": found.needs_you, "look": found.worklist}

    def banner() -> Banner | None:
        stop = queries.stop_state(writer)
        if stop.problem:
            return Banner(text=f"Nothing is written: {stop.problem}", href="/status")
        if stop.stopped:
            return Banner(
                text=f"Writing is stopped by {stop.person}: {stop.reason}", href="/status"
            )
        return None

    return build_app(
        [*parts, ("status", frame, status_deps)],
        people_of(home),
        public_url=home.public_url,
        sessions=Sessions(engine=open_database(home.database("sessions"))),
        counts=counts,
        banner=banner,
        readiness={"writing": lambda: queries.stop_state(writer).problem},
        measures=(lambda: measures(status_deps),),
        metrics_token=home.token("metrics"),
        on_session=lambda person, how: _session_opened(writer, person, how),
    )


def _session_opened(writer: Any, person: str, how: str) -> None:
    with writer.unit_of_work.begin() as unit:
        unit.publish(
            Topic.SESSION_OPENED,
            {"person": person, "how": how},
            subject=f"person/{person}",
            actor=f"person:{person}",
            key=ids.fresh(),
        )


def _person_changed(home: Installation, person: str, action: str, roles: Any) -> None:
    with _writer_web(home) as writer, writer.unit_of_work.begin() as unit:
        unit.publish(
            Topic.PERSON_CHANGED,
            {"person": person, "action": action, "roles": sorted(roles)},
            subject=f"person/{person}",
            key=ids.fresh(),
        )


@contextmanager
def _writer_web(home: Installation) -> Iterator[Any]:
    """The writer for one act. Its files are closed again: no process forked later inherits them."""
    from services.writer.service import SERVICE as WRITER

    web = WRITER.web
    assert web is not None
    writer = web.wire(load_settings(web.settings, home.environment("writer", "web")))
    try:
        yield writer
    finally:
        writer.engine.dispose()


def set_writing(home: Installation, *, stopped: bool, reason: str) -> None:
    """The stop switch from the command line, in the name of whoever holds the files."""
    from services.writer import switch

    act = switch.stop if stopped else switch.resume
    with _writer_web(home) as writer, writer.unit_of_work.begin() as unit:
        act(unit, person="command-line", reason=reason)


def commands() -> dict[str, click.Command]:
    """The commands of the services, by name."""
    from services.audit.commands import erase, export, reindex, verify
    from services.backup.commands import backup, migrate, restore
    from services.dead import dead, replay
    from services.ingest.commands import source
    from services.keys import keys, reload, sign_out_everyone
    from services.writer.policy_cli import policy

    return {
        "backup": backup,
        "dead": dead,
        "erase": erase,
        "export": export,
        "keys": keys,
        "migrate": migrate,
        "people": _people_group(),
        "policy": policy,
        "reindex": reindex,
        "reload": reload,
        "replay": replay,
        "restore": restore,
        "sign-out-everyone": sign_out_everyone,
        "source": source,
        "verify": verify,
    }


def _people_group() -> click.Group:
    """The people commands, working on the people of this installation."""
    from shared.people_cli import PeopleCommands, people

    @click.pass_context
    def hand_over(ctx: click.Context) -> None:
        home: Installation = ctx.obj
        ctx.obj = PeopleCommands(people=people_of(home), public_url=home.public_url)

    return click.Group("people", commands=people.commands, callback=hand_over, help=people.help)
