"""One question to a CRM for all events of a batch that ask the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

from shared.crm import Reader
from shared.domain.record import Reading, RecordRef


def asked_once(reader: Reader) -> Reader:
    """The reader for one batch, whose handlers may run side by side.

    Every event of a batch was here before the first question goes out, so no answer is older than
    the event that it is for. What an answer raises it raises for all who asked.
    """
    # All that is not asked here is handed on, which no type can say.
    return cast("Reader", _AskedOnce(reader))


class _AskedOnce:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._answers: dict[Any, Future[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, ref: RecordRef) -> Reading:
        found: Reading = self._once(ref, lambda: self._reader.read(ref))
        return found

    def search(self, **key: str | None) -> list[Reading]:
        question = tuple(sorted(key.items()))
        return list(self._once(question, lambda: self._reader.search(**key)))

    def _once(self, question: Any, ask: Callable[[], Any]) -> Any:
        with self._lock:
            is_first = question not in self._answers
            answer = self._answers.setdefault(question, Future())
        if is_first:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it has to hear of it.
                answer.set_exception(error)
        return answer.result()
