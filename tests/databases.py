"""A fresh database for a test: a SQLite file, or a schema of a real PostgreSQL.

``TEST_DATABASE=postgresql`` chooses; ``TEST_POSTGRESQL_URL`` says where it is.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from shared.db import in_schema, make_schema, open_database

POSTGRESQL = os.environ.get(
    "TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:55432/postgres"
)


def fresh_database(folder: Path, name: str) -> str:
    """The URL of a database of its own for ``name`` in this folder; the same again if asked."""
    if os.environ.get("TEST_DATABASE") != "postgresql":
        return f"sqlite:///{folder}/{name}.db"
    schema = f"test_{uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).hex[:16]}_{name}"
    url = in_schema(POSTGRESQL, schema)
    engine = open_database(url)
    make_schema(engine)
    engine.dispose()
    return url
