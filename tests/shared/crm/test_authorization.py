"""A token that the CRM refuses is fetched anew once, however many calls were refused with it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.writer.crm.sending import Sender
from shared.crm.authorization import Fetched, Token, bearer
from shared.crm.client import Client
from shared.crm.pace import Pace
from shared.errors import Rejected
from tests.fakes.faulty_crm import served

SECONDS = 5.0


@dataclass
class Crm:
    """Takes every token but ``token-1``. Of ``calls`` with that one the first is answered when the
    last has come, and that one when the new token has been in use: the moment to renew it again.
    """

    calls: int = 2
    seen: Counter[str] = field(default_factory=Counter)
    fetched: int = 0
    all_came: threading.Event = field(default_factory=threading.Event)
    renewed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
        with self.lock:
            self.seen[token] += 1
            number = self.seen[token]
        if token != "token-1":
            self.renewed.set()
        elif number < self.calls:
            assert self.all_came.wait(SECONDS)
        elif number > 1:
            self.all_came.set()
            assert self.renewed.wait(SECONDS)
        start_response(
            "401 Unauthorized" if token == "token-1" else "200 OK",
            [("Content-Type", "application/json")],
        )
        return iter([json.dumps({}).encode()])

    def fetch(self) -> Token:
        self.fetched += 1
        return Token(text=f"token-{self.fetched}", seconds=3600)


def reading(url: str, authorization: Any) -> Callable[[], object]:
    client = Client(url, authorization, timeout=SECONDS, pace=Pace(1000, 10))
    return lambda: client.get("/contacts/1")


def writing(url: str, authorization: Any) -> Callable[[], object]:
    allowed = frozenset({("PATCH", "/contacts/{id}")})
    sender = Sender(url, authorization, allowed, timeout=SECONDS, pace=Pace(1000, 10))
    return lambda: sender.write("PATCH", "/contacts/{id}", {}, id="1")


@pytest.mark.parametrize("side", [reading, writing])
def test_two_calls_that_are_refused_with_one_token_renew_it_once(side: Any) -> None:
    crm = Crm()
    with served(crm) as url, ThreadPoolExecutor(2) as pool:
        call = side(url, Fetched(crm.fetch))
        for answer in [pool.submit(call) for _ in range(2)]:
            answer.result(2 * SECONDS)
    assert crm.fetched == 2
    assert crm.seen == {"token-1": 2, "token-2": 2}


@pytest.mark.parametrize("side", [reading, writing])
def test_a_fixed_token_that_is_refused_is_not_tried_twice(side: Any) -> None:
    crm = Crm(calls=1)
    with served(crm) as url, pytest.raises(Rejected):
        side(url, bearer("token-1"))()
    assert crm.seen == {"token-1": 1}


def test_a_token_that_was_refused_twice_is_fetched_twice() -> None:
    crm = Crm()
    authorization = Fetched(crm.fetch)
    for number in (1, 2, 3):
        shown = authorization.headers()
        assert shown == {"Authorization": f"Bearer token-{number}"}
        assert authorization.renew(shown)
        assert authorization.renew(shown)
