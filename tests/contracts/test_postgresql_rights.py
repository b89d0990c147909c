"""Who may do what to which table, on a real PostgreSQL: each cell is tried, the allowed ones too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg import Connection, connect
from psycopg.errors import InsufficientPrivilege, IntegrityError, OperationalError
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from services import rights
from services.audit.tables import ENTRIES
from shared.db import in_schema, make_schema, open_database
from shared.errors import ConfigurationError
from shared.migrations import migrate
from tests.contracts.postgresql import fresh_postgresql

FILE = Path(__file__).parents[2] / "deploy" / "postgresql" / "roles.sql"
SCHEMAS = ("ingest", "classifier", "writer", "audit", "sessions", "grants_read", "grants_write")
OWN = {
    "ingest": {"ingest", "sessions"},
    "classifier": {"classifier", "grants_read"},
    "writer": {"writer", "sessions", "grants_read", "grants_write"},
    "audit": {"audit", "sessions"},
    "reconciler": set[str](),
}
ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
NEVER = ("TRUNCATE", "CREATE", "ALTER", "DROP", "TRIGGER")
# What a service may not do to a table of its own.
KEPT = {
    ("ingest", "accepted"): {"DELETE"},
    ("ingest", "deliveries"): {"DELETE"},
    ("ingest", "refusals"): {"DELETE"},
    ("writer", "decisions"): {"UPDATE"},
    ("audit", "entries"): {"UPDATE", "DELETE"},
    ("audit", "checkpoints"): {"UPDATE", "DELETE"},
    ("audit", "bodies"): {"UPDATE"},
    ("audit", "chain_keys"): {"DELETE"},
}
COUNTED = {
    "ingest.accepted": {"seq", "id", "received_at", "sent_at", "sent_as"},
    "writer.classifications": {"event_id", "outcome"},
    "writer.proposals": {"id", "state", "created_at"},
    "writer.changes": {"id", "proposal_id", "state"},
    "audit.entries": {"seq", "at", "topic", "subject", "chain", "message_id"},
    "audit.event_ends": {"event", "outcome", "failed"},
    **{
        f"{service}.{table}": columns
        for service in ("ingest", "classifier", "writer", "audit")
        for table, columns in {
            "outbox": {"seq", "message_id", "topic", "chain", "created_at", "sent_at"},
            "inbox": {"message_id", "handled_at"},
        }.items()
    },
    **{
        f"{service}.{table}": columns
        for service in ("ingest", "writer", "audit")
        for table, columns in {
            "alarms": {"name", "labels", "state", "value", "since", "raised_at", "over_at"}
            | {"told_at", "is_told"},
            "notice_channels": {"name", "since", "seen", "sent_at", "failed_at", "error"},
            "notices": {"channel", "state"},
        }.items()
    },
}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A migrated database with its rights; ``tables`` by schema, each with its columns."""

    url: str
    tables: dict[str, dict[str, list[str]]]
    connections: dict[str, Connection] = field(default_factory=dict)

    def connection(self, role: str) -> Connection:
        """One for all that a role tries."""
        if role not in self.connections:
            self.connections[role] = self.sign_in(role)
        return self.connections[role]

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()

    def sign_in(self, role: str) -> Connection:
        url = make_url(self.url).set(drivername="postgresql", username=role)
        return connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    with fresh_postgresql() as url:
        for name in SCHEMAS:
            engine = open_database(in_schema(url, name))
            make_schema(engine)
            migrate(engine, name)
            engine.dispose()
        owner = open_database(url)
        rights.grant(owner)
        rights.grant(owner)  # A second time changes nothing.
        found = Opened(url=url, tables={schema: _tables(owner, schema) for schema in SCHEMAS})
        owner.dispose()
        yield found
        found.close()


def _tables(engine: Engine, schema: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s",
            (schema,),
        )
        for table, column in rows:
            found.setdefault(table, []).append(column)
    return found


def allowed(opened: Opened, role: str, statement: str) -> bool:
    """Whether the right is there; what else is wrong with the statement is none of it."""
    connection = opened.connection(role)
    with connection.transaction(force_rollback=True):
        try:
            with connection.transaction():
                connection.execute(statement)
        except InsufficientPrivilege:
            return False
        except IntegrityError:
            return True  # The table does not take this row, whoever brings it.
        return True


def attempt(verb: str, table: str, column: str) -> str:
    return {
        "SELECT": f"SELECT {column} FROM {table}",
        "INSERT": f"INSERT INTO {table} DEFAULT VALUES",
        "UPDATE": f"UPDATE {table} SET {column} = NULL",
        "DELETE": f"DELETE FROM {table}",
        "TRUNCATE": f"TRUNCATE {table}",
        "CREATE": f"CREATE TABLE {table}_more (id int)",
        "ALTER": f"ALTER TABLE {table} ADD COLUMN more int",
        "DROP": f"DROP TABLE {table}",
        "TRIGGER": f"CREATE INDEX more ON {table} ({column})",
    }[verb]


@pytest.mark.parametrize("verb", ROWS)
@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("role", ["ingest", "classifier", "writer", "audit"])
def test_a_service_reads_and_writes_rows_of_its_own_and_of_no_other(
    opened: Opened, role: str, schema: str, verb: str
) -> None:
    for table, columns in opened.tables[schema].items():
        kept = {"INSERT", "UPDATE", "DELETE"} if table == "alembic_version" else set()
        may = schema in OWN[role] and verb not in kept | KEPT.get((schema, table), set())
        did = allowed(opened, role, attempt(verb, f"{schema}.{table}", columns[0]))
        assert did == may, f"{role}: {verb} {schema}.{table}"


@pytest.mark.parametrize("verb", NEVER)
@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("role", OWN)
def test_nobody_but_the_owner_changes_a_schema(
    opened: Opened, role: str, schema: str, verb: str
) -> None:
    for table, columns in opened.tables[schema].items():
        assert not allowed(opened, role, attempt(verb, f"{schema}.{table}", columns[0])), table


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_reconciler_reads_what_is_counted_and_nothing_else(opened: Opened, schema: str) -> None:
    for table, columns in opened.tables[schema].items():
        for column in columns:
            name = f"{schema}.{table}"
            may = column in COUNTED.get(name, set())
            assert allowed(opened, "reconciler", f"SELECT {column} FROM {name}") == may, (
                f"{name}.{column}"
            )


@pytest.mark.parametrize("verb", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_reconciler_writes_nothing(opened: Opened, schema: str, verb: str) -> None:
    for table, columns in opened.tables[schema].items():
        assert not allowed(opened, "reconciler", attempt(verb, f"{schema}.{table}", columns[0]))


@pytest.mark.parametrize("role", OWN)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SET ROLE postgres",
        "ALTER ROLE postgres PASSWORD 'mine'",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_a_role_has_no_way_around(opened: Opened, role: str, statement: str) -> None:
    assert not allowed(opened, role, statement)


def test_a_role_that_is_none_of_ours_does_not_come_in(opened: Opened) -> None:
    stranger = f"t{secrets.token_hex(6)}"
    with closing(opened.sign_in("postgres")) as admin:
        admin.execute(f"CREATE ROLE {stranger} LOGIN")
        try:
            with pytest.raises(OperationalError, match="CONNECT"):
                opened.sign_in(stranger)
        finally:
            admin.execute(f"DROP ROLE {stranger}")


def test_a_right_that_was_given_by_hand_is_gone_after_the_next_grant(opened: Opened) -> None:
    name = f"audit.{ENTRIES.name}"
    engine = open_database(opened.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT UPDATE ON {name} TO audit, reconciler")
    assert allowed(opened, "audit", attempt("UPDATE", name, "seq"))
    rights.grant(engine)
    engine.dispose()
    assert not allowed(opened, "audit", attempt("UPDATE", name, "seq"))


def test_the_server_is_told_no_password_but_its_verifier(opened: Opened) -> None:
    engine = open_database(opened.url)
    try:
        rights.set_passwords(engine, {"reconciler": "correct horse"})
        with engine.connect() as connection:
            [kept] = connection.exec_driver_sql(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'reconciler'"
            ).one()
        assert kept.startswith("SCRAM-SHA-256$")
        with pytest.raises(ConfigurationError, match="no role postgres"):
            rights.set_passwords(engine, {"postgres": "x"})
    finally:
        engine.dispose()


def test_who_may_not_grant_is_told_what_to_do(opened: Opened) -> None:
    engine = open_database(
        make_url(opened.url).set(username="writer").render_as_string(hide_password=False)
    )
    with pytest.raises(ConfigurationError, match=r"roles\.sql"):
        rights.grant(engine)
    engine.dispose()


def test_an_administrators_script_makes_what_an_owner_without_rights_then_fills() -> None:
    """The script first, the migrations as its owner, and the grants need no administrator."""
    with fresh_postgresql() as url:
        script = rights.script()
        with closing(connect(url.replace("+psycopg", ""), autocommit=True)) as admin:
            admin.execute(script)
            admin.execute(script)
        mine = make_url(url).set(username=rights.OWNER).render_as_string(hide_password=False)
        for name in SCHEMAS:
            engine = open_database(in_schema(mine, name))
            make_schema(engine)
            migrate(engine, name)
            engine.dispose()
        owner = open_database(mine)
        rights.grant(owner)
        found = Opened(url=url, tables={"audit": _tables(owner, "audit")})
        owner.dispose()
        assert allowed(found, "audit", "INSERT INTO audit.entries DEFAULT VALUES")
        assert not allowed(found, "audit", "DELETE FROM audit.entries")
        assert not allowed(found, rights.OWNER, "SET ROLE postgres")
        found.close()


def test_the_kept_file_is_what_the_module_gives() -> None:
    assert FILE.read_text() == rights.script()
