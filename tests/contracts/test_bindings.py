"""The bindings that the broker really has, held against the topic table, on both brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.bus.bindings import blocked, wrong_bindings
from shared.bus.connection import connect
from shared.bus.figures import broker_measures
from shared.bus.topology import declare, events_exchange, queue_named
from shared.bus.transports.sqlite import url_of
from shared.errors import BrokerUnavailable
from tests.contracts.rabbitmq import MANAGEMENT, URL, virtual_host


def no_ages(_: str, __: int) -> float:
    """Bindings are looked at here."""
    return 0.0


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A broker with the whole topology."""

    url: str
    management: str = ""

    def wrong(self) -> list[str] | None:
        return wrong_bindings(self.url, self.management)


@pytest.fixture(params=["embedded", "rabbitmq"])
def declared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Declared]:
    if request.param == "embedded":
        yield _declare(Declared(url=url_of(tmp_path / "bus.db")))
        return
    with virtual_host() as host:
        user = urlsplit(URL)
        address = urlsplit(MANAGEMENT)
        management = f"http://{user.username}:{user.password}@{address.netloc}"
        yield _declare(Declared(url=host.url, management=management))


def _declare(found: Declared) -> Declared:
    connection = connect(found.url)
    declare(connection)
    connection.release()
    return found


def _change(found: Declared, act: Callable[..., None]) -> None:
    connection = connect(found.url)
    with connection.channel() as channel:
        act(channel)
    connection.release()


def test_what_was_declared_is_right(declared: Declared) -> None:
    assert declared.wrong() == []


def test_a_deleted_binding_is_named(declared: Declared) -> None:
    def unbind(channel: object) -> None:
        queue = queue_named("audit").bind(channel)
        queue.unbind_from(events_exchange(), routing_key="#")

    _change(declared, unbind)
    assert declared.wrong() == ["audit is not bound to countersign with #"]
    found = {
        one.name: one.value
        for one in broker_measures(declared.url, declared.management, ages=no_ages)
    }
    assert found["countersign_bindings_wrong"] == 1


def test_a_binding_too_many_is_named(declared: Declared) -> None:
    def bind(channel: object) -> None:
        queue_named("writer").bind(channel).bind_to(events_exchange(), routing_key="#")

    _change(declared, bind)
    assert declared.wrong() == ["writer is bound to countersign with #, which is not in the table"]


def test_rabbitmq_without_its_management_cannot_be_asked() -> None:
    assert wrong_bindings("pika://guest:guest@127.0.0.1:1/%2F") is None


def test_a_broker_without_an_alarm_is_not_blocked(declared: Declared) -> None:
    if declared.management:
        assert blocked(declared.management) is None


def test_a_management_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable):
        wrong_bindings("pika://guest:guest@127.0.0.1:1/%2F", "http://u:p@127.0.0.1:1")
    [down] = broker_measures("pika://guest:guest@127.0.0.1:1/%2F", ages=no_ages)
    assert (down.name, down.value) == ("countersign_broker_up", 0)
