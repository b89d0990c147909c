"""What only the embedded broker has: one file, two ways of syncing, portions, forks."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import (
    ConsumerCancelled,
    IrrecoverableConnectionError,
    RecoverableConnectionError,
)
from kombu import Connection, Consumer, Producer

from shared.bus import transports
from shared.bus.transports.sqlite import store as store_module
from shared.bus.transports.sqlite.routing import topic_matches
from shared.bus.transports.sqlite.store import release_owner
from shared.errors import ConfigurationError
from tests.contracts.broker import Broker, ids, publish, take, waiting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
def broker(path: Path) -> Broker:
    transports.register()
    return Broker(
        url=f"durable+sqlite:///{path}", prefix="t", after_kill=partial(release_owner, path)
    )


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(broker.url) as connection:
        broker.declare(connection)
        yield connection


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_puts_wait_for_the_disk_and_leases_do_not(broker: Broker, connection: Connection) -> None:
    store = connection.connection.store
    statements: dict[int, list[str]] = {1: [], 2: []}
    for durable in (True, False):
        db = store._connection(durable=durable)
        (level,) = db.execute("PRAGMA synchronous").fetchone()
        db.set_trace_callback(statements[level].append)
    publish(Producer(connection.channel()), broker, "m1")
    (message,) = take(connection, broker.work())
    message.ack()
    normal, full = " ".join(statements[1]), " ".join(statements[2])
    assert "INSERT INTO messages" in full
    assert "INSERT INTO messages" not in normal
    assert "UPDATE messages SET owner" in normal
    assert "DELETE FROM messages" in normal
    assert "DELETE FROM messages" not in full


def test_a_batch_that_fails_writes_nothing_and_gives_back(
    broker: Broker, connection: Connection
) -> None:
    channel = connection.channel()
    publish(Producer(channel), broker, "m1")
    message = broker.work().bind(channel).get()

    def handle() -> None:
        with channel.batch():
            publish(Producer(channel), broker, "m2")
            message.ack()
            raise RuntimeError("a handler failed")

    with pytest.raises(RuntimeError, match="handler"):
        handle()
    assert ids(take(connection, broker.work(), 2, seconds=0.3)) == ["m1"]


def test_a_batch_is_one_transaction(broker: Broker, connection: Connection) -> None:
    channel = connection.channel()
    full: list[str] = []
    publish(Producer(channel), broker, "m0")
    message = broker.work().bind(channel).get()
    connection.connection.store._connection(durable=True).set_trace_callback(full.append)
    with channel.batch():
        for number in range(1, 100):
            publish(Producer(channel), broker, f"m{number}")
        message.ack()
    assert full.count("COMMIT") == 1
    assert waiting(connection, broker.work()) == 99


def test_a_batch_larger_than_the_limit_is_written_in_portions(
    broker: Broker, connection: Connection
) -> None:
    channel = connection.channel()
    full: list[str] = []
    connection.connection.store._connection(durable=True).set_trace_callback(full.append)
    with channel.batch():
        for number in range(1_200):
            publish(Producer(channel), broker, f"m{number}")
    assert full.count("COMMIT") == 3


def test_dead_letters_that_nobody_takes_are_kept(broker: Broker, connection: Connection) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    (message,) = take(connection, broker.work())
    broker.parked().bind(connection.channel()).delete()
    message.reject()
    assert take(connection, broker.work(), seconds=0.3) == []
    broker.parked().bind(connection.channel()).declare()
    store = connection.connection.store
    with store.transaction(durable=True) as transaction:
        assert transaction.db.execute("SELECT count(*) FROM messages").fetchone() == (1,)


def test_the_look_for_expired_messages_uses_the_index(path: Path, connection: Connection) -> None:
    query = f"EXPLAIN QUERY PLAN {store_module.NEXT_EXPIRY}"
    plan = " ".join(row[3] for row in rows(path, query))
    assert "USING INDEX messages_expiring (queue=? AND expires_at>?)" in plan


def test_the_work_of_a_get_does_not_grow_with_what_waits(
    broker: Broker, connection: Connection
) -> None:
    def steps() -> int:
        """Of SQLite's virtual machine, in hundreds, for ten gets and acknowledgements."""
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        db.set_progress_handler(step, 100)
        for message in take(connection, broker.work(), 10):
            message.ack()
        db.set_progress_handler(None, 0)
        return count

    db = connection.connection.store._connection(durable=False)
    producer = Producer(connection.channel())
    with producer.batch():
        for number in range(100):
            publish(producer, broker, f"m{number}", expiration=1_000)
    few = steps()
    with producer.batch():
        for number in range(20_000):
            publish(producer, broker, f"n{number}", expiration=1_000)
    assert steps() < few * 1.5


def test_many_expired_messages_leave_in_portions_and_none_is_delivered(
    broker: Broker, connection: Connection
) -> None:
    producer = Producer(connection.channel())
    with producer.batch():
        for number in range(1_300):
            publish(producer, broker, f"m{number}", expiration=0.05)
        publish(producer, broker, "lives")
    time.sleep(0.1)
    got: list[Any] = []
    options = {"on_message": got.append, "auto_declare": False}
    with Consumer(connection.channel(), [broker.work()], **options):
        connection.drain_events(timeout=5)
    assert ids(got) == ["lives"]
    assert waiting(connection, broker.parked()) == 1_300


def test_an_open_file_survives_a_fork(broker: Broker, connection: Connection) -> None:
    store = connection.connection.store
    publish(Producer(connection.channel()), broker, "m1")
    child = os.fork()
    if child == 0:
        # The child must not hold what SQLite forbids to carry over, nor use it.
        os._exit(0 if not store._open and not store.is_usable else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not store._open
    assert ids(take(connection, broker.work())) == ["m1"]


def test_a_locked_file_is_a_recoverable_error(
    broker: Broker, connection: Connection, path: Path
) -> None:
    store = connection.connection.store
    store._connection(durable=True).execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecoverableConnectionError, match="locked"):
        publish(Producer(connection.channel()), broker, "m1")
    other.execute("ROLLBACK")
    other.close()
    publish(Producer(connection.channel()), broker, "m1")


def test_a_full_disk_is_a_recoverable_error_and_writes_nothing(
    broker: Broker, connection: Connection
) -> None:
    db = connection.connection.store._connection(durable=True)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    channel = connection.channel()

    def publish_all() -> None:
        with channel.batch():
            for number in range(20):
                publish(Producer(channel), broker, f"m{number}", headers={"fill": "x" * 4_000})

    with pytest.raises(RecoverableConnectionError, match="full"):
        publish_all()
    assert waiting(connection, broker.work()) == 0


def test_a_file_that_is_no_database_is_an_irrecoverable_error(path: Path) -> None:
    transports.register()
    path.write_bytes(b"not a database" * 1_000)
    with pytest.raises(IrrecoverableConnectionError):
        Connection(f"durable+sqlite:///{path}").connect()


def test_a_missing_folder_is_an_error_and_not_made(tmp_path: Path) -> None:
    transports.register()
    connection = Connection(f"durable+sqlite:///{tmp_path}/none/bus.db", connect_timeout=1)
    with pytest.raises(RecoverableConnectionError):
        connection.transport.establish_connection()
    assert list(tmp_path.iterdir()) == []


def test_the_path_must_be_full() -> None:
    transports.register()
    with pytest.raises(ConfigurationError, match="full path"):
        Connection("durable+sqlite:///bus.db").connect()


def test_the_url_survives_cloning(broker: Broker) -> None:
    with Connection(broker.url) as connection, connection.clone() as clone:
        assert connection.as_uri() == clone.as_uri() == broker.url
        assert clone.connect()


def test_only_the_owner_of_the_file_may_read_it(path: Path, connection: Connection) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("bus.db-wal").stat().st_mode) == 0o600


def test_a_consumer_of_a_deleted_queue_is_cancelled(broker: Broker, connection: Connection) -> None:
    queue = broker.work()
    with Consumer(connection.channel(), [queue], auto_declare=False, on_message=print):
        queue.bind(connection.channel()).delete()
        with pytest.raises(ConsumerCancelled):
            connection.drain_events(timeout=1)


def test_closing_leaves_no_sockets_behind(
    broker: Broker, connection: Connection, tmp_path: Path
) -> None:
    with Consumer(connection.channel(), [broker.work()], auto_declare=False, on_message=print):
        assert len(list((tmp_path / "bus.db.wake").iterdir())) == 1
    assert list((tmp_path / "bus.db.wake").iterdir()) == []


@pytest.mark.parametrize(("pattern", "key"), [("#", ""), ("", ""), ("#.#", "a"), ("*.#", "a.b.c")])
def test_patterns_at_the_edges_match(pattern: str, key: str) -> None:
    assert topic_matches(pattern, key)


@pytest.mark.parametrize(("pattern", "key"), [("*", ""), ("a", ""), ("", "a"), ("*.*", "a")])
def test_patterns_at_the_edges_do_not_match(pattern: str, key: str) -> None:
    assert not topic_matches(pattern, key)
