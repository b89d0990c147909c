"""Who may do what in PostgreSQL: one login role for each service, and one that reads the balance.

Print it with ``python -m services.rights``; it is kept in ``deploy/postgresql``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from shared.crm.grant_settings import READ, WRITE
from shared.db import translated
from shared.domain.topics import AUDIT, CLASSIFIER, INGEST, SERVICES, WRITER
from shared.errors import ConfigurationError

OWNER: Final = "countersign"
RECONCILER: Final = "reconciler"
ROLES: Final = (*SERVICES, RECONCILER)
SESSIONS: Final = "sessions"
GRANTS: Final[Mapping[str, tuple[str, ...]]] = {READ: (CLASSIFIER, WRITER), WRITE: (WRITER,)}
"""Who has which side's grants for the CRMs; only whoever has its key can open them."""
SCHEMAS: Final = (*SERVICES, SESSIONS, *GRANTS)

# Whose web processes sign people in.
WITH_PAGES: Final = (INGEST, WRITER, AUDIT)
EVERYTHING: Final = "SELECT, INSERT, UPDATE, DELETE"

# Where a service may do less than everything to a table of its own: what is accepted, decided or
# logged is not changed; what a person is erased from can go, of a log entry only its content.
LESS: Final[Mapping[str, Mapping[str, str]]] = {
    INGEST: {
        "accepted": "SELECT, INSERT, UPDATE",
        "deliveries": "SELECT, INSERT, UPDATE",
        "refusals": "SELECT, INSERT, UPDATE",
    },
    WRITER: {"decisions": "SELECT, INSERT, DELETE"},
    AUDIT: {
        "entries": "SELECT, INSERT",
        "checkpoints": "SELECT, INSERT",
        "bodies": "SELECT, INSERT, DELETE",
        "chain_keys": "SELECT, INSERT, UPDATE",
    },
}

# What the balance, the ages and the checks of a fault run are counted from; no personal data.
SENT: Final = {
    "outbox": "seq, message_id, topic, chain, created_at, sent_at",
    "inbox": "message_id, handled_at",
}
TOLD: Final = {
    "alarms": "name, labels, state, value, since, raised_at, over_at, told_at, is_told",
    "notice_channels": "name, since, seen, sent_at, failed_at, error",
    "notices": "channel, state",
}
READABLE: Final[Mapping[str, Mapping[str, str]]] = {
    INGEST: {**SENT, **TOLD, "accepted": "seq, id, received_at, sent_at, sent_as"},
    CLASSIFIER: SENT,
    WRITER: {
        **SENT,
        **TOLD,
        "classifications": "event_id, outcome",
        "proposals": "id, state, created_at",
        "changes": "id, proposal_id, state",
    },
    AUDIT: {
        **SENT,
        **TOLD,
        "entries": "seq, at, topic, subject, chain, message_id",
        "event_ends": "event, outcome, failed",
    },
}


def grant(engine: Engine) -> None:
    """Make the roles that are missing, and give each exactly its rights. May be run again.

    ``engine`` is the owner's, after the migrations: a new table has no rights before. Raises
    `ConfigurationError` where roles are missing and this user may make none.
    """
    try:
        # Without parameters the driver leaves the percent signs of ``format`` alone.
        with translated(), engine.connect().execution_options(no_parameters=True) as connection:
            with connection.begin():
                for statement in statements():
                    connection.exec_driver_sql(statement)
    except ProgrammingError as error:
        raise ConfigurationError(
            f"the rights in PostgreSQL cannot be granted ({type(error.orig).__name__}): this user "
            "must own the schemas and be able to make roles, or a superuser runs "
            "deploy/postgresql/roles.sql first"
        ) from error


def set_passwords(engine: Engine, passwords: Mapping[str, str]) -> None:
    """Give roles their passwords, by role. The server only ever sees what it stores: a verifier.

    Raises `ConfigurationError` for a role that is none of ours.
    """
    if unknown := set(passwords) - {*ROLES, OWNER}:
        raise ConfigurationError(f"there is no role {', '.join(sorted(unknown))}")
    with translated(), engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        for role, password in passwords.items():
            verifier = driver.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD '{verifier}'")


def statements() -> Iterator[str]:
    """Roles without passwords, the database itself, then schema by schema."""
    for role in ROLES:
        yield _role(role)
    yield _database()
    for schema in SCHEMAS:
        yield from _schema(schema)


def script() -> str:
    """All of it for an administrator: the owner and its schemas too."""
    first = [
        _role(OWNER),
        *(f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {OWNER}" for name in SCHEMAS),
        _block(f"EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO {OWNER}', "
               "current_database());"),
    ]  # fmt: skip
    head = (
        "-- Roles and rights of Countersign, generated: `python -m services.rights`.\n"
        "-- Run it as a superuser in Countersign's database, before the first migration and after\n"
        f"-- each: {OWNER} migrates, a new table has no rights before. Roles have no password and\n"
        "-- cannot sign in until they are given one (`\\password ingest`).\n"
        "BEGIN;\n"
    )
    return head + "".join(f"{text};\n" for text in (*first, *statements())) + "COMMIT;\n"


def _role(name: str) -> str:
    """Another may be making it at the same time: roles belong to the whole server."""
    return _block(
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN "
        f"CREATE ROLE {name} LOGIN; END IF; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;"
    )


def _database() -> str:
    """Nobody but these roles comes in. Only the database's owner can say so."""
    return _block(
        "IF pg_has_role(current_user, 'pg_database_owner', 'USAGE') THEN "
        "REVOKE ALL ON SCHEMA public FROM PUBLIC; "
        "EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); "
        f"EXECUTE format('GRANT CONNECT ON DATABASE %I TO {', '.join(ROLES)}', "
        "current_database()); END IF;"
    )


def _schema(schema: str) -> Iterator[str]:
    """First nothing, then what the tables say: a right that was taken back is gone."""
    everyone = ", ".join(("PUBLIC", *ROLES))
    yield f"REVOKE ALL ON SCHEMA {schema} FROM {everyone}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {everyone}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {everyone}"
    users = WITH_PAGES if schema == SESSIONS else GRANTS.get(schema, (schema,))
    for role in users:
        yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        yield f"GRANT {EVERYTHING} ON ALL TABLES IN SCHEMA {schema} TO {role}"
        yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
        for table, verbs in {**LESS.get(schema, {}), "alembic_version": "SELECT"}.items():
            yield _on_table(
                f"{schema}.{table}",
                f"REVOKE ALL ON {schema}.{table} FROM {role}; "
                f"GRANT {verbs} ON {schema}.{table} TO {role};",
            )
    if schema in READABLE:
        yield f"GRANT USAGE ON SCHEMA {schema} TO {RECONCILER}"
        for table, columns in READABLE[schema].items():
            yield _on_table(
                f"{schema}.{table}",
                f"GRANT SELECT ({columns}) ON {schema}.{table} TO {RECONCILER};",
            )


def _on_table(name: str, then: str) -> str:
    """Before the first migration there is no table yet."""
    return _block(f"IF to_regclass('{name}') IS NOT NULL THEN {then} END IF;")


def _block(text: str) -> str:
    return f"DO $$ BEGIN {text} END $$"


if __name__ == "__main__":
    print(script(), end="")  # noqa: T201 - printing it is the purpose
