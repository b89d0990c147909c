"""The contract of our brokers, held by the embedded one."""

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
