"""How each mailbox stands, for the page of the sources: no password is known there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from services.ingest.mailboxes.standing import Standing, standings
from services.ingest.sources.mailbox import SOURCE
from services.ingest.store import tallies
from shared.db import reading

RESULTS = ("accepted", "duplicate", "refused")


@dataclass(frozen=True, kw_only=True)
class MailboxState:
    """``last`` is the last mail: ``last_at``, ``result``, ``reason`` and ``detail``."""

    name: str
    place: str
    looked_at: str | None
    problem: str
    problem_since: str | None
    next_at: str
    today: Mapping[str, int]
    last: Mapping[str, Any] | None


def mailbox_states(engine: Engine, day: str) -> list[MailboxState]:
    """One for each configured mailbox, by name; ``day`` as in ``tallies``."""
    known = sorted(standings(engine).values(), key=lambda one: one.name)
    query = select(tallies).where(tallies.c.source == SOURCE.name).order_by(tallies.c.last_at)
    with reading(engine) as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return [
        _state(one, [row for row in rows if row["endpoint"] == one.name], day)
        for one in known
        if one.is_configured
    ]


def _state(standing: Standing, rows: list[dict[str, Any]], day: str) -> MailboxState:
    return MailboxState(
        name=standing.name,
        place=standing.place,
        looked_at=standing.looked_at,
        problem=standing.problem,
        problem_since=standing.problem_since,
        next_at=standing.next_at,
        today=_sums(row for row in rows if row["day"] == day),
        last=rows[-1] if rows else None,
    )


def _sums(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    sums = dict.fromkeys(RESULTS, 0)
    for row in rows:
        sums[row["result"]] += row["count"]
    return sums
