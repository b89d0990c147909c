"""The real product with a real receiver: cards, dead letters and alarms reach people once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from shared.domain.topics import SERVICES
from shared.heartbeat import why_not_alive
from tests.fakes.receiver import Receiver, receiving
from tests.product import Product, eventually, running

CHANNELS = """
[[channel]]
name = "team"
url = "{url}"
hours = "always"
delay_minutes = 0
"""
PLANTED = ("@example.com", "+1202555", "Miller", "Dana")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    file = folder / "notices.toml"
    file.write_text(CHANNELS.format(url=receiver.url))
    file.chmod(0o600)
    with running(folder, NOTICES_FILE=str(file)) as found:
        yield found


def lines(receiver: Receiver, words: str) -> list[str]:
    """The addresses below each line or title with these words."""
    text = "\n".join(receiver.texts())
    return [line for line in text.splitlines() if words in line]


def test_a_test_notice_says_what_came_back(product: Product, receiver: Receiver) -> None:
    said = product.command("notices", "test")
    assert (said.returncode, said.stdout) == (0, "✓ team: delivered\n")
    receiver.status = 503
    said = product.command("notices", "test", "team")
    receiver.status = 200
    assert said.returncode == 1
    assert "503" in said.stdout
    assert "hunter2" not in product.command("notices", "list").stdout + said.stdout


def test_each_worker_says_whether_it_lives(product: Product) -> None:
    folder = product.folder / "data" / "run"
    for service in SERVICES:
        eventually(lambda service=service: why_not_alive(folder, service) is None, 30)
    assert len(list(folder.glob("writer.*.beat"))) >= 7


def test_cards_are_told_once_although_everything_starts_again(
    product: Product, receiver: Receiver
) -> None:
    client = product.client()
    receiver.messages.clear()
    eventually(lambda: _channels_of(product) == {"team"})
    assert product.command("demo").returncode == 0
    eventually(lambda: client.get("/api/cards")["total"] >= 4)
    cards = {f"{product.url}/cards/{row['id']}" for row in client.get("/api/cards")["rows"]}
    eventually(lambda: cards <= {line.strip() for line in lines(receiver, "/cards/")}, 30)
    assert product.stop() == 0
    product.start()
    eventually(lambda: _channels_of(product) == {"team"})
    requests.get(f"{product.url}/readyz", timeout=5).raise_for_status()
    told = [line.strip() for line in lines(receiver, "/cards/")]
    assert sorted(told) == sorted(cards), "each card once"
    said = "\n".join(receiver.texts())
    assert [planted for planted in PLANTED if planted in said] == []


def test_a_dead_letter_and_its_alarm_are_told_and_the_alarms_end(
    product: Product, receiver: Receiver
) -> None:
    from shared.bus.publisher import Publisher
    from shared.bus.transports.sqlite import url_of
    from shared.bus.waiting import READY, Waiting

    publisher = Publisher(url_of(product.folder / "data" / "bus.db"))
    text = '{"nothing": "jane.doe@example.com"}'
    publisher.put([Waiting(queue="writer", place=READY, message_id="m-1", text=text)])
    publisher.close()
    alarm = "Alarm: Messages could not be handled"
    eventually(lambda: lines(receiver, alarm), 30)
    eventually(lambda: lines(receiver, "message/m-1"), 30)
    page = product.client().session.get(f"{product.url}/status", timeout=10).text
    assert "Messages could not be handled" in page
    assert "Alarm: Messages could not be handled" in page, "the banner for admins"
    _empty_dead_letters(product)
    eventually(lambda: lines(receiver, "Over: Messages could not be handled"), 30)
    assert len(lines(receiver, alarm)) == 1
    assert len(lines(receiver, "message/m-1")) == 1
    assert "jane.doe" not in "\n".join(receiver.texts())


def _channels_of(product: Product) -> set[str]:
    """The channels that the writer and audit know by now."""
    import sqlite3
    from contextlib import closing

    found = []
    for name in ("writer", "audit", "ingest"):
        with closing(sqlite3.connect(product.folder / "data" / f"{name}.db")) as db:
            found.append({row[0] for row in db.execute("SELECT name FROM notice_channels")})
    return set.intersection(*found)


def _empty_dead_letters(product: Product) -> None:
    from shared.bus.connection import connect
    from shared.bus.topology import parked_queue
    from shared.bus.transports.sqlite import url_of

    connection = connect(url_of(Path(product.folder / "data" / "bus.db")))
    with connection.channel() as channel:
        assert parked_queue("writer").bind(channel).purge() == 1
    connection.release()
