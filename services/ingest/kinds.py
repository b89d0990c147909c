"""What happens how often at each endpoint: handled, ignored and unknown kinds, each counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from services.ingest.source import Outcome, Source
from services.ingest.store import kinds
from shared.db import insert_new

HANDLED, IGNORED, UNKNOWN = "handled", "ignored", "unknown"
_WORDS = {Outcome.STORED: HANDLED, Outcome.IGNORED: IGNORED, Outcome.UNKNOWN_KIND: UNKNOWN}
_KEY = ("source", "endpoint", "kind")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``answer`` is handled, ignored or unknown, as the source says today."""

    name: str
    answer: str
    count: int = 0
    last_at: str | None = None


def count_kinds(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Of accepted happenings that are sent for the first time; a replay is no new one."""
    fresh = [row for row in rows if not row["replays"]]
    counts = Counter((row["source"], row["endpoint"], row["type"]) for row in fresh)
    if not counts:
        return
    last: dict[tuple[str, str, str], str] = {}
    for row in fresh:
        key = (row["source"], row["endpoint"], row["type"])
        last[key] = max(last.get(key, ""), row["received_at"])
    named = [dict(zip(_KEY, key, strict=True)) for key in sorted(counts)]
    insert_new(connection, kinds, [{**row, "count": 0, "last_at": ""} for row in named])
    more = [
        {f"{name}_": part for name, part in zip(_KEY, key, strict=True)}
        | {"more": counts[key], "at_": last[key]}
        for key in sorted(counts)
    ]
    connection.execute(_ADD, more)


_ADD = (
    kinds.update()
    .where(*(kinds.c[name] == bindparam(f"{name}_") for name in _KEY))
    .values(count=kinds.c.count + bindparam("more"), last_at=bindparam("at_"))
)


def answer_of(source: Source, kind: str) -> str:
    return _WORDS[source.fate([kind])]


def kinds_seen(connection: Connection, source: Source, endpoint: str) -> list[Kind]:
    """The newest first."""
    query = (
        select(kinds)
        .where(kinds.c.source == source.name, kinds.c.endpoint == endpoint)
        .order_by(kinds.c.last_at.desc())
    )
    return [
        Kind(
            name=row["kind"],
            answer=answer_of(source, row["kind"]),
            count=row["count"],
            last_at=row["last_at"],
        )
        for row in connection.execute(query).mappings()
    ]


def kinds_not_seen(source: Source, seen: Iterable[Kind]) -> list[Kind]:
    """Those the source names that have not come yet."""
    names = {kind.name for kind in seen}
    named = [(name, HANDLED) for name in sorted(source.handled or ())]
    named += [(name, IGNORED) for name in sorted(source.ignored)]
    return [Kind(name=name, answer=answer) for name, answer in named if name not in names]
