"""Expiry that stands still while writing is stopped, and how it reads in office time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from shared.office import Office, add_working, working_between


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Writing was stopped from ``since`` until ``until`` (``None``: it still is)."""

    since: datetime
    until: datetime | None


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
