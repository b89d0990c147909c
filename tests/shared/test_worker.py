"""The worker loop on the real broker: one commit, one effect, settled last, nothing lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import faultpoints, worker
from shared.bus.topology import DELIVERY_LIMIT
from shared.domain.topics import Topic
from shared.errors import BadPayload, StoreUnavailable
from shared.service import Effect, do_nothing
from shared.values import email_key
from tests.shared.pipeline import Deps, Pipeline, eventually


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(folder=tmp_path)


@pytest.fixture(autouse=True)
def no_killer() -> Iterator[None]:
    yield
    faultpoints.wire_killer(None)


def waiting(pipeline: Pipeline) -> dict[str, int]:
    with sqlite3.connect(pipeline.folder / "bus.db") as db:
        return dict(db.execute("SELECT queue, count(*) FROM messages GROUP BY queue").fetchall())


def test_each_message_has_its_effect_and_leaves_the_queue(pipeline: Pipeline) -> None:
    sent = pipeline.tell(120)
    with pipeline.consuming(pipeline.note):
        eventually(lambda: not waiting(pipeline))
    assert sorted(pipeline.noted()) == sorted(sent)


def test_a_repeat_has_no_second_effect(pipeline: Pipeline) -> None:
    [sent] = pipeline.tell(1)
    with sqlite3.connect(pipeline.folder / "bus.db") as db:
        body = db.execute("SELECT body FROM messages").fetchone()[0].decode()
    for _ in range(4):
        pipeline.put(sent, body)
    with pipeline.consuming(pipeline.note):
        eventually(lambda: not waiting(pipeline))
    assert pipeline.noted() == [sent]


def test_a_bug_in_one_message_parks_that_one_and_only_that_one(pipeline: Pipeline) -> None:
    sent = pipeline.tell(10)

    def handler(envelope: Any, deps: Any) -> Any:
        if envelope.id == sent[4]:
            raise ZeroDivisionError
        return pipeline.note(envelope, deps)

    with pipeline.consuming(handler):
        eventually(lambda: waiting(pipeline) == {"audit.parked": 1})
    assert sorted(pipeline.noted()) == sorted(set(sent) - {sent[4]})


def test_handlers_of_a_batch_wait_side_by_side(pipeline: Pipeline) -> None:
    together = threading.Barrier(3)

    def wait(envelope: Any, deps: Deps) -> Effect:
        if envelope.id != sent[0]:  # The first after a start comes by itself.
            together.wait(timeout=10)
        return pipeline.note(envelope, deps)

    sent = pipeline.tell(4)
    with pipeline.consuming(wait, threads=3):
        eventually(lambda: sorted(pipeline.noted()) == sorted(sent))


def test_a_worker_hands_each_batch_what_it_shares(pipeline: Pipeline) -> None:
    made: list[list[str]] = []

    def shared(_: Any) -> list[str]:
        made.append([])
        return made[-1]

    def note(envelope: Any, batch: list[str]) -> Effect:
        batch.append(envelope.id)
        return pipeline.note(envelope, pipeline.deps)

    sent = pipeline.tell(40)
    with pipeline.consuming(note, for_batch=shared):
        eventually(lambda: len(pipeline.noted()) == 40)
    assert sorted(id_ for batch in made for id_ in batch) == sorted(sent)
    assert 1 < len(made) < 10


def test_what_is_alone_is_committed_before_the_next_begins(pipeline: Pipeline) -> None:
    seen: list[int] = []

    def count(envelope: Any, deps: Deps) -> Effect:
        seen.append(len(pipeline.noted()))
        return pipeline.note(envelope, deps)

    pipeline.tell(4)
    with pipeline.consuming(count, alone=frozenset({Topic.WRITING_STOPPED})):
        eventually(lambda: len(pipeline.noted()) == 4)
    assert seen == [0, 1, 2, 3]


def test_told_to_stop_it_finishes_what_is_in_hand_and_gives_back_the_rest(
    pipeline: Pipeline,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait(envelope: Any, deps: Deps) -> Effect:
        begun.set()
        may_end.wait(timeout=10)
        return pipeline.note(envelope, deps)

    pipeline.tell(3)
    with pipeline.consuming(wait, alone=frozenset({Topic.WRITING_STOPPED})) as stop:
        assert begun.wait(timeout=10)
        stop.set()
        may_end.set()
    assert len(pipeline.noted()) == 1
    assert waiting(pipeline)[pipeline.service] == 2


def test_an_effect_that_cannot_commit_is_found_among_its_batch(pipeline: Pipeline) -> None:
    sent = pipeline.tell(10)

    def handler(envelope: Any, deps: Any) -> Any:
        def effect(unit: Any) -> None:
            pipeline.note(envelope, deps)(unit)
            if envelope.id == sent[7]:
                raise BadPayload("no")

        return effect

    with pipeline.consuming(handler):
        eventually(lambda: waiting(pipeline) == {"audit.parked": 1})
    assert sorted(pipeline.noted()) == sorted(set(sent) - {sent[7]})


def test_the_log_is_told_of_a_dead_letter_with_its_reason(pipeline: Pipeline) -> None:
    pipeline.put("broken", "this is no envelope")
    with pipeline.consuming(pipeline.note):
        eventually(lambda: waiting(pipeline) == {"audit.parked": 1})
    with pipeline.deps.engine.connect() as connection:
        [row] = connection.execute(pipeline.deps.outbox.outbox.select()).all()
    assert row.topic == "message.parked"
    assert "BadPayload: not JSON" in row.body


def test_a_dependency_that_is_down_delays_the_message(pipeline: Pipeline) -> None:
    pipeline.tell(1)

    def handler(*_: Any) -> Any:
        raise StoreUnavailable("down")

    with pipeline.consuming(handler):
        eventually(lambda: waiting(pipeline) == {"audit.in.10s": 1})
    assert pipeline.noted() == []


def test_however_often_a_commit_fails_for_want_of_a_database_nothing_is_parked(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LONGEST_PAUSE", 0.2)
    sent = pipeline.tell(5)
    tries: list[str] = []

    def handler(envelope: Any, deps: Any) -> Any:
        def effect(unit: Any) -> None:
            pipeline.note(envelope, deps)(unit)
            tries.append(envelope.id)
            if len(tries) < 3 * DELIVERY_LIMIT:
                raise StoreUnavailable("the disk is full")

        return effect

    with pipeline.consuming(handler):
        eventually(lambda: not waiting(pipeline))
    assert sorted(pipeline.noted()) == sorted(sent)


class Death(BaseException):
    """Stands for the end of a process: nothing catches it."""


@pytest.mark.parametrize("point", ["worker.before_commit", "worker.before_ack", "worker.after_ack"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_death_at_any_point_loses_nothing_and_doubles_nothing(
    pipeline: Pipeline, point: str
) -> None:
    sent = pipeline.tell(5)

    def die_once(name: str) -> None:
        if name == point:
            faultpoints.wire_killer(None)
            raise Death

    faultpoints.wire_killer(die_once)
    with pipeline.consuming(pipeline.note):
        eventually(lambda: faultpoints._killer is not die_once)
    with pipeline.consuming(pipeline.note):
        eventually(lambda: not waiting(pipeline), seconds=25)
    assert sorted(pipeline.noted()) == sorted(sent)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_message_that_kills_again_and_again_takes_no_innocent_one_with_it(
    pipeline: Pipeline,
) -> None:
    sent = pipeline.tell(10)
    deaths: list[str] = []

    def die_at_the_fifth(envelope: Any, deps: Any) -> Any:
        if envelope.id == sent[4]:
            deaths.append(envelope.id)
            raise Death
        return pipeline.note(envelope, deps)

    for number in range(DELIVERY_LIMIT + 1):
        with pipeline.consuming(die_at_the_fifth):
            eventually(lambda number=number: len(deaths) > number)  # type: ignore[misc]
    with pipeline.consuming(pipeline.note):
        eventually(lambda: waiting(pipeline) == {"audit.parked": 1})
    assert sorted(pipeline.noted()) == sorted(set(sent) - {sent[4]})


def test_after_an_erasure_the_process_remembers_no_text(pipeline: Pipeline) -> None:
    body = {"person": "0" * 64, "chains": ["c"], "entries": 1, "reason": "asked"}
    with pipeline.deps.unit_of_work.begin() as unit:
        unit.publish(Topic.PERSON_ERASED, body, subject="person/erased", chain="c")
    pipeline.relay()
    email_key("jane@example.com")
    assert email_key.cache_info().currsize  # type: ignore[attr-defined]
    with pipeline.consuming(pipeline.note):
        eventually(lambda: pipeline.service not in waiting(pipeline))
    assert not email_key.cache_info().currsize  # type: ignore[attr-defined]


def test_a_relay_sends_again_what_was_not_confirmed_and_clears_what_was(pipeline: Pipeline) -> None:
    sent = pipeline.tell(3)
    with pipeline.deps.engine.connect() as connection:
        rows = connection.execute(pipeline.deps.outbox.outbox.select()).all()
    assert [row.message_id for row in rows] == sent
    assert all(row.sent_at and row.body is None for row in rows)
    assert pipeline.relay() == 0


def test_a_unit_that_fails_tells_nobody(pipeline: Pipeline) -> None:
    with pytest.raises(RuntimeError), pipeline.deps.unit_of_work.begin() as unit:
        pipeline.note(type("E", (), {"id": "never"}), pipeline.deps)(unit)
        raise RuntimeError
    assert pipeline.noted() == []
    assert do_nothing(unit) is None
