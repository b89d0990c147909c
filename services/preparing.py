"""`countersign setup`: makes in the servers what the distributed form needs, and the first admin.

It may be run again and again; it waits for servers that are slow to start.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from services.occupied import refuse_unfit
from shared.patience import end_on_sigterm, patiently
from shared.settings import ProcessSettings, setting


@dataclass(frozen=True, kw_only=True)
class SetupSettings(ProcessSettings):
    """Owner of the database, administrator of the broker, and the folders of first files."""

    database_url: str = setting("database, as its owner", secret=True)
    role_passwords: str = setting("JSON: password by database role", secret=True)
    broker_url: str = setting("broker, as its administrator", secret=True)
    search_url: str = setting("search index", secret=True)
    crm_webhook_secret: str = setting("what the demo CRM signs with: whsec_…", secret=True)
    people_file: Path = setting("the people of this installation")
    endpoints_file: Path = setting("the configured endpoints with their secrets")
    keys_dir: Path = setting("folder of endpoints.key, which seals those secrets")
    policy_file: Path = setting("the policy: what may be proposed at all")
    public_url: str = setting("address under which senders and people reach this installation")


def prepare(settings: SetupSettings) -> None:
    """Everything that is missing, in order. Raises `ConfigurationError`."""
    end_on_sigterm()
    refuse_unfit(settings.people_file.parent, on_servers=True)
    _first_files(settings)
    for what, act in (
        ("database", partial(_prepare_database, settings)),
        ("broker", partial(_prepare_broker, settings.broker_url)),
        ("search index", partial(_prepare_search, settings.search_url)),
    ):
        click.echo(f"{what:13} waiting for it …")
        patiently(act)
        click.echo(f"{what:13} ready")
    _greet(settings)


def _first_files(settings: SetupSettings) -> None:
    from services.ingest.endpoints import Endpoints
    from services.installation import SHIPPED_POLICY
    from services.wiring import first_endpoints

    if not settings.policy_file.exists():
        shutil.copyfile(SHIPPED_POLICY, settings.policy_file)
    first_endpoints(
        Endpoints(settings.endpoints_file, settings.keys_dir), settings.crm_webhook_secret
    )


def _prepare_database(settings: SetupSettings) -> None:
    """Schemas, tables, roles with their passwords, and exactly their rights."""
    from services.rights import SCHEMAS, grant, set_passwords
    from shared.db import in_schema, open_database
    from shared.migrations import bring_up

    for schema in SCHEMAS:
        bring_up(in_schema(settings.database_url, schema), schema)
    owner = open_database(settings.database_url)
    try:
        grant(owner)
        set_passwords(owner, json.loads(settings.role_passwords))
    finally:
        owner.dispose()


def _prepare_broker(broker_url: str) -> None:
    from shared.bus.connection import connect
    from shared.bus.topology import declare

    connection = connect(broker_url)
    try:
        declare(connection)
    finally:
        connection.release()


def _prepare_search(search_url: str) -> None:
    from services.audit.search.index import open_index
    from services.audit.service import INDICES

    open_index(search_url, INDICES).create()


def _greet(settings: SetupSettings) -> None:
    """The first start has one admin; each start prints a fresh one-time link of an admin."""
    from services.webs import person_changed
    from services.wiring import add_first_admin
    from shared.people import People

    with_log: Callable[..., None] = partial(person_changed, _writer_units(settings.database_url))
    people = People(settings.people_file, on_change=with_log)
    if not people.all():
        add_first_admin(people)
    admin = next(one for one in people.all() if "admin" in one.roles and not one.disabled)
    click.echo(f"Countersign     {settings.public_url}")
    click.echo(f"Sign in once    {settings.public_url}/sign-in/{people.make_link(admin.id)}")
    click.echo("                the link is good for 15 minutes; `countersign setup` makes another")


def _writer_units(database_url: str) -> Any:
    """The writer's outbox, through which the log hears of people."""
    from services.writer.service import units_of
    from shared.db import in_schema, open_database
    from shared.domain.topics import WRITER

    # PostgreSQL wakes the worker; there is no folder of sockets.
    return units_of(open_database(in_schema(database_url, WRITER)), Path())
