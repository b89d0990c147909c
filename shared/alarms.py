"""The alarms inside: each rule is held against the figures again and again.

An alarm is raised once, its end is told once, and the same alarm is not told again within a quiet
time; if it still lasts then, it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Row, Table, select

from shared.alarm_rules import BY_NAME, RULES, Rule
from shared.db import reading, upsert, writing
from shared.domain.schema import parse_instant, rfc3339
from shared.metrics import PREFIX, Measure

log = structlog.get_logger()
QUIET = timedelta(minutes=30)
KEPT = timedelta(days=7)
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm as the status page shows it. ``labels`` say of what: a queue, a service."""

    rule: Rule
    labels: str
    is_on: bool
    raised_at: datetime
    over_at: datetime | None


def figures(parts: Iterable[Callable[[], Iterable[Measure]]]) -> list[Measure]:
    """What can be read now; a part that cannot be read leaves its alarms as they are."""
    found: list[Measure] = []
    for part in parts:
        try:
            found += part()
        except Exception as error:  # noqa: BLE001 - one blind eye must not close the others.
            log.warning("figures unreadable", error=type(error).__name__)
    return found


def watch(engine: Engine, table: Table, measures: Sequence[Measure], now: datetime) -> None:
    """Hold the rules against the figures and keep what follows. Writes only what has changed."""
    met = dict(_met(measures))
    with reading(engine) as db:
        known = {(row.name, row.labels): row for row in db.execute(select(table))}
    changed = [
        row
        for key, (is_met, value) in met.items()
        if (row := _next(key, is_met=is_met, value=value, row=known.get(key), now=now))
    ]
    read = {one.name.removeprefix(PREFIX) for one in measures}
    changed += [_over(row, now) for key, row in known.items() if _has_gone(row, key, met, read)]
    if not changed:
        return
    with writing(engine) as db:
        for row in changed:
            upsert(db, table, row, key=["name", "labels"])
        db.execute(table.delete().where(table.c.over_at < rfc3339(now - KEPT)))


def _met(measures: Sequence[Measure]) -> Iterable[tuple[Key, tuple[bool, float]]]:
    rules: dict[str, list[Rule]] = {}
    for rule in RULES:
        rules.setdefault(rule.metric, []).append(rule)
    for one in measures:
        for rule in rules.get(one.name.removeprefix(PREFIX), ()):
            labels = json.dumps(dict(sorted(one.labels.items())))
            yield (rule.name, labels), (rule.is_met(one.value), float(one.value))


def _has_gone(row: Row[Any], key: Key, met: dict[Key, Any], read: set[str]) -> bool:
    """The figure is read, but no longer with these labels: a queue that is empty, say."""
    rule = BY_NAME.get(row.name)
    return key not in met and row.state != "over" and (rule is None or rule.metric in read)


def _next(
    key: Key, *, is_met: bool, value: float, row: Row[Any] | None, now: datetime
) -> dict[str, Any] | None:
    """The row that comes next, or ``None`` where nothing changes."""
    if not is_met:
        return _over(row, now) if row is not None and row.state != "over" else None
    if row is None or row.state == "over":
        fresh = _fresh(key, value, row.told_at if row is not None else None, now)
        return _raised(fresh, now)
    return _raised(dict(row._mapping), now)  # noqa: SLF001 - the public name of SQLAlchemy's rows


def _fresh(key: Key, value: float, told_at: str | None, now: datetime) -> dict[str, Any]:
    return {
        "name": key[0],
        "labels": key[1],
        "state": "pending",
        "value": value,
        "since": rfc3339(now),
        "raised_at": None,
        "over_at": None,
        "told_at": told_at,
        "is_told": 0,
    }


def _raised(row: dict[str, Any], now: datetime) -> dict[str, Any] | None:
    """On after the rule's seconds; told once, and again only after the quiet time."""
    before = dict(row)
    wait = timedelta(seconds=BY_NAME[row["name"]].seconds)
    if row["state"] == "pending" and now - parse_instant(row["since"]) >= wait:
        row |= {"state": "on", "raised_at": rfc3339(now)}
        log.warning("alarm", alarm=row["name"], labels=row["labels"])
    may_tell = row["told_at"] is None or now - parse_instant(row["told_at"]) >= QUIET
    if row["state"] == "on" and not row["is_told"] and may_tell:
        row |= {"told_at": rfc3339(now), "is_told": 1}
    return row if row != before or row["since"] == rfc3339(now) else None


def _over(row: Row[Any], now: datetime) -> dict[str, Any]:
    """What was never on leaves no end behind that anybody would hear of."""
    if row.state == "on":
        log.info("alarm over", alarm=row.name, labels=row.labels)
    return {**row._mapping, "state": "over", "over_at": rfc3339(now)}  # noqa: SLF001 - as above


def alarms(db: Connection, table: Table) -> list[Alarm]:
    """Alarms that are or were on, the newest first."""
    query = select(table).where(table.c.raised_at.isnot(None)).order_by(table.c.raised_at.desc())
    return [
        Alarm(
            rule=BY_NAME[row.name],
            labels=", ".join(map(str, json.loads(row.labels).values())),
            is_on=row.state == "on",
            raised_at=parse_instant(row.raised_at),
            over_at=parse_instant(row.over_at) if row.over_at else None,
        )
        for row in db.execute(query)
        if row.name in BY_NAME
    ]
