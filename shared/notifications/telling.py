"""One round of a service: hold the alarm rules against its figures, then tell the channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select

from shared.alarm_rules import BY_NAME
from shared.alarms import figures, watch
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import ConfigurationError
from shared.metrics import Measure
from shared.notifications.channels import Channels, Kind
from shared.notifications.due import News
from shared.notifications.notifier import Ear, Notifier
from shared.notifications.tables import NoticeTables
from shared.office import Office
from shared.policy import load_policy
from shared.settings import ServiceSettings, setting

SECONDS = 5.0
"""How often the loop looks."""


@dataclass(frozen=True, kw_only=True)
class NoticeSettings(ServiceSettings):
    """What a worker needs that tells people something."""

    public_url: str = setting("address under which people reach this installation")
    notices_file: Path | None = setting("channels of notices, for its owner alone", default=None)
    notice_urls: str = setting(
        "addresses for everything, as apprise writes them", default="", secret=True
    )


@dataclass(frozen=True, kw_only=True)
class Telling:
    """``parts`` are the figures of this service, ``collect`` is what happened in it."""

    notifier: Notifier
    parts: tuple[Callable[[], Iterable[Measure]], ...]
    collect: Callable[[Connection, Ear], Iterable[News]] = field(default=lambda *_: ())

    def run(self) -> None:
        """Raises `StoreUnavailable`."""
        notifier = self.notifier
        watch(notifier.engine, notifier.tables.alarms, figures(self.parts), notifier.clock())
        notifier.run(self._all)

    def _all(self, db: Connection, ear: Ear) -> Iterator[News]:
        yield from self.collect(db, ear)
        yield from alarm_news(db, self.notifier.tables, ear)


def notifier_of(
    settings: NoticeSettings,
    engine: Engine,
    tables: NoticeTables,
    clock: Callable[[], datetime],
    **more: Any,
) -> Notifier:
    """As the settings say; ``more`` are further fields of `Notifier`."""
    return Notifier(
        engine=engine,
        tables=tables,
        clock=clock,
        channels=Channels(file=settings.notices_file, urls=settings.notice_urls),
        public_url=settings.public_url.rstrip("/"),
        **more,
    )


def office_of(policy_file: Path | None) -> Callable[[Connection], Office]:
    """The hours of the policy file, for a service that does not keep the policy itself.

    Without a file, or while it is invalid: Monday to Friday 9 to 17 UTC.
    """

    def read(_: Connection) -> Office:
        try:
            return load_policy(policy_file).office if policy_file else Office()
        except ConfigurationError:
            return Office()  # That it is invalid must not keep anybody from hearing so.

    return read


def alarm_news(db: Connection, tables: NoticeTables, ear: Ear) -> Iterator[News]:
    """Alarms that are to be told, and the end of those that this channel was told of."""
    alarms = tables.alarms
    query = select(alarms).where(alarms.c.is_told == 1, alarms.c.told_at >= rfc3339(ear.since))
    for row in db.execute(query):
        rule = BY_NAME.get(row.name)
        if rule is None:
            continue
        subject, of = f"{row.name} {row.labels}@{row.told_at}", _words(row.labels)
        if row.state == "on":
            yield News(
                kind=Kind.ALARM,
                subject=subject,
                at=parse_instant(row.told_at),
                title=f"Alarm: {rule.summary}",
                text=f"{of}{rule.todo}",
                path="/status",
            )
        elif _was_told(db, tables, ear, subject):
            yield News(
                kind=Kind.ALARM_OVER,
                subject=subject,
                at=parse_instant(row.over_at),
                title=f"Over: {rule.summary}",
                text=f"{of}The alarm is over.",
                path="/status",
            )


def _was_told(db: Connection, tables: NoticeTables, ear: Ear, subject: str) -> bool:
    notices = tables.notices
    mine = (notices.c.channel == ear.channel.name) & (notices.c.kind == str(Kind.ALARM))
    query = select(notices.c.subject).where(mine, notices.c.subject == subject)
    return db.scalar(query) is not None


def _words(labels: str) -> str:
    import json

    named = [f"{name} {value}" for name, value in json.loads(labels).items()]
    return f"{', '.join(named)}. " if named else ""
