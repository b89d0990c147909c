"""An alarm is raised once, its end is told once, and it is not repeated within the quiet time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from shared.alarm_rules import RULES
from shared.alarms import alarms, watch
from shared.db import open_database, reading
from shared.metrics import METRICS, measure
from shared.notifications.channels import Channels
from shared.notifications.notifier import Notifier
from shared.notifications.tables import notice_tables
from shared.notifications.telling import Telling
from shared.office import Office
from tests.databases import fresh_database
from tests.fakes.receiver import Receiver, receiving

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@dataclass
class Watcher:
    """One service that has the age of a queue, and one channel."""

    folder: Path
    receiver: Receiver
    at: datetime = START
    age: float = 0.0
    telling: Telling = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As a new process: everything is made anew but the database."""
        metadata = MetaData()
        tables = notice_tables(metadata)
        self.engine = open_database(fresh_database(self.folder, "alarms"))
        metadata.create_all(self.engine)
        notifier = Notifier(
            engine=self.engine,
            tables=tables,
            clock=lambda: self.at,
            channels=Channels(urls=self.receiver.url),
            office=lambda _: Office(),
            public_url="https://cs.example.com",
        )
        self.telling = Telling(notifier=notifier, parts=(self._figures,))

    def _figures(self) -> list[object]:
        return [measure("queue_age_seconds", self.age, queue="writer")]

    def round(self, age: float, minutes: float = 1) -> list[str]:
        """The titles that came in this round."""
        before = len(self.receiver.messages)
        self.age = age
        self.at += timedelta(minutes=minutes)
        self.telling.run()
        return [one["title"] for one in self.receiver.messages[before:]]


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    with receiving() as receiver:
        found = Watcher(tmp_path, receiver)
        yield found
        found.engine.dispose()


ON = "Alarm: Messages wait in a queue for more than five minutes"
OVER = "Over: Messages wait in a queue for more than five minutes"


def test_an_alarm_is_told_once_and_its_end_once(watcher: Watcher) -> None:
    assert watcher.round(0) == []
    assert watcher.round(301) == []  # The rule waits a minute.
    assert watcher.round(360) == [ON]
    watcher.engine.dispose()
    watcher.restart()
    assert watcher.round(420) == []
    assert watcher.round(1) == [OVER]
    watcher.engine.dispose()
    watcher.restart()
    assert watcher.round(1) == []
    assert "queue writer" in watcher.receiver.texts()[0]
    assert "https://cs.example.com/status" in watcher.receiver.texts()[0]


def test_what_comes_back_within_the_quiet_time_is_told_only_if_it_lasts(watcher: Watcher) -> None:
    watcher.round(0)
    watcher.round(400)
    assert watcher.round(400) == [ON]
    assert watcher.round(0) == [OVER]
    for _ in range(5):  # It flaps.
        assert watcher.round(400) == []
        assert watcher.round(400) == []
        assert watcher.round(0) == []
    watcher.round(400)
    assert watcher.round(400, minutes=31) == [ON]


def test_a_figure_that_cannot_be_read_leaves_the_alarm_as_it_is(watcher: Watcher) -> None:
    watcher.round(0)
    watcher.round(400)
    watcher.round(400)

    def broken() -> list[object]:
        raise OSError

    watcher.telling = Telling(notifier=watcher.telling.notifier, parts=(broken,))
    assert watcher.round(400) == []
    with reading(watcher.engine) as db:
        [found] = alarms(db, watcher.telling.notifier.tables.alarms)
    assert found.is_on


def test_a_queue_that_is_gone_has_no_alarm(watcher: Watcher) -> None:
    tables = watcher.telling.notifier.tables
    old = [measure("dead_letters", 2, queue="writer")]
    watch(watcher.engine, tables.alarms, old, START)
    watch(watcher.engine, tables.alarms, [measure("dead_letters", 0, queue="audit")], START)
    with reading(watcher.engine) as db:
        [found] = alarms(db, tables.alarms)
    assert not found.is_on


def test_a_channel_that_fails_is_tried_again_later_and_later(watcher: Watcher) -> None:
    watcher.round(0)
    watcher.receiver.status = 500
    watcher.round(400)
    assert watcher.round(400) == []
    watcher.receiver.status = 200
    assert watcher.round(400, minutes=0.5) == []  # The first pause is a minute.
    assert watcher.round(400, minutes=1) == [ON]
    assert watcher.round(400, minutes=60) == []


def test_a_claim_of_a_process_that_died_runs_out(watcher: Watcher) -> None:
    watcher.round(0)
    notifier = watcher.telling.notifier

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    dying = Notifier(**{**vars(notifier), "send": die})
    watcher.telling = Telling(notifier=dying, parts=(watcher._figures,))
    watcher.round(400)
    with pytest.raises(Died):
        watcher.round(400)
    watcher.restart()
    assert watcher.round(400, minutes=1) == []  # It may still be sending.
    assert watcher.round(400, minutes=2) == [ON]
    assert watcher.round(400, minutes=3) == []


def test_a_new_channel_hears_nothing_of_the_past(watcher: Watcher) -> None:
    watcher.round(0)
    watcher.round(400)
    watcher.round(400)
    notifier = watcher.telling.notifier
    late = Channels(urls=f"{watcher.receiver.url} {watcher.receiver.url}")
    watcher.telling = Telling(
        notifier=Notifier(**{**vars(notifier), "channels": late}), parts=(watcher._figures,)
    )
    assert watcher.round(400) == []


def test_every_rule_has_a_figure_and_a_name_of_its_own() -> None:
    assert {rule.metric for rule in RULES} <= set(METRICS)
    assert len({rule.name for rule in RULES}) == len(RULES)
