"""The figures of the classifier: tokens spent, and what waits for the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select

from services.classifier.store import outbox, spending
from shared.db import reading
from shared.domain.schema import rfc3339
from shared.figures import outbox_measures
from shared.metrics import Measure, measure

WINDOWS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def measures(engine: Engine, clock: Callable[[], datetime]) -> Iterable[Measure]:
    """All of the database of the classifier."""
    asks, now = spending.asks.c, clock()
    with reading(engine) as db:
        spent = {
            window: db.scalar(
                select(func.coalesce(func.sum(asks.tokens), 0)).where(
                    asks.asked_at > rfc3339(now - length)
                )
            )
            for window, length in WINDOWS.items()
        }
    for window, tokens in spent.items():
        yield measure("model_tokens", tokens or 0, window=window)
    yield from outbox_measures(engine, outbox, clock)
