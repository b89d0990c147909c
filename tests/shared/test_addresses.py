"""Addresses with passwords that change: read anew from their file, the newest line first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from shared.addresses import in_turn
from shared.bus.connection import connect, require_broker
from shared.bus.publisher import Publisher
from shared.bus.topology import declare
from shared.db import in_schema
from shared.errors import BrokerUnavailable, ConfigurationError
from shared.settings import load_settings, setting
from tests.contracts.rabbitmq import virtual_host
from tests.product import eventually


@dataclass(frozen=True, kw_only=True)
class Sample:
    server_url: str = setting("an address", secret=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server_url"


def address(file: Path, *lines: str) -> str:
    file.write_text("\n".join(lines) + "\n")
    return load_settings(Sample, {"SERVER_URL_FILE": str(file)}).server_url


def test_an_address_is_its_newest_line_and_tried_with_each(file: Path) -> None:
    url = address(file, "x://new@h", "x://old@h")
    assert url == "x://new@h"
    assert in_turn(url) == ("x://new@h", "x://old@h")
    file.write_text("x://newer@h\nx://new@h")
    assert in_turn(url) == ("x://newer@h", "x://new@h")
    file.unlink()
    assert in_turn(url) == ("x://new@h",)


def test_an_address_that_came_from_no_file_stays_what_it_is() -> None:
    url = load_settings(Sample, {"SERVER_URL": "x://a@h"}).server_url
    assert in_turn(url) == ("x://a@h",)


def test_an_address_stays_one_when_a_schema_is_chosen(file: Path) -> None:
    url = address(file, "postgresql+psycopg://a:1@h/d", "postgresql+psycopg://a:0@h/d")
    assert [make_url(one).password for one in in_turn(in_schema(url, "audit"))] == ["1", "0"]


def test_a_broker_that_refuses_the_newest_password_is_given_the_one_before(file: Path) -> None:
    with virtual_host() as host:
        wrong = host.url_of("guest", "not-yet")
        require_broker(address(file, wrong, host.url))
        with pytest.raises(ConfigurationError, match="password"):
            require_broker(address(file, wrong, wrong))


def test_a_publisher_that_lost_its_connection_comes_back_with_the_new_password(file: Path) -> None:
    with virtual_host() as host:
        declare(connect(host.url))
        user, path = f"{host.name}-sender", f"permissions/{host.name}/{host.name}-sender"
        host.api("PUT", f"users/{user}", {"password": "one", "tags": ""})
        host.api("PUT", path, {"configure": "", "write": ".*", "read": ".*"})
        publisher = Publisher(address(file, host.url_of(user, "one")))
        publisher.park("audit", "first", "{}", "a test")
        host.api("PUT", f"users/{user}", {"password": "two", "tags": ""})
        file.write_text(host.url_of(user, "two"))
        host.api("DELETE", f"connections/username/{user}")
        eventually(lambda: is_sent(publisher))
        publisher.close()
        host.api("DELETE", f"users/{user}")


def is_sent(publisher: Publisher) -> bool:
    try:
        publisher.park("audit", "second", "{}", "a test")
    except BrokerUnavailable:
        return False
    return True
