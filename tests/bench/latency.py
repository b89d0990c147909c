"""P7 and P8: from before the POST to the pending proposal, and until the search finds the event."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from urllib.parse import parse_qsl

from services.demonstration import Post
from shared.domain import ids
from shared.settings import load_settings
from tests.bench.column import IS_DISTRIBUTED, chosen
from tests.bench.facts import foreign
from tests.bench.live import Live, fresh, until
from tests.bench.result import Figure, Found, Kept, kept, share
from tests.bench.scale import pick
from tests.events import lead, standard_webhook

SEED = 20261123
UNCOUNTED = pick(3, 20, 20)
Happened = Callable[[], bool]


def to_pending(live: Live, number: int) -> list[float]:
    """From before the POST to the committed proposal, one event at a time, in ms."""
    mix = random.Random(SEED)

    def story(turn: int) -> tuple[Post, Happened]:
        run = f"p7-{time.time_ns()}-{turn}"
        event = ids.event_id("standard-webhooks", "demo", f"msg_{run}")
        query = "SELECT 1 FROM proposals WHERE event_id = :event"
        post = standard_webhook(live.secrets, run, mix)
        return post, lambda: live.one("writer", query, event=event) is not None

    return _one_by_one(live, number, story)


def to_searchable(live: Live, number: int) -> list[float]:
    """From before the POST until the search finds it by the customer's e-mail address, in ms."""
    from services.audit.finding import Page, find, parse
    from services.audit.service import SERVICE

    web = SERVICE.web
    assert web is not None
    deps = web.wire(load_settings(web.settings, live.home.environment("audit", "web")))
    mix = random.Random(SEED)

    def story(turn: int) -> tuple[Post, Happened]:
        post = lead(live.secrets, f"p8{time.time_ns()}-{turn}", mix)
        query = parse(f"person:{dict(parse_qsl(post.body.decode()))['email']}")
        page = Page(before=None, size=1)
        return post, lambda: bool(find(deps, query, viewer="bench", page=page).rows)

    return _one_by_one(live, number, story)


def _one_by_one(
    live: Live, number: int, story: Callable[[int], tuple[Post, Happened]]
) -> list[float]:
    sender, times = live.sender(), []
    for turn in range(number + UNCOUNTED):
        post, happened = story(turn)
        times.append(until(sender, post, happened))
        time.sleep(0.02)
    return times[UNCOUNTED:]


def shares(times: list[float]) -> dict[str, Any]:
    """p50 and p99 in ms, beside all of them."""
    return {"p50": median(times), "p99": share(times, 0.99), "times": times}


def _rounds(measure: Callable[[Live, int], list[float]], number: int) -> tuple[Kept, Any]:
    rounds = []
    with chosen() as column, fresh(column) as live:
        for _ in range(pick(1, 2, 5)):
            with foreign(live.pids) as others:
                found = shares(measure(live, number))
            rounds.append({**found, **others})
    return kept(rounds), rounds


def p7_to_pending() -> Found:
    found, rounds = _rounds(to_pending, pick(10, 100, 300))
    goals = (None, None) if IS_DISTRIBUTED else (25, 80)
    figures = (
        found.most("P7", "POST to pending proposal, p50, ms", "p50", goals[0]),
        found.most("P7", "POST to pending proposal, p99, ms", "p99", goals[1]),
    )
    return Found(figures=figures, rounds=rounds)


def p8_to_searchable() -> Found:
    found, rounds = _rounds(to_searchable, pick(5, 50, 150))
    goal = 1500 if IS_DISTRIBUTED else 150
    figures = (
        found.most("P8", "POST to searchable, p99, ms", "p99", goal),
        Figure(target="P8", what="POST to searchable, p50, ms", value=found.median("p50")),
    )
    return Found(figures=figures, rounds=rounds)
