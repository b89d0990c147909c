"""The migrated database is the declared one, and a newer database is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import MetaData, text

from services.declarations import SERVICES
from shared import sessions
from shared.crm import grants
from shared.db import open_database, writing
from shared.errors import ConfigurationError
from shared.migrations import migrate

TABLES: dict[str, MetaData] = {
    **{service.name: service.tables for service in SERVICES},
    "sessions": sessions.metadata,
    "grants_read": grants.metadata,
    "grants_write": grants.metadata,
}


@pytest.mark.parametrize("name", TABLES)
def test_migrating_gives_exactly_the_declared_tables(name: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_database(f"sqlite:///{tmp_path}/x.db", pooled=False)
    migrate(engine, name)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), TABLES[name])
    engine.dispose()
    assert differences == []


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/x.db", pooled=False)
    migrate(engine, "sessions")
    migrate(engine, "sessions")
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/x.db", pooled=False)
    migrate(engine, "sessions")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        migrate(engine, "sessions")
    engine.dispose()
