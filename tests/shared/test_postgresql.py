"""A database that falls silent is noticed, and one that is heard again is used again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from shared import db, postgresql
from shared.db import open_database, reading, writing
from shared.errors import StoreUnavailable
from tests.contracts.postgresql import fresh_postgresql
from tests.databases import POSTGRESQL
from tests.faults.proxy import Proxy
from tests.product import eventually


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Engine]]:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(db, "CONNECT_SECONDS", 2)
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


def test_who_gave_up_waiting_takes_no_turn_any_more(proxy: tuple[Proxy, Engine]) -> None:
    """Their ends are lost, so that only the server can know how long they have waited."""
    link, engine = proxy
    straight = engine.url.set(port=make_url(POSTGRESQL).port)
    with _hurried(engine.url) as lost, _hurried(straight) as direct, ThreadPoolExecutor(3) as pool:
        with writing(direct):
            waiters = [pool.submit(_take_a_turn, lost) for _ in range(3)]
            eventually(lambda: _queue(direct) == len(waiters), 2)
            link.lose()
            eventually(lambda: _queue(direct) == 0, 5)
        _take_a_turn(direct)
        for waiter in waiters:
            with pytest.raises(StoreUnavailable):
                waiter.result()


@contextmanager
def _hurried(url: URL) -> Iterator[Engine]:
    """An engine whose writers may queue for two seconds."""
    shorter = url.update_query_dict({"options": "-c lock_timeout=2s"})
    engine = open_database(shorter.render_as_string(hide_password=False))
    yield engine
    engine.dispose()


def _take_a_turn(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("SELECT 1"))


def _queue(engine: Engine) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with reading(engine) as connection:
        return int(connection.scalar(text(f"{query} AND database = {_DATABASE}")) or 0)


_DATABASE = "(SELECT oid FROM pg_database WHERE datname = current_database())"
