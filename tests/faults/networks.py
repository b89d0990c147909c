"""Runs in which one link fails: to the model, the CRM, the broker, the database or the index."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.faults.columns import Column, distributed, embedded, indexed
from tests.faults.killing import play
from tests.faults.model_server import helpful_model
from tests.faults.proxy import Proxy
from tests.faults.servers import OWN
from tests.faults.stage import Ended
from tests.faults.tree import Wiring

FAULTS: Mapping[str, Callable[[Proxy], None]] = {
    "refuses": Proxy.refuse,
    "hangs": Proxy.hang,
    "resets": Proxy.reset,
    "cuts": Proxy.cut,
    "slows": lambda proxy: proxy.slow(2_000),
    "loses": Proxy.lose,
}
# Without the database nothing can be promised: then, and only then, the sender must come again.
HONEST = {"503", "ReadTimeout"}
# Between two faults. A message that has failed twice waits for a minute: where it is an outside
# system that fails, it comes back before the next fault.
REST_SECONDS = 15.0
OUTSIDE_REST_SECONDS = 75.0
OUTSIDE = {"model", "crm"}
# A minute's events are not to take longer than the pause after it.
RATE = 1.5


def link(name: str, folder: Path, seed: int, *, seconds: float = 60, faults: int = 6) -> Ended:
    """``faults`` of the kinds there are, in seeded order, each for ``seconds``."""
    rest = OUTSIDE_REST_SECONDS if name in OUTSIDE else REST_SECONDS
    kinds = random.Random(seed).sample(sorted(FAULTS), faults)
    with _LINKS[name](folder) as (column, proxy, variables):

        def act() -> tuple[int, Mapping[str, Any]]:
            for kind in kinds:
                time.sleep(rest)
                FAULTS[kind](proxy)
                time.sleep(seconds)
                proxy.heal()
            return len(kinds), {"kinds": kinds, "held_seconds": seconds}

        ended = play(column, folder, seed, act, rate=RATE, **variables)
    allowed = HONEST if name == "database" else set()
    wrong = {said: times for said, times in ended.refused.items() if said not in allowed}
    if wrong:
        return replace(ended, differences=[*ended.differences, f"the intake answered {wrong}"])
    return ended


Setting = tuple[Column, Proxy, dict[str, str]]


@contextmanager
def _model(_: Path) -> Iterator[Setting]:
    with embedded() as column, helpful_model() as url, before(url) as (proxy, near):
        yield column, proxy, {"OPENAI_BASE_URL": near, "OPENAI_TIMEOUT": "5"}


@contextmanager
def _crm(folder: Path) -> Iterator[Setting]:
    with embedded() as column:
        product = column.product(folder)
        with before(product.crm_url) as (proxy, near):
            variables = {"CRM_PORT": str(product.crm_port), **Wiring(crm_url=near).variable()}
            yield column, proxy, variables


@contextmanager
def _server(variable: str, _: Path) -> Iterator[Setting]:
    """The books are read past the proxy."""
    OWN.start("rabbitmq", "postgresql")
    with distributed() as column, before(column.urls[variable]) as (proxy, near):
        yield column, proxy, {variable: near}


@contextmanager
def _index(_: Path) -> Iterator[Setting]:
    OWN.start("rabbitmq", "postgresql", "elasticsearch")
    with indexed() as column, before(column.urls["SEARCH_URL"]) as (proxy, near):
        yield column, proxy, {"SEARCH_URL": near}


@contextmanager
def before(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of this address, and the address that leads through it."""
    parts = urlsplit(url)
    with Proxy((str(parts.hostname), int(parts.port or 0))) as proxy:
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        near = parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}")
        yield proxy, urlunsplit(near)


_LINKS: Mapping[str, Callable[[Path], Any]] = {
    "model": _model,
    "crm": _crm,
    "broker": partial(_server, "BROKER_URL"),
    "database": partial(_server, "DATABASE_URL"),
    "index": _index,
}
ROUNDS = tuple((name, partial(link, name)) for name in _LINKS)
