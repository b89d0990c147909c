"""A fresh database for a test: a SQLite file, or a schema of a real PostgreSQL.

``TEST_DATABASE=postgresql`` chooses; ``TEST_POSTGRESQL_URL`` says where it is.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from sqlalchemy import Engine

from services.audit.books import open_books
from shared.db import in_schema, make_schema, open_database
from shared.domain.topics import SERVICES

POSTGRESQL = os.environ.get(
    "TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:55432/postgres"
)


def fresh_database(folder: Path, name: str) -> str:
    """The URL of a database of its own for ``name`` in this folder; the same again if asked."""
    if os.environ.get("TEST_DATABASE") != "postgresql":
        return f"sqlite:///{folder}/{name}.db"
    url = in_schema(POSTGRESQL, _schema(folder, name))
    engine = open_database(url)
    make_schema(engine)
    engine.dispose()
    return url


def fresh_books(folder: Path) -> Engine:
    """The databases of all services in this folder in one view, as audit reads them."""
    if os.environ.get("TEST_DATABASE") != "postgresql":
        return open_books(f"sqlite:///{folder}")
    schemas = {name: _schema(folder, name) for name in SERVICES}
    return open_books(POSTGRESQL).execution_options(schema_translate_map=schemas)


def _schema(folder: Path, name: str) -> str:
    return f"test_{uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).hex[:16]}_{name}"
