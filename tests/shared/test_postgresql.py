"""A database that falls silent is noticed, and one that is heard again is used again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Engine, text

from shared import postgresql
from shared.db import open_database, reading, writing
from shared.errors import StoreUnavailable
from tests.contracts.postgresql import fresh_postgresql
from tests.faults.proxy import Proxy


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Engine]]:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 1.0)
    with fresh_postgresql() as url:
        parts = urlsplit(url)
        with Proxy((str(parts.hostname), int(parts.port or 0))) as proxy:
            netloc = f"postgres@127.0.0.1:{proxy.port}"
            engine = open_database(urlunsplit(parts._replace(netloc=netloc)))
            yield proxy, engine
            engine.dispose()


@pytest.mark.parametrize("fault", [Proxy.hang, Proxy.lose])
def test_a_silent_database_is_given_up_in_time_and_found_again(
    proxy: tuple[Proxy, Engine], fault: object
) -> None:
    link, engine = proxy
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (n integer)"))
    fault(link)  # type: ignore[operator]
    started = time.monotonic()
    with pytest.raises(StoreUnavailable), reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    assert time.monotonic() - started < 15
    link.heal()
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM t")) == 0


def test_a_writer_that_falls_silent_loses_its_turn(proxy: tuple[Proxy, Engine]) -> None:
    _, engine = proxy
    with writing(engine) as connection:
        limit = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
    assert limit == "15s"
