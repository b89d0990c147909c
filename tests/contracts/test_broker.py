"""The contract of our brokers, held by the embedded one and by RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from kombu import Connection

from shared.bus import transports
from shared.bus.transports.sqlite.store import release_owner
from tests.contracts.broker import Broker
from tests.contracts.rabbitmq import Host, seen_by_itself, virtual_host

pytest.register_assert_rewrite("tests.contracts.broker_cases")

from tests.contracts.broker_cases import BrokerCases  # noqa: E402 - after its registration


class TestEmbeddedBroker(BrokerCases):
    @pytest.fixture
    def broker(self, tmp_path: Path) -> Broker:
        path = tmp_path / "bus.db"
        return Broker(
            url=f"durable+sqlite:///{path}",
            prefix=f"t{uuid.uuid4().hex[:8]}",
            # The supervisor does this for a dead child; otherwise the lease has to end.
            after_kill=partial(release_owner, path),
        )

    @pytest.fixture
    def connection(self, broker: Broker) -> Iterator[Connection]:
        transports.register()
        with Connection(broker.url) as connection:
            broker.declare(connection)
            yield connection


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with virtual_host() as host:
        yield host


class TestRabbitMQ(BrokerCases):
    @pytest.fixture
    def broker(self, host: Host) -> Broker:
        return Broker(url=host.url, prefix=f"t{uuid.uuid4().hex[:8]}", after_kill=seen_by_itself)

    @pytest.fixture
    def connection(self, broker: Broker) -> Iterator[Connection]:
        transports.register()
        with Connection(broker.url) as connection:
            broker.declare(connection)
            yield connection
