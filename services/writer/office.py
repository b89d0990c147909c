"""The clock of the office: working hours between two times, and expiry that stands still.

Times are aware; working time is counted in whole minutes of the office's own zone, so a day with
a change of clocks counts its opening hours as they stand on the wall.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.policy import Office

MINUTE = timedelta(minutes=1)
# No office is closed for longer: past this the clock gives up rather than run for ever.
LONGEST_CLOSURE_DAYS = 400


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Writing was stopped from ``since`` until ``until`` (``None``: it still is)."""

    since: datetime
    until: datetime | None


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


def effective_end(
    office: Office, start: datetime, end: datetime, stops: Sequence[Stop], now: datetime
) -> datetime:
    """``end`` with the time added in which writing was stopped since ``start``.

    Both the time on the wall and the working time that was left are given back, whichever is
    later: nothing expires in the night after a stop. A stop that lasts counts up to ``now``.
    """
    for stop in sorted(stops, key=lambda stop: stop.since):
        since, until = max(stop.since, start), stop.until or now
        if until <= since or since >= end:
            continue
        left = working_between(office, since, end)
        end = max(end + (until - since), add_working(office, until, left))
    return end


def in_words(office: Office, end: datetime, now: datetime) -> str:
    """``Mon 23 Nov 14:00 (6 working hours)`` in the office's own time."""
    local = end.astimezone(ZoneInfo(office.zone))
    minutes = working_between(office, now, end)
    amount = _plural(minutes // 60, "hour") if minutes >= 60 else _plural(minutes, "minute")
    return f"{local:%a} {local.day} {local:%b %H:%M} ({amount})"


def _plural(count: int, unit: str) -> str:
    return f"{count} working {unit}{'' if count == 1 else 's'}"


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
