"""When a channel hears of something: a table of moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.notifications.channels import Channel, Digest, Hours, Kind
from shared.notifications.due import News, due_at
from shared.office import Office

OFFICE = Office(zone="Europe/Berlin", holidays="DE")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "kind", "happened", "due"),
    [
        # Berlin is UTC+1 in winter: the office is open from 8 to 16 UTC.
        ({}, Kind.CARD, "2026-11-23T10:00", "2026-11-23T10:10"),
        ({"delay_minutes": 0}, Kind.CARD, "2026-11-23T10:00", "2026-11-23T10:00"),
        ({}, Kind.CARD, "2026-11-23T15:55", "2026-11-24T08:00"),
        ({}, Kind.CARD, "2026-11-27T20:00", "2026-11-30T08:00"),  # Friday night.
        ({}, Kind.REMINDER, "2026-12-24T17:00", "2026-12-28T08:00"),  # Christmas and a weekend.
        ({"hours": Hours.ALWAYS}, Kind.CARD, "2026-11-28T03:00", "2026-11-28T03:10"),
        ({}, Kind.ALARM, "2026-11-28T03:00", "2026-11-28T03:00"),
        ({}, Kind.DEAD_LETTER, "2026-11-28T03:00", "2026-11-28T03:00"),
        ({"hours": Hours.STRICT}, Kind.ALARM, "2026-11-28T03:00", "2026-11-30T08:00"),
        ({"digest": Digest.HOURLY}, Kind.EXPIRED, "2026-11-23T10:00", "2026-11-23T11:00"),
        ({"digest": Digest.HOURLY}, Kind.CHANGE, "2026-11-23T15:30", "2026-11-24T08:00"),
        ({"digest": Digest.DAILY}, Kind.CARD, "2026-11-23T10:00", "2026-11-24T08:00"),
        ({"digest": Digest.DAILY}, Kind.CARD, "2026-11-23T06:00", "2026-11-23T08:00"),
        ({"digest": Digest.DAILY}, Kind.ALARM, "2026-11-23T06:00", "2026-11-23T06:00"),
    ],
)
def test_each_kind_is_due_in_its_time(
    options: dict[str, Any], kind: Kind, happened: str, due: str
) -> None:
    channel = Channel(name="team", url="json://nowhere", **options)
    news = News(kind=kind, subject="1", at=at(happened), title="", text="", path="/")
    assert due_at(channel, news, OFFICE) == at(due)
