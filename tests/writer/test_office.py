"""Expiry counts the office's hours: forty dates, over nights, weekends, holidays and clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.writer.office import Stop, effective_end, in_words
from shared.office import Office, add_working, working_between

BERLIN = Office(zone="Europe/Berlin", holidays="DE-BE")
NEW_YORK = Office(zone="America/New_York", holidays="US")
SIX_DAYS = Office(zone="UTC", weekdays=frozenset({1, 2, 3, 4, 5, 6}), opens=480, closes=720)

# Start and end on the wall of the office, and the working minutes between them.
DATES = [
    (BERLIN, "2026-11-23 09:00", 60, "2026-11-23 10:00"),
    (BERLIN, "2026-11-23 09:00", 480, "2026-11-23 17:00"),
    (BERLIN, "2026-11-23 09:00", 481, "2026-11-24 09:01"),
    (BERLIN, "2026-11-23 08:00", 60, "2026-11-23 10:00"),
    (BERLIN, "2026-11-23 00:00", 1, "2026-11-23 09:01"),
    (BERLIN, "2026-11-23 16:59", 2, "2026-11-24 09:01"),
    (BERLIN, "2026-11-23 17:00", 1, "2026-11-24 09:01"),
    (BERLIN, "2026-11-23 23:59", 60, "2026-11-24 10:00"),
    (BERLIN, "2026-11-27 16:30", 60, "2026-11-30 09:30"),
    (BERLIN, "2026-11-28 12:00", 60, "2026-11-30 10:00"),
    (BERLIN, "2026-11-29 23:00", 480, "2026-11-30 17:00"),
    (BERLIN, "2026-11-27 09:00", 960, "2026-11-30 17:00"),
    (BERLIN, "2026-11-27 09:00", 961, "2026-12-01 09:01"),
    (BERLIN, "2026-12-24 09:00", 480, "2026-12-24 17:00"),
    (BERLIN, "2026-12-24 16:00", 120, "2026-12-28 10:00"),
    (BERLIN, "2026-12-25 10:00", 60, "2026-12-28 10:00"),
    (BERLIN, "2026-12-31 16:00", 120, "2027-01-04 10:00"),
    (BERLIN, "2027-01-01 09:00", 1, "2027-01-04 09:01"),
    (BERLIN, "2026-10-23 16:00", 120, "2026-10-26 10:00"),
    (BERLIN, "2026-10-24 12:00", 480, "2026-10-26 17:00"),
    (BERLIN, "2027-03-26 12:00", 60, "2027-03-30 10:00"),
    (BERLIN, "2027-03-25 16:00", 120, "2027-03-30 10:00"),
    (BERLIN, "2027-03-08 09:00", 60, "2027-03-09 10:00"),
    (BERLIN, "2027-05-05 16:30", 60, "2027-05-07 09:30"),
    (NEW_YORK, "2026-11-25 16:00", 120, "2026-11-27 10:00"),
    (NEW_YORK, "2026-11-26 12:00", 60, "2026-11-27 10:00"),
    (NEW_YORK, "2026-11-27 16:00", 120, "2026-11-30 10:00"),
    (NEW_YORK, "2026-07-03 12:00", 60, "2026-07-06 10:00"),
    (NEW_YORK, "2026-07-02 16:30", 60, "2026-07-06 09:30"),
    (NEW_YORK, "2027-03-12 16:00", 120, "2027-03-15 10:00"),
    (NEW_YORK, "2027-03-13 12:00", 480, "2027-03-15 17:00"),
    (NEW_YORK, "2026-10-30 16:00", 120, "2026-11-02 10:00"),
    (NEW_YORK, "2026-12-24 16:00", 120, "2026-12-28 10:00"),
    (SIX_DAYS, "2026-11-28 08:00", 240, "2026-11-28 12:00"),
    (SIX_DAYS, "2026-11-28 08:00", 241, "2026-11-30 08:01"),
    (SIX_DAYS, "2026-11-28 12:00", 1, "2026-11-30 08:01"),
    (SIX_DAYS, "2026-12-25 08:00", 240, "2026-12-25 12:00"),
    (SIX_DAYS, "2026-02-28 11:59", 2, "2026-03-02 08:01"),
    (SIX_DAYS, "2028-02-28 11:59", 2, "2028-02-29 08:01"),
    (SIX_DAYS, "2026-12-31 11:00", 120, "2027-01-01 09:00"),
]


def on_the_wall(office: Office, text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(office.zone))


def test_the_table_has_forty_dates() -> None:
    assert len(DATES) == 40


@pytest.mark.parametrize(("office", "start", "minutes", "end"), DATES)
def test_working_time_ends_when_the_office_clock_says_so(
    office: Office, start: str, minutes: int, end: str
) -> None:
    begin, expected = on_the_wall(office, start), on_the_wall(office, end)
    assert add_working(office, begin, minutes) == expected
    assert working_between(office, begin, expected) == minutes


OFFICE = Office(zone="UTC")
MONDAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
END = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


def stopped(since: datetime, hours: float) -> Stop:
    return Stop(since=since, until=since + timedelta(hours=hours))


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        ((), END),
        ((stopped(MONDAY + timedelta(hours=1), 1),), END + timedelta(hours=1)),
        ((stopped(MONDAY - timedelta(hours=5), 1),), END),
        ((stopped(END + timedelta(hours=1), 1),), END),
        ((stopped(MONDAY - timedelta(hours=1), 2),), END + timedelta(hours=1)),
        # One working hour was left at 13:00; it is given back in the next office hours.
        ((stopped(MONDAY + timedelta(hours=1), 16),), datetime(2026, 11, 24, 10, 0, tzinfo=UTC)),
        # The first stop carries the end into the second one.
        (
            (
                stopped(MONDAY + timedelta(hours=1), 1),
                stopped(MONDAY + timedelta(hours=2.5), 1),
            ),
            END + timedelta(hours=2),
        ),
    ],
)
def test_a_stop_adds_its_time(stops: tuple[Stop, ...], expected: datetime) -> None:
    now = END + timedelta(days=2)
    assert effective_end(OFFICE, MONDAY, END, stops, now) == expected


def test_while_a_stop_lasts_the_clock_stands_still() -> None:
    running = Stop(since=MONDAY + timedelta(hours=1), until=None)
    for hours in (2, 5, 100):
        now = MONDAY + timedelta(hours=hours)
        end = effective_end(OFFICE, MONDAY, END, (running,), now)
        assert working_between(OFFICE, now, end) == 60


def test_expiry_reads_in_office_time() -> None:
    words = in_words(BERLIN, datetime(2026, 11, 23, 13, 0, tzinfo=UTC), MONDAY)
    assert words == "Mon 23 Nov 14:00 (1 working hour)"
    assert in_words(OFFICE, END, END) == "Mon 23 Nov 14:00 (0 working minutes)"
