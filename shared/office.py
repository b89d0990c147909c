"""When the office is open, and working time counted on its clock.

Times are aware; working time is counted in whole minutes of the office's own zone, so a day with
a change of clocks counts its opening hours as they stand on the wall.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

# No office is closed for longer: past this the clock gives up rather than run for ever.
LONGEST_CLOSURE_DAYS = 400
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Office:
    """``weekdays`` are ISO (Monday 1); ``opens`` and ``closes`` minutes after midnight.

    ``holidays`` is a country, or country and region (``DE``, ``DE-BY``); ``None``: none.
    """

    zone: str = "UTC"
    weekdays: frozenset[int] = frozenset({1, 2, 3, 4, 5})
    opens: int = 9 * 60
    closes: int = 17 * 60
    holidays: str | None = None


def host_zone() -> str:
    """The IANA name of this machine's time zone; UTC where it has none."""
    target = str(Path("/etc/localtime").resolve())
    _, found, name = target.partition("/zoneinfo/")
    return name if found and name != "localtime" else "UTC"


def add_working(office: Office, start: datetime, minutes: int) -> datetime:
    """The time at which ``minutes`` of working time after ``start`` are over, in UTC.

    Zero minutes give ``start`` itself. Raises `ValueError` for an office that never opens.
    """
    left = timedelta(minutes=minutes)
    if not left:
        return start.astimezone(UTC)
    for opens, closes in _open_spans(office, start):
        begin = max(opens, start)
        if begin >= closes:
            continue
        if begin + left <= closes:
            return begin + left
        left -= closes - begin
    raise ValueError("this office never opens")


def working_between(office: Office, start: datetime, end: datetime) -> int:
    """Whole minutes of working time from ``start`` to ``end``; 0 if ``end`` is earlier."""
    total = timedelta()
    for opens, closes in _open_spans(office, start):
        if opens >= end:
            break
        total += max(min(closes, end) - max(opens, start), timedelta())
    return int(total / MINUTE)


def next_opening(office: Office, after: datetime) -> datetime:
    """When the office opens next, later than ``after``. Raises `ValueError` if it never does."""
    for opens, _ in _open_spans(office, after):
        if opens > after:
            return opens
    raise ValueError("this office never opens")


def open_from(office: Office, moment: datetime) -> datetime:
    """``moment`` if the office is open then, else when it opens. Raises as `next_opening`."""
    for opens, closes in _open_spans(office, moment):
        if moment < closes:
            return max(opens, moment)
    raise ValueError("this office never opens")


def _open_spans(office: Office, start: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Opening and closing time of each working day from the day of ``start`` on, in UTC."""
    zone = ZoneInfo(office.zone)
    first = start.astimezone(zone).date()
    for offset in range(LONGEST_CLOSURE_DAYS):
        day = first + timedelta(days=offset)
        if day.isoweekday() in office.weekdays and not _is_holiday(office, day):
            yield _at(day, office.opens, zone), _at(day, office.closes, zone)


def _at(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The wall time ``minute`` minutes after midnight; 1440 is the end of the day."""
    if minute == 24 * 60:
        day, minute = day + timedelta(days=1), 0
    return datetime.combine(day, time(minute // 60, minute % 60), zone).astimezone(UTC)


def _is_holiday(office: Office, day: date) -> bool:
    return office.holidays is not None and day in _calendar(office.holidays, day.year)


@functools.lru_cache(maxsize=32)
def _calendar(country: str, year: int) -> Any:
    import holidays  # A heavy package: pages that show no clock do without it.

    code, _, region = country.partition("-")
    return holidays.country_holidays(code, subdiv=region or None, years=year)
