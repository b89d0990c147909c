"""The live value on a card, from a CRM of each vendor's shape: how soon, and while it is away."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.bench.facts import foreign, tree
from tests.bench.result import Figure, Found, kept, share
from tests.bench.scale import pick
from tests.fakes.demonstrations import DEMONSTRATIONS
from tests.journey.vendors import NEW_PHONE, Demonstrated, card_for, demonstrating
from tests.product import Client

GOAL_MS = 300.0
# A CRM that says nothing is given up after two seconds; the answer may take a little longer.
GIVEN_UP_MS = 2500.0
# A slow CRM sleeps so long, and is awake so long, in turn; in seconds.
ASLEEP, AWAKE = 0.8, 0.05
# So many others look at the card, and look again after so many seconds.
WAITING, PAUSE = 4, 1.0
# A person opens no more cards a second than an account's share of its vendor's rate allows.
READING = 0.8
ROUNDS = pick(1, 2, 5)
VENDORS = pick(("hubspot",), tuple(DEMONSTRATIONS), tuple(DEMONSTRATIONS))
ASKED = pick(5, 30, 200)
ASKED_IN_VAIN = pick(2, 5, 10)


def card() -> Found:
    """p95 of the question for the live value and of the page: the CRM well, slow, hanging, down."""
    seen = {vendor: _of(vendor) for vendor in VENDORS}
    figures = [figure for vendor, found in seen.items() for figure in _figures(vendor, found)]
    return Found(figures=tuple(figures), rounds=seen)


def _of(vendor: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        with demonstrating(Path(name), vendor) as story:
            field = next(n for n, kind in DEMONSTRATIONS[vendor].fields.items() if kind == "phone")
            id_ = card_for(story.client, field, NEW_PHONE)["row"]["id"]
            return _measured(story, id_)


def _measured(story: Demonstrated, id_: str) -> dict[str, Any]:
    client, process = story.client, story.product.process
    assert process is not None
    pid = process.pid

    def seen(*, reachable: bool | None, asked: int) -> dict[str, Any]:
        """One round: the question for the live value, then the page of the card."""
        with foreign(lambda: tree(pid)) as others:
            now = _times(lambda: _now(client, id_, reachable=reachable), asked, pause=READING)
            with _asked_by_others(story, id_, reachable=reachable):
                page = _times(lambda: _page(client, id_), ASKED)
        return {"now": share(now, 0.95), "page": share(page, 0.95), "times": [now, page], **others}

    double = _double(pid)
    found = {"well": [seen(reachable=True, asked=ASKED) for _ in range(ROUNDS)]}
    with _slow(double):
        found["slow"] = [seen(reachable=None, asked=ASKED_IN_VAIN)]
    with _hanging(double):
        found["hanging"] = [seen(reachable=False, asked=ASKED_IN_VAIN)]
    _now(client, id_, reachable=True)
    double.kill()
    found["down"] = [seen(reachable=False, asked=ASKED)]
    return found


def _times(ask: Callable[[], None], number: int, *, pause: float = 0.0) -> list[float]:
    """In ms, one after the other, with a pause in seconds; the first does not count."""
    times = []
    for _ in range(1 + number):
        time.sleep(pause)
        begin = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begin) * 1000)
    return times[1:]


def _now(client: Client, id_: str, *, reachable: bool | None) -> None:
    """``reachable`` is what must come out; ``None``: a slow CRM may be in time or not."""
    found = client.get(f"/api/cards/{id_}/now")
    assert reachable is None or found["reachable"] is reachable, found
    assert found["fields"][0]["value"], "the stored value is shown where there is no live one"


def _page(client: Client, id_: str) -> None:
    answer = client.session.get(
        f"{client.url}/cards/{id_}", headers={"Accept": "text/html"}, timeout=20
    )
    assert answer.status_code == 200, answer.text


def _double(pid: int) -> psutil.Process:
    """The process of the vendor's double, a child of the command."""
    [found] = [
        one
        for one in psutil.Process(pid).children(recursive=True)
        if "tests.fakes" in one.cmdline()
    ]
    return found


@contextmanager
def _hanging(process: psutil.Process) -> Iterator[None]:
    """It takes connections and says nothing."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@contextmanager
def _slow(process: psutil.Process) -> Iterator[None]:
    """It answers, after most of a second for each call."""
    over = threading.Event()

    def doze() -> None:
        while not over.is_set():
            with _hanging(process):
                over.wait(ASLEEP)
            over.wait(AWAKE)

    thread = threading.Thread(target=doze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _asked_by_others(story: Demonstrated, id_: str, *, reachable: bool | None) -> Iterator[None]:
    """Some people look at the card and wait for its live value all the while."""
    over = threading.Event()
    token = str(story.client.session.headers["Authorization"]).removeprefix("Bearer ")

    def look() -> None:
        client = Client(story.product, token)
        while not over.is_set():
            _now(client, id_, reachable=reachable)
            over.wait(PAUSE)

    threads = [threading.Thread(target=look) for _ in range(WAITING)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _figures(vendor: str, found: dict[str, Any]) -> Iterator[Figure]:
    for state, rounds in found.items():
        goal = GIVEN_UP_MS if state in {"slow", "hanging"} else GOAL_MS
        words = "the live value" if state in {"well", "slow"} else "says that there is none"
        all_ = kept(rounds)
        yield all_.most("card", f"{vendor} {state}: {words}, p95 ms", "now", goal)
        yield all_.most("card", f"{vendor} {state}: page of the card, p95 ms", "page", GOAL_MS)
