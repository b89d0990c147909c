"""The leases of the embedded broker: renewed, ended, lost, freed."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer

from shared.bus import transports, wake
from shared.bus.transports import LeaseLost
from shared.bus.transports.sqlite.delivery import LONGEST_SECONDS, Delivery
from shared.bus.transports.sqlite.messages import Stored
from shared.bus.transports.sqlite.store import Store, release_owner
from tests.contracts import broker_actors
from tests.contracts.broker import SPAWN, Broker, ids, publish, take, waiting

LEASE = 0.6


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


@pytest.fixture
def brief(broker: Broker) -> Iterator[Connection]:
    """A connection whose leases end soon."""
    with Connection(broker.url, transport_options={"lease": LEASE}) as connection:
        yield connection


def stop_renewing(connection: Connection) -> None:
    """As if the process had been stopped: its leases are not renewed."""
    connection.connection._ended.set()


def test_the_lease_of_a_killed_process_ends_by_itself(
    broker: Broker, connection: Connection, path: Path
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    tell = SPAWN.Queue()
    child = SPAWN.Process(target=broker_actors.hang_on_first, args=(broker, tell, 1))
    child.start()
    tell.get(timeout=20)
    child.kill()
    child.join()
    assert take(connection, broker.work(), seconds=0.3) == []
    # Waiting the full 15 seconds would show no more than moving the end does.
    db = sqlite3.connect(path)
    (left,) = db.execute("SELECT lease_end FROM messages").fetchone()
    assert 10 < left - time.monotonic() <= 15
    db.execute("UPDATE messages SET lease_end = ?", (time.monotonic() + 0.2,))
    db.commit()
    db.close()
    got: list[Any] = []
    options = {"on_message": got.append, "auto_declare": False}
    with Consumer(connection.channel(), [broker.work()], **options):
        connection.drain_events(timeout=5)
    assert ids(got) == ["m1"]
    assert got[0].delivery_info["redelivered"]


def test_a_lease_from_before_a_restart_of_the_machine_is_over(
    broker: Broker, connection: Connection, path: Path
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    take(connection, broker.work())
    db = sqlite3.connect(path)
    db.execute("UPDATE messages SET lease_end = lease_end + 1000000")
    db.commit()
    db.close()
    assert ids(take(connection, broker.work(), seconds=1)) == ["m1"]


def test_a_lease_is_renewed_while_the_handler_works(
    broker: Broker, connection: Connection, brief: Connection
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    (message,) = take(brief, broker.work())
    assert take(connection, broker.work(), seconds=LEASE * 3) == []
    message.ack()
    assert waiting(connection, broker.work()) == 0


def test_a_lease_is_never_renewed_beyond_the_longest_time() -> None:
    stored = Stored(
        id=1, queue="q", exchange="", routing_key="q", deliveries=1, properties="{}", body=b""
    )
    delivery = Delivery(tag=1, stored=stored, subscription=None, leased_at=100.0, lease_end=115.0)
    assert delivery.renewed_until(105.0, 15.0) == 120.0
    assert delivery.renewed_until(100.0 + LONGEST_SECONDS - 1, 15.0) == 100.0 + LONGEST_SECONDS


def test_a_lost_lease_cannot_delete_anothers_delivery(
    broker: Broker, connection: Connection, brief: Connection
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    (lost,) = take(brief, broker.work())
    stop_renewing(brief)
    time.sleep(LEASE + 0.1)
    (held,) = take(connection, broker.work())
    with pytest.raises(LeaseLost):
        lost.ack()
    connection.close()
    connection.connect()
    assert ids(take(connection, broker.work())) == ["m1"]
    assert held.delivery_info["redelivered"]


def test_a_late_acknowledgement_cannot_delete_what_waits_again(
    broker: Broker, connection: Connection, brief: Connection
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    (late,) = take(brief, broker.work())
    stop_renewing(brief)
    time.sleep(LEASE + 0.1)
    # Looking into any queue gives back what leases have left.
    assert take(connection, broker.parked(), seconds=0.05) == []
    with pytest.raises(LeaseLost):
        late.ack()
    assert waiting(connection, broker.work()) == 1


def test_an_earlier_delivery_to_the_same_owner_cannot_settle_a_later_one(
    broker: Broker, brief: Connection
) -> None:
    broker.declare(brief)
    channel = brief.channel()
    publish(Producer(channel), broker, "m1")
    queue = broker.work().bind(channel)
    earlier = queue.get()
    stop_renewing(brief)
    time.sleep(LEASE + 0.1)
    later = queue.get()
    with pytest.raises(LeaseLost):
        earlier.ack()
    later.ack()


def test_a_fetched_message_whose_lease_has_ended_is_not_handed_over(
    broker: Broker, connection: Connection, brief: Connection
) -> None:
    for number in range(3):
        publish(Producer(connection.channel()), broker, f"m{number}")
    got: list[Any] = []
    options = {"on_message": got.append, "auto_declare": False, "prefetch_count": 3}
    with Consumer(brief.channel(), [broker.work()], **options):
        brief.drain_events(timeout=1)
        stop_renewing(brief)
        time.sleep(LEASE + 0.1)
        assert ids(take(connection, broker.work(), 3)) == ["m0", "m1", "m2"]
        with pytest.raises(TimeoutError):
            brief.drain_events(timeout=0)
    assert ids(got) == ["m0"]


def test_the_supervisor_frees_the_leases_of_one_process_only(
    broker: Broker, connection: Connection, path: Path
) -> None:
    for number in range(2):
        publish(Producer(connection.channel()), broker, f"m{number}")
    tell = SPAWN.Queue()
    child = SPAWN.Process(target=broker_actors.hang_on_first, args=(broker, tell, 1))
    child.start()
    assert tell.get(timeout=20) == "m0"
    (own,) = take(connection, broker.work())
    child.kill()
    child.join()
    assert release_owner(path, child.pid) == 1
    assert release_owner(path, child.pid) == 0
    assert ids(take(connection, broker.work(), 2, seconds=0.5)) == ["m0"]
    own.ack()


def test_freed_messages_wake_a_waiting_consumer(
    broker: Broker, connection: Connection, path: Path
) -> None:
    publish(Producer(connection.channel()), broker, "m1")
    take(connection, broker.work())
    store = Store(path)
    with wake.Listener(store.wake_folder, broker.work().name) as listener:
        assert release_owner(path, os.getpid()) == 1
        assert listener.wait(0)
    store.close()


def test_what_a_consumer_never_saw_does_not_count_as_delivered(
    broker: Broker, connection: Connection
) -> None:
    for number in range(3):
        publish(Producer(connection.channel()), broker, f"m{number}")
    for _ in range(5):
        options = {"prefetch_count": 3, "auto_declare": False, "on_message": lambda m: m.requeue()}
        with Consumer(connection.channel(), [broker.work()], **options):
            connection.drain_events(timeout=1)
    assert ids(take(connection, broker.work(), 3, seconds=0.3)) == ["m1", "m2"]
