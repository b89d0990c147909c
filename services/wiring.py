"""Where the four services meet in one process tree: the web application and the commands.

Whatever lies in `services/` itself, and `services/backup/`, may know all four; the services know
nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from services.installation import Installation
from services.own_environment import OwnEnvironment
from shared.domain.schema import now
from shared.people import People
from shared.settings import load_settings

if TYPE_CHECKING:
    from services.demonstration_crms import Post
    from services.ingest.endpoints import Endpoints

DEMO = "demo"
Home = Installation | OwnEnvironment
"""What a command works on: the folder of an installation, or its process's own environment."""


def people_of(home: Home) -> People:
    """The people; a change of them goes into the log."""
    return People(home.people, clock=now, on_change=lambda *args: _person_changed(home, *args))


def first_admin(home: Installation) -> None:
    """A first start has one person who may do everything; `countersign people` adds more."""
    add_first_admin(people_of(home))


def add_first_admin(people: People) -> None:
    """Whoever opens the first one-time link."""
    people.add("Admin", roles=("admin", "approver", "support"))


def endpoints_of(home: Home) -> Endpoints:
    from services.ingest.endpoints import Endpoints

    return Endpoints(home.endpoints, home.keys)


def first_endpoints(endpoints: Endpoints, crm_webhook_secret: str) -> None:
    """One endpoint ``demo`` for each source, with a secret of its own, for the demonstration.

    Those that are there stay as they are, with their secrets sealed: a newer version may know more
    sources.
    """
    from services.ingest.sources import SOURCES

    endpoints.seal()
    open_ = {endpoint.source for endpoint in endpoints.all() if endpoint.name == DEMO}
    for name in SOURCES:
        if name not in {"demo-crm", *open_}:
            endpoints.add(name, DEMO)
    if endpoints.find("demo-crm", "default") is None:
        endpoints.add("demo-crm", "default", secrets=(crm_webhook_secret,))


def demo_secrets(home: Home) -> Mapping[str, str]:
    """The first secret of the endpoint ``demo`` of each source; the demo CRM has one of its own."""
    return {
        endpoint.source: endpoint.secrets[0]
        for endpoint in endpoints_of(home).all()
        if endpoint.secrets and (endpoint.name == DEMO or endpoint.source == "demo-crm")
    }


def demo_posts(home: Home, run: str) -> list[Post]:
    """At least one request of every source; ``run`` makes their ids new."""
    from services.demonstration import posts
    from services.demonstration_signed import signed_posts, vendors

    keys = vendors(endpoints_of(home))
    secrets = demo_secrets(home)
    return [*posts(secrets, run), *signed_posts(secrets, keys, run)]


def web_application(home: Installation) -> Any:
    """Hooks, pages and API of all services as one WSGI application."""
    from services.webs import WEB_SERVICES, application

    return application({name: home.environment(name, "web") for name in WEB_SERVICES})


def _person_changed(home: Home, person: str, action: str, roles: Any) -> None:
    from services.webs import person_changed

    with _writer_web(home) as writer:
        person_changed(writer.unit_of_work, person, action, roles)


@contextmanager
def _writer_web(home: Home) -> Iterator[Any]:
    """The writer for one act. Its files are closed again: no process forked later inherits them."""
    from services.writer.service import SERVICE as WRITER

    web = WRITER.web
    assert web is not None
    writer = web.wire(load_settings(web.settings, home.environment("writer", "web")))
    try:
        yield writer
    finally:
        writer.engine.dispose()


def set_writing(home: Home, *, stopped: bool, reason: str) -> None:
    """The stop switch from the command line, in the name of whoever holds the files."""
    from services.writer import switch
    from services.writer.service import units_of
    from shared.db import open_database

    act = switch.stop if stopped else switch.resume
    engine = open_database(home.database("writer"), pooled=False)
    with units_of(engine, home.wake).begin() as unit:
        act(unit, person="command-line", reason=reason)
    engine.dispose()


def commands() -> dict[str, click.Command]:
    """The commands of the services, by name."""
    from services.audit.commands import export, reindex, verify
    from services.backup.commands import backup, migrate, restore
    from services.crm_cli import crm
    from services.dead import dead, replay
    from services.erasing import erase
    from services.ingest.commands import source
    from services.ingest.mailboxes.commands import mailboxes
    from services.keys import keys, reload, sign_out_everyone
    from services.notices import notices
    from services.writer.doctor_cli import doctor
    from services.writer.policy_cli import policy
    from services.writer.survey_cli import survey

    return {
        "backup": backup,
        "crm": crm,
        "dead": dead,
        "doctor": doctor,
        "erase": erase,
        "export": export,
        "keys": keys,
        "mailboxes": mailboxes,
        "migrate": migrate,
        "notices": notices,
        "people": _people_group(),
        "policy": policy,
        "reindex": reindex,
        "reload": reload,
        "replay": replay,
        "restore": restore,
        "sign-out-everyone": sign_out_everyone,
        "source": source,
        "survey": survey,
        "verify": verify,
    }


def _people_group() -> click.Group:
    """The people commands, working on the people of this installation."""
    from shared.people_cli import PeopleCommands, people

    @click.pass_context
    def hand_over(ctx: click.Context) -> None:
        home: Home = ctx.obj
        ctx.obj = PeopleCommands(people=people_of(home), public_url=home.public_url)

    return click.Group("people", commands=people.commands, callback=hand_over, help=people.help)
