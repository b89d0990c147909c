"""Tells each channel what it is to hear, each thing once, although processes start again.

A row is claimed in the database before anything is sent and marked afterwards. A process that
dies in between leaves a claim that runs out, and the notice is sent again: a doubled one is
better than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Row, select, update

from shared.db import insert_new, reading, upsert, writing
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import ConfigurationError
from shared.notifications.channels import Channel, Kind, Reads
from shared.notifications.due import News, due_at
from shared.notifications.sending import Message, deliver
from shared.notifications.tables import NoticeTables
from shared.notifications.wording import worded
from shared.office import Office

log = structlog.get_logger()
CLAIM = timedelta(minutes=2)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
MOST_ATTEMPTS = 30
KEPT = timedelta(days=60)
OPEN = ("waiting", "failed", "sending")
FILE = "notices-file"


@dataclass(frozen=True, kw_only=True)
class Ear:
    """A channel as a collector sees it: it hears what happened from ``since`` on.

    ``seen`` is how far it has read the log; ``None``: not at all yet.
    """

    channel: Channel
    since: datetime
    seen: int | None


Collect = Callable[[Connection, Ear], Iterable[News]]


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """``reach`` tells how far the log of this service goes, where it has one to read."""

    engine: Engine
    tables: NoticeTables
    clock: Callable[[], datetime]
    channels: Reads
    office: Callable[[Connection], Office]
    public_url: str
    reach: Callable[[Connection], int] = lambda _: 0
    send: Callable[[str, Message], str | None] = deliver

    def run(self, collect: Collect) -> int:
        """One round for every channel; returns how many messages were delivered."""
        try:
            channels = self.channels()
        except ConfigurationError as error:
            self._note_fault(str(error))
            return 0
        self._forget_others({channel.name for channel in channels})
        return sum(self._tell(channel, collect) for channel in channels)

    def _tell(self, channel: Channel, collect: Collect) -> int:
        claimed = self._claimed(channel, collect)
        if not claimed:
            return 0
        reason = self.send(channel.url, worded(claimed, self.public_url))
        self._mark(channel, claimed, reason)
        return int(reason is None)

    def _claimed(self, channel: Channel, collect: Collect) -> Sequence[Row[Any]]:
        """What this process alone will now send to the channel."""
        now, notices = self.clock(), self.tables.notices
        with reading(self.engine) as db:
            ear, reach = self._ear(db, channel, now), self.reach(db)
            found = [news for news in collect(db, ear) if channel.wants(news.kind)]
            fresh = self._fresh(db, channel, found, now)
            due = db.execute(self._due(channel, now)).all()
        if not fresh and not due and ear.seen is not None and ear.seen >= reach:
            return ()
        still = {(str(news.kind), news.subject) for news in found}
        with writing(self.engine) as db:
            self._remember(db, ear, reach)
            insert_new(db, notices, fresh)
            rows = db.execute(self._due(channel, now)).all()
            return [row for row in rows if self._claim(db, row, still, now)]

    def _ear(self, db: Connection, channel: Channel, now: datetime) -> Ear:
        table = self.tables.channels
        row = db.execute(select(table).where(table.c.name == channel.name)).first()
        if row is None:
            return Ear(channel=channel, since=now, seen=None)
        return Ear(channel=channel, since=parse_instant(row.since), seen=row.seen)

    def _remember(self, db: Connection, ear: Ear, reach: int) -> None:
        table, name = self.tables.channels, ear.channel.name
        first = {"name": name, "since": rfc3339(ear.since), "seen": reach}
        if not insert_new(db, table, [first]):
            db.execute(update(table).where(table.c.name == name).values(seen=reach))

    def _fresh(
        self, db: Connection, channel: Channel, found: Sequence[News], now: datetime
    ) -> list[dict[str, Any]]:
        """Rows of what this channel was not told yet; what may pass is told when it is due."""
        notices, office = self.tables.notices, self.office(db)
        told = select(notices.c.kind, notices.c.subject).where(notices.c.channel == channel.name)
        known = {tuple(row) for row in db.execute(told)} if found else set()
        rows = []
        for news in found:
            due = due_at(channel, news, office)
            if (str(news.kind), news.subject) not in known and not (news.is_passing and due > now):
                rows.append(_row(channel, news, due))
        return rows

    def _due(self, channel: Channel, now: datetime) -> Any:
        notices = self.tables.notices
        mine = (notices.c.channel == channel.name) & notices.c.state.in_(OPEN)
        query = select(notices).where(mine, notices.c.at <= rfc3339(now))
        return query.order_by(notices.c.at, notices.c.subject)

    def _claim(
        self, db: Connection, row: Row[Any], still: set[tuple[str, str]], now: datetime
    ) -> bool:
        """Compare-and-set. A card that was decided meanwhile is told no more."""
        if row.kind in PASSING and (row.kind, row.subject) not in still:
            self._set(db, row, state="dropped", at=rfc3339(now))
            return False
        at = rfc3339(now + CLAIM)
        return self._set(db, row, state="sending", attempts=row.attempts + 1, at=at)

    def _set(self, db: Connection, row: Row[Any], **values: Any) -> bool:
        notices = self.tables.notices
        same = [notices.c[name] == getattr(row, name) for name in (*KEY, "state", "at")]
        return db.execute(update(notices).where(*same).values(**values)).rowcount == 1

    def _mark(self, channel: Channel, rows: Sequence[Row[Any]], reason: str | None) -> None:
        now, notices = self.clock(), self.tables.notices
        said = (
            {"sent_at": rfc3339(now), "error": None}
            if reason is None
            else {"failed_at": rfc3339(now), "error": reason}
        )
        if reason is not None:
            log.warning("notice not delivered", channel=channel.name, notices=len(rows))
        with writing(self.engine) as db:
            table = self.tables.channels
            db.execute(update(table).where(table.c.name == channel.name).values(**said))
            for row in rows:
                key = [notices.c[name] == getattr(row, name) for name in KEY]
                db.execute(update(notices).where(*key).values(**_outcome(row, reason, now)))
            db.execute(notices.delete().where(notices.c.at < rfc3339(now - KEPT)))

    def _note_fault(self, problem: str) -> None:
        now = rfc3339(self.clock())
        row = {"name": FILE, "since": now, "failed_at": now, "error": problem}
        with reading(self.engine) as db:
            table = self.tables.channels
            if db.scalar(select(table.c.error).where(table.c.name == FILE)) == problem:
                return
        log.warning("nobody can be told", problem=problem)
        with writing(self.engine) as db:
            upsert(db, table, row, key=["name"])

    def _forget_others(self, names: set[str]) -> None:
        """A channel that comes back later hears what happens from then on."""
        table = self.tables.channels
        with reading(self.engine) as db:
            gone = set(db.scalars(select(table.c.name))) - names
        if gone:
            with writing(self.engine) as db:
                db.execute(table.delete().where(table.c.name.in_(gone)))


KEY = ("channel", "kind", "subject")
PASSING = frozenset({str(Kind.CARD), str(Kind.REMINDER)})


def _row(channel: Channel, news: News, due: datetime) -> dict[str, Any]:
    return {
        "channel": channel.name,
        "kind": str(news.kind),
        "subject": news.subject,
        "state": "waiting",
        "title": news.title,
        "text": news.text,
        "path": news.path,
        "attempts": 0,
        "at": rfc3339(due),
    }


def _outcome(row: Row[Any], reason: str | None, now: datetime) -> Mapping[str, Any]:
    """Sent, or when to try again: after 1, 2, 4 … minutes, at most an hour."""
    if reason is None:
        return {"state": "sent", "at": rfc3339(now)}
    if row.attempts + 1 >= MOST_ATTEMPTS:
        return {"state": "dropped", "at": rfc3339(now)}
    pause = min(FIRST_PAUSE * 2 ** min(row.attempts, 10), LONGEST_PAUSE)
    return {"state": "failed", "at": rfc3339(now + pause)}
