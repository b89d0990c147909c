"""A database of a real PostgreSQL for one test run; `deploy/dev/services` starts the server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from tests.databases import POSTGRESQL


@contextmanager
def fresh_postgresql(server: str = POSTGRESQL, options: str = "") -> Iterator[str]:
    """Its URL; it is dropped afterwards. Without a server the test is skipped; in CI it fails."""
    admin = create_engine(server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    name = f"test_{uuid.uuid4().hex[:12]}"
    try:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} {options}")
    except OperationalError:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: deploy/dev/services start postgresql")
        pytest.skip("no PostgreSQL: deploy/dev/services start postgresql")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()
