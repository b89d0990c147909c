"""When a channel hears of something: delays, digests and office hours, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.notifications.channels import Channel, Digest, Hours, Kind
from shared.office import Office, next_opening, open_from

URGENT = frozenset({Kind.DEAD_LETTER, Kind.ALARM, Kind.ALARM_OVER})
"""Never gathered, and told at night too, unless the channel's hours are strict."""


@dataclass(frozen=True, kw_only=True)
class News:
    """Something to tell. ``subject`` tells it apart within its kind, for ever.

    ``text`` holds types and field names, never a value or a person; ``path`` is the page to open.
    ``is_passing`` is told only while it is still so: a card that waits.
    """

    kind: Kind
    subject: str
    at: datetime
    title: str
    text: str
    path: str
    is_passing: bool = False


def due_at(channel: Channel, news: News, office: Office) -> datetime:
    """When this channel is to hear of it, in UTC."""
    moment = news.at
    if news.kind is Kind.CARD:
        moment += timedelta(minutes=channel.delay_minutes)
    if news.kind in URGENT:
        return open_from(office, moment) if channel.hours is Hours.STRICT else moment
    if channel.digest is Digest.DAILY:
        return next_opening(office, moment)
    if channel.digest is Digest.HOURLY:
        moment = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return moment if channel.hours is Hours.ALWAYS else open_from(office, moment)
