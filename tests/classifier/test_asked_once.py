from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.classifier.asked_once import asked_once
from services.classifier.deps import WorkerDeps
from services.classifier.service import SERVICE
from shared.crm.demo import DemoReader
from shared.domain.record import RecordRef
from shared.errors import NotFound
from tests.fakes.crm_fixtures import READ, running_crm

DANA = "dana.miller@example.com"


class Counting(DemoReader):
    """The real reader, which notes each question that goes out; the first waits for the gate."""

    def __init__(self, url: str) -> None:
        super().__init__(url, READ)
        self.asked: list[Any] = []
        self.gate = threading.Event()

    def read(self, ref: RecordRef) -> Any:
        return self._noted(ref, lambda: super(Counting, self).read(ref))

    def search(self, **key: str | None) -> Any:
        return self._noted(key, lambda: super(Counting, self).search(**key))

    def _noted(self, question: Any, ask: Callable[[], Any]) -> Any:
        self.asked.append(question)
        assert self.gate.wait(10)
        return ask()


@pytest.fixture
def crm(tmp_path: Path) -> Any:
    with running_crm(tmp_path) as running:
        yield Counting(running.url)


def side_by_side(crm: Counting, ask: Callable[[], Any]) -> list[Any]:
    """What four handlers of one batch get who ask while the first answer is on its way."""
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask) for _ in range(4)]
        crm.gate.set()
        return [one.exception() or one.result() for one in answers]


def test_the_events_of_a_batch_ask_the_same_question_once(crm: Counting) -> None:
    reader = asked_once(crm)
    answers = side_by_side(crm, lambda: reader.search(email=DANA))
    assert crm.asked == [{"email": DANA}]
    assert [[one.title for one in found] for found in answers] == [["Dana Miller"]] * 4
    assert reader.search(phone="+12025550101")
    assert len(crm.asked) == 2


def test_what_the_crm_refuses_to_one_it_refuses_to_all_who_asked(crm: Counting) -> None:
    reader = asked_once(crm)
    gone = RecordRef(crm="demo", type="contacts", id="9999")
    assert {type(one) for one in side_by_side(crm, lambda: reader.read(gone))} == {NotFound}
    assert crm.asked == [gone]


def test_the_next_batch_asks_again(crm: Counting) -> None:
    crm.gate.set()
    for _ in range(2):
        asked_once(crm).search(email=DANA)
    assert len(crm.asked) == 2


def test_the_classifier_s_handlers_of_a_batch_share_what_they_ask() -> None:
    assert SERVICE.worker is not None
    assert SERVICE.worker.for_batch is WorkerDeps.for_batch
