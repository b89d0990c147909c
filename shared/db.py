"""Opening a database by URL and the few statements that differ between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool
from sqlalchemy.schema import CreateSchema

from shared.addresses import Address
from shared.disk import refuse_network_disk
from shared.errors import ConfigurationError, StoreUnavailable
from shared.process_lock import ProcessLock

BUSY_SECONDS = 30
CONNECT_SECONDS = 10
# So that a server which is gone without a word is noticed in half a minute.
KEEPALIVES = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
TAKE_TURN = (
    "SELECT set_config('idle_in_transaction_session_timeout', '15s', true),"
    " pg_advisory_xact_lock(hashtext(current_schema()))"
)


def open_database(url: str, *, pooled: bool = True) -> Engine:
    """An engine for ``url``. Commits are durable: WAL with ``synchronous=FULL`` on SQLite.

    Raises `ConfigurationError` for an unknown database, a missing folder or a network disk.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ConfigurationError("the database address is not a URL") from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(url, parsed.database or "", pooled=pooled)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(url, is_patient=pooled)
    raise ConfigurationError("the database must be sqlite:///… or postgresql+psycopg://…")


def _open_sqlite(url: str, path: str, *, pooled: bool) -> Engine:
    refuse_network_disk(path)
    turn = ProcessLock(Path(f"{path}.turn")) if path and path != ":memory:" else nullcontext()
    engine = create_engine(
        url,
        hide_parameters=True,  # An error goes into a log, and what was written is personal.
        execution_options={"turn": turn},
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        poolclass=QueuePool if pooled else NullPool,
        **({"pool_size": 4, "max_overflow": 60} if pooled else {}),
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: str, *, is_patient: bool) -> Engine:
    """``is_patient``: gives up where the server does not answer; a migration may take its time."""
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=60,
        connect_args={"connect_timeout": CONNECT_SECONDS, **KEEPALIVES},
    )
    event.listen(engine, "begin", _begin_postgresql)

    def connect_to_it(_: Any, __: Any, args: Any, params: Any) -> Any:
        from shared.postgresql import connect

        return connect(url, *args, is_patient=is_patient, **params)

    event.listen(engine, "do_connect", connect_to_it)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    """Those who write to a schema take turns, as SQLite's writers do, until their commit is over.

    What a writer counts or finds missing is then still so when it commits (caps, leases, who
    supersedes whom); see deploy/decisions/0017. A writer that falls silent loses its turn.
    """
    if connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql(TAKE_TURN)


def in_schema(url: str, schema: str) -> str:
    """The same PostgreSQL database, seen from one schema."""
    changed = make_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
    text = changed.render_as_string(hide_password=False)
    return Address.of(text, url.file) if isinstance(url, Address) else text


def make_schema(engine: Engine) -> None:
    """The schema that the URL names, where it is not there yet; SQLite has none.

    Who may make no schemas can still use one that an administrator has made.
    """
    if engine.dialect.name != "postgresql":
        return
    schema = str(engine.url.query["options"]).partition("search_path=")[2]
    with translated(), engine.begin() as connection:
        if not inspect(connection).has_schema(schema):
            connection.execute(CreateSchema(schema, if_not_exists=True))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN itself, see _begin_sqlite.
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # What was erased must not lie on in free pages.
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_size_limit=67108864",
        "mmap_size=268435456",
        "cache_size=-1024",  # For each connection; what is read lies in the map.
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: upgrading a read lock later could fail half-way."""
    is_writer = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def turn_to_write(engine: Engine) -> AbstractContextManager[None]:
    """SQLite's writers wait for each other in the kernel; PostgreSQL's need no turn."""
    turn: AbstractContextManager[None] = engine.get_execution_options().get("turn", nullcontext())
    return turn


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction. Raises `StoreUnavailable` when the database cannot take it."""
    with translated(), as_writer(engine.connect()) as connection:
        with turn_to_write(engine), connection.begin():
            yield connection
        committed(connection)


def as_writer(connection: Connection) -> Connection:
    """The connection for write transactions; whoever ends one calls `committed`."""
    return connection.execution_options(writes=True, after_commit=[])


def after_commit(connection: Connection, action: Callable[[], object]) -> None:
    """Do this when the write transaction that is open has committed, and not if it fails."""
    connection.get_execution_options()["after_commit"].append(action)


def committed(connection: Connection) -> None:
    """Do what waited for the commit."""
    actions = connection.get_execution_options()["after_commit"]
    while actions:
        actions.pop(0)()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction: everything in it sees the same state."""
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with translated(), engine.connect().execution_options(**level) as connection:
        with connection.begin():
            yield connection


@contextmanager
def asking(engine: Engine) -> Iterator[Connection]:
    """For one query, which sees one state by itself: PostgreSQL is told of no transaction."""
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
    with translated(), engine.connect().execution_options(**level) as connection:
        yield connection


def require_writable(engine: Engine) -> None:
    """Write a page and wait for the disk. Raises `StoreUnavailable` where that fails.

    PostgreSQL is asked instead: it knows whether it is a stand-by or read-only.
    """
    if engine.dialect.name == "sqlite":
        with writing(engine) as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar()
            connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        return
    with writing(engine) as connection:
        query = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
        if connection.exec_driver_sql(query).scalar():
            raise StoreUnavailable("the database takes no writes: it is a stand-by or read-only")


def defer_checkpoints(connection: Connection) -> None:
    """Let `checkpoint` do it: inside a commit it shows as 30 to 50 ms for whoever waits.

    The limit stays as a safety net of about 80 MB, should nobody call it.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint=20000")


def checkpoint(engine: Engine) -> int:
    """Copy the write-ahead log into the database without waiting for anybody.

    Returns how many pages the log holds: it begins anew only when nobody has written meanwhile.
    """
    if engine.dialect.name != "sqlite":
        return 0
    with translated(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        row = db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        return int(row[1])


def cut_log(engine: Engine) -> None:
    """After an erasure: the write-ahead log still holds what was overwritten.

    Raises `StoreUnavailable` while somebody reads on in it: try again.
    """
    if engine.dialect.name != "sqlite":
        return
    with translated(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        with turn_to_write(engine):
            is_busy = db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
    if is_busy:
        raise StoreUnavailable("somebody still reads what was erased")


@contextmanager
def translated() -> Iterator[None]:
    """Database trouble as `StoreUnavailable`; mistakes of ours stay what they are."""
    try:
        yield
    except OperationalError as error:
        raise StoreUnavailable(f"the database did not answer: {error.orig}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("the database closed the connection") from error
        raise


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose unique keys are not there yet; returns how many were."""
    if not rows:
        return 0
    return connection.execute(_insert_new(table, connection.dialect.name), list(rows)).rowcount


def upsert(
    connection: Connection, table: Table, row: Mapping[str, Any], *, key: Sequence[str]
) -> None:
    """Insert the row, or update the one with the same ``key`` columns."""
    upsert_all(connection, table, [row], key=key)


def upsert_all(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: Sequence[str]
) -> None:
    """`upsert` for several rows of the same columns."""
    if rows:
        statement = _upsert(table, connection.dialect.name, tuple(key), tuple(rows[0]))
        connection.execute(statement, [dict(row) for row in rows])


# Building a statement costs more than running it: each is built once.
@cache
def _insert_new(table: Table, dialect: str) -> Any:
    statement = insert_into(table, dialect).inline().on_conflict_do_nothing()
    # Without it SQLAlchemy forgets the count of an insert as soon as psycopg's cursor is closed.
    return statement.execution_options(preserve_rowcount=True)


@cache
def _upsert(table: Table, dialect: str, key: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    statement = insert_into(table, dialect).inline()
    changes = {name: statement.excluded[name] for name in columns if name not in key}
    if not changes:
        return statement.on_conflict_do_nothing(index_elements=list(key))
    return statement.on_conflict_do_update(index_elements=list(key), set_=changes)


def insert_into(table: Table, dialect: str) -> Any:
    """An insert that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # 45 ms that the embedded column never needs.

    return postgresql.insert(table)
