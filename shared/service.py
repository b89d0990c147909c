"""What a service is: one declaration that the web builder, the worker and the command line run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import MetaData

from shared.bus.envelope import Envelope
from shared.domain.topics import Topic
from shared.outbox import Unit

Effect = Callable[[Unit], None]
Handler = Callable[[Envelope, Any], Effect]


def as_it_is(deps: Any) -> Any:
    """The handlers of a batch share nothing but what the worker has."""
    return deps


def do_nothing(_: Unit) -> None:
    """The effect of a message that needs none; it is still marked as handled."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Something done again and again by one process at a time, under a lease in the database.

    ``run`` does what waits and returns; it is called every ``seconds`` and at once when somebody
    rings ``<service>.<name>``.
    """

    name: str
    seconds: float
    run: Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Web:
    """The part that answers requests. Each blueprint is built from the dependencies."""

    settings: type
    wire: Callable[[Any], Any]
    blueprints: tuple[Callable[[Any], Any], ...]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """The part that consumes. ``prefetch`` is how many messages are handled in one commit.

    A handler does the slow work with no transaction open and returns the effect, which writes
    state and publishes inside the batch's one transaction. Up to ``threads`` handlers of a batch
    wait for the outside side by side; ``for_batch`` makes of the dependencies what they share.
    Messages of the topics ``alone`` are never part of a batch: what they do outside is committed
    and acknowledged before anything else begins.
    """

    settings: type
    wire: Callable[[Any], Any]
    handlers: Mapping[Topic, Handler]
    loops: tuple[Loop, ...] = ()
    prefetch: int = 1
    threads: int = 1
    for_batch: Callable[[Any], Any] = as_it_is
    alone: frozenset[Topic] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Service:
    """Read this first in each ``service.py``: it is the service."""

    name: str
    tables: MetaData
    web: Web | None = None
    worker: Worker | None = None
