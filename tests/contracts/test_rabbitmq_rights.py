"""Who may publish, read and declare what, on a real RabbitMQ: each forbidden cell is tried."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from kombu import Connection, Exchange, Producer, Queue

from shared.bus import transports
from shared.bus.definitions import definitions, permissions, topic_permissions, user_of, watching
from shared.bus.letters import discard, first_letters, letters, release
from shared.bus.publisher import Publisher
from shared.bus.topology import (
    DEAD,
    DELAY,
    DELAYS,
    EVENTS,
    all_queues,
    declare,
    parked,
    work_queues,
)
from shared.domain.topics import SERVICES, TOPICS
from shared.errors import ConfigurationError
from tests.contracts.rabbitmq import Host, virtual_host

FILE = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json"
FORBIDDEN_TOPICS = [
    (service, topic)
    for service in SERVICES
    for topic, row in TOPICS.items()
    if service not in row.publishers
]
FORBIDDEN_QUEUES = [
    (service, queue.name)
    for service in SERVICES
    for queue in all_queues()
    if queue.name not in {service, parked(service)}
]
FORBIDDEN_ROOMS = [
    (service, f"{delay.name}.{other}")
    for service in SERVICES
    for other in work_queues()
    for delay in DELAYS
    if other != service
]

FORBIDDEN_GRAVES = [
    (service, other) for service in SERVICES for other in work_queues() if other != service
]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The topology, and a connection for the worker of each service."""

    host: Host
    connections: dict[str, Connection]


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    transports.register()
    with virtual_host() as host:
        with Connection(host.url) as admin:
            declare(admin)
        found = {service: _connection(host, service) for service in SERVICES}
        yield Opened(host=host, connections=found)
        for service, connection in found.items():
            connection.release()
            host.api("DELETE", f"users/{_user(host, service)}")


def _user(host: Host, service: str) -> str:
    """Users belong to the whole server: two runs must not share them."""
    return f"{host.name}-{user_of(service)}"


def _connection(host: Host, service: str) -> Connection:
    user, password = _user(host, service), secrets.token_hex(16)
    host.api("PUT", f"users/{user}", {"password": password, "tags": ""})
    host.api("PUT", f"permissions/{host.name}/{user}", permissions(service))
    for right in topic_permissions(service):
        host.api("PUT", f"topic-permissions/{host.name}/{user}", right)
    return Connection(host.url_of(user, password))


def _publish(connection: Connection, exchange: str, key: str) -> None:
    with connection.channel() as channel:
        Producer(channel).publish(b"{}", exchange=exchange, routing_key=key, mandatory=True)


def test_the_kept_file_is_what_the_table_gives() -> None:
    assert json.loads(FILE.read_text()) == definitions()


def test_the_broker_takes_the_definitions_and_then_our_declaring_changes_nothing() -> None:
    transports.register()
    with virtual_host() as host:
        found = definitions(host.name)
        names = ("exchanges", "queues", "bindings")
        host.api("POST", "definitions", {name: found[name] for name in names})
        with Connection(host.url) as admin:
            declare(admin)


@pytest.mark.parametrize(("service", "topic"), FORBIDDEN_TOPICS)
def test_a_worker_cannot_tell_what_is_not_its_own(opened: Opened, service: str, topic: str) -> None:
    with pytest.raises(AccessRefused):
        _publish(opened.connections[service], EVENTS, str(topic))


@pytest.mark.parametrize("service", SERVICES)
def test_a_worker_can_tell_what_is_its_own(opened: Opened, service: str) -> None:
    for topic, row in TOPICS.items():
        if service in row.publishers:
            _publish(opened.connections[service], EVENTS, str(topic))


@pytest.mark.parametrize(("service", "queue"), FORBIDDEN_QUEUES)
def test_a_worker_cannot_read_the_queue_of_another(
    opened: Opened, service: str, queue: str
) -> None:
    channel = opened.connections[service].channel()
    with pytest.raises(AccessRefused):
        Queue(queue).bind(channel).get()


@pytest.mark.parametrize(("service", "key"), FORBIDDEN_ROOMS)
def test_a_worker_cannot_use_the_waiting_rooms_of_another(
    opened: Opened, service: str, key: str
) -> None:
    with pytest.raises(AccessRefused):
        _publish(opened.connections[service], DELAY, key)


@pytest.mark.parametrize(("service", "other"), FORBIDDEN_GRAVES)
def test_a_worker_cannot_park_a_message_in_the_name_of_another(
    opened: Opened, service: str, other: str
) -> None:
    with pytest.raises(AccessRefused):
        _publish(opened.connections[service], DEAD, other)


@pytest.mark.parametrize("service", SERVICES)
def test_a_worker_cannot_put_into_a_queue_directly(opened: Opened, service: str) -> None:
    with pytest.raises(AccessRefused):
        _publish(opened.connections[service], "", "writer")


@pytest.mark.parametrize("service", work_queues())
def test_a_worker_can_retry_and_park_its_own(opened: Opened, service: str) -> None:
    _publish(opened.connections[service], DELAY, f"10m.{service}")
    _publish(opened.connections[service], DEAD, service)
    with opened.connections[service].channel() as channel:
        Queue(service).bind(channel).get()


def test_a_worker_sends_its_own_dead_letter_again_and_drops_one_with_its_own_rights(
    opened: Opened,
) -> None:
    user, password = f"{opened.host.name}-again", secrets.token_hex(16)
    opened.host.api("PUT", f"users/{user}", {"password": password, "tags": ""})
    opened.host.api("PUT", f"permissions/{opened.host.name}/{user}", permissions("classifier"))
    for right in topic_permissions("classifier"):
        opened.host.api("PUT", f"topic-permissions/{opened.host.name}/{user}", right)
    publisher = Publisher(opened.host.url_of(user, password))
    for id_ in ("m-1", "m-2"):
        publisher.park("classifier", id_, "{}", "bug: KeyError")
    assert release(publisher, "classifier", "m-2")
    assert not discard(publisher, "classifier", "m-2")
    resting = {one.message_id for one in letters(opened.host.url, ["classifier"])}
    assert "m-1" in resting
    assert "m-2" not in resting
    assert discard(publisher, "classifier", "m-1")
    publisher.close()
    opened.host.api("DELETE", f"users/{user}")


def test_the_watcher_reads_dead_letters_and_can_tell_nobody_anything(opened: Opened) -> None:
    user, password = f"{opened.host.name}-watcher", secrets.token_hex(16)
    opened.host.api("PUT", f"users/{user}", {"password": password, "tags": ""})
    opened.host.api("PUT", f"permissions/{opened.host.name}/{user}", watching())
    admin = Publisher(opened.host.url)
    admin.park("audit", "m-3", "{}", "bug: KeyError")
    admin.close()
    url = opened.host.url_of(user, password)
    assert "m-3" in [one.message_id for one in first_letters(url, 500)]
    assert "m-3" in [one.message_id for one in first_letters(url, 500)], "looking leaves them there"
    with Connection(url) as connection:
        for exchange, key in ((EVENTS, "writing.stopped"), (DEAD, "audit"), (DELAY, "10s.audit")):
            with pytest.raises(AccessRefused):
                _publish(connection, exchange, key)
        with pytest.raises(AccessRefused):
            Queue("audit").bind(connection.channel()).get()
    opened.host.api("DELETE", f"users/{user}")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("what", [Queue("mine"), Exchange("mine")])
def test_a_worker_can_declare_nothing(opened: Opened, service: str, what: Any) -> None:
    with pytest.raises(AccessRefused):
        what.bind(opened.connections[service].channel()).declare()


@pytest.mark.parametrize("service", SERVICES)
def test_a_worker_can_delete_and_purge_nothing(opened: Opened, service: str) -> None:
    for act in (Queue.delete, Queue.purge):
        with pytest.raises(AccessRefused):
            # Whoever may read a queue may also empty it.
            name = parked("ingest" if service == "audit" else "audit")
            act(Queue(name).bind(opened.connections[service].channel()))


def test_a_wrong_password_is_said_clearly(opened: Opened) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        Connection(opened.host.url_of("guest", "wrong")).connect()
