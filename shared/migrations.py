"""Bringing a database to the newest schema, or refusing one that is newer than this program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, inspect, text

from shared.db import make_schema, open_database, reading, writing
from shared.errors import ConfigurationError, StoreUnavailable

# Two databases of the same form, one for each side of the CRMs.
SAME_FORM = {"grants_read": "grants", "grants_write": "grants"}
SCRIPTS = Path(__file__).resolve().parent.parent / "deploy" / "migrations"
REVISION = re.compile(r'^revision = "([0-9a-z_]+)"', re.MULTILINE)


def migrate(engine: Engine, service: str) -> None:
    """Upgrade the database of ``service``. Does nothing, quickly, where it is up to date.

    Raises `ConfigurationError` for a database that a newer version has upgraded.
    """
    found, known = _found(engine), _known(service)
    if found == known[-1]:
        return
    if found is not None and found not in known:
        raise _too_new(service, found)
    _upgrade(engine, service, "head")


def is_newest(url: str, service: str) -> bool:
    """Whether the database at ``url`` has the newest schema already. Raises `StoreUnavailable`."""
    engine = open_database(url, pooled=False)
    try:
        return _found(engine) == _known(service)[-1]
    finally:
        engine.dispose()


def bring_up(url: str, service: str) -> None:
    """Schema and tables of the database at ``url``, in the newest form; it may take its time.

    Raises `StoreUnavailable`, and `ConfigurationError` as `migrate`.
    """
    engine = open_database(url, pooled=False)
    try:
        make_schema(engine)
        migrate(engine, service)
    finally:
        engine.dispose()


def migrate_to(engine: Engine, service: str, revision: str) -> None:
    """Make the tables as they were at ``revision``: what is restored then fits into them.

    Raises `ConfigurationError` for a revision that this version does not know.
    """
    if revision not in _known(service):
        raise ConfigurationError(
            f"the backup of {service} was made by a newer version ({revision}): "
            "restore it with that version"
        )
    _upgrade(engine, service, revision)


def newest(service: str) -> str:
    """The revision that this version brings a database to."""
    return _known(service)[-1]


def require_newest(engine: Engine, service: str) -> None:
    """Raise `StoreUnavailable` until the database of ``service`` has the newest schema.

    Raises `ConfigurationError` for one that a newer version has upgraded.
    """
    found, known = _found(engine), _known(service)
    if found is not None and found not in known:
        raise _too_new(service, found)
    if found != known[-1]:
        raise StoreUnavailable(f"the {service} database is not set up yet: `countersign setup`")


def _too_new(service: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"the {service} database was upgraded by a newer version ({found}): "
        "start that version, or restore a backup made before the upgrade"
    )


def config_for(service: str) -> Any:
    """The alembic configuration whose history is the one of ``service``."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("version_locations", str(_folder(service)))
    config.set_main_option("path_separator", "newline")
    return config


def _found(engine: Engine) -> str | None:
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def _known(service: str) -> list[str]:
    """The revisions in order: their files are numbered."""
    files = sorted(_folder(service).glob("[0-9]*.py"))
    found = [REVISION.search(file.read_text()) for file in files]
    return [match.group(1) for match in found if match]


def _folder(service: str) -> Path:
    return SCRIPTS / SAME_FORM.get(service, service)


def _upgrade(engine: Engine, service: str, revision: str) -> None:
    from alembic import command

    config = config_for(service)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
