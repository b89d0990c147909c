from __future__ import annotations

import itertools

import pytest

from services.classifier.breaker import FAILURES, REST_SECONDS, Breaker
from shared.errors import ModelUnavailable


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def call(breaker: Breaker, *, fails: bool) -> None:
    with breaker.watching():
        if fails:
            raise ModelUnavailable("down")


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ModelUnavailable, match="down"):
            call(breaker, fails=True)


def test_failures_in_a_row_open_it_and_nothing_is_called_meanwhile() -> None:
    breaker = Breaker(clock=Clock())
    fail(breaker, FAILURES)
    with pytest.raises(ModelUnavailable, match="left alone"):
        call(breaker, fails=False)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(clock=Clock())
    for _ in itertools.repeat(None, 3):
        fail(breaker, FAILURES - 1)
        call(breaker, fails=False)
    assert not breaker.is_open


def test_after_its_rest_one_call_decides() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    fail(breaker, FAILURES)
    clock.seconds += REST_SECONDS
    fail(breaker, 1)
    assert breaker.is_open
    clock.seconds += REST_SECONDS
    call(breaker, fails=False)
    fail(breaker, 1)
    assert not breaker.is_open


def test_another_trouble_than_the_server_s_is_not_counted() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(FAILURES):
        with pytest.raises(ValueError, match="ours"), breaker.watching():
            raise ValueError("ours")
    assert not breaker.is_open
