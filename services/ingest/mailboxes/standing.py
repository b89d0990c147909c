"""How each mailbox stands: up to which mail it was seen to, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Engine, select, update

from services.ingest.mailboxes.configured import Faulty, Mailbox
from services.ingest.store import mailboxes
from shared.canonical import sha256_hex
from shared.db import reading, upsert, writing
from shared.domain.schema import parse_instant, rfc3339
from shared.figures import seconds_since
from shared.metrics import Measure, measure

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Overtaken(Exception):
    """Another process has taken the mailboxes over; it goes on where this one was."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A row of `store.mailboxes`. ``validity`` 0: no mail of it was looked for yet."""

    name: str
    place: str
    is_configured: int
    stamp: str
    fence: int
    validity: int
    uid: int
    old_until: int
    criteria: str
    first_at: str
    looked_at: str | None
    next_at: str
    failures: int
    problem: str
    problem_since: str | None

    def is_due(self, now: datetime) -> bool:
        return parse_instant(self.next_at) <= now

    def in_folder(self, validity: int, last: int) -> Standing:
        """The numbers of another validity mean nothing here: the folder is looked through anew.

        At the first look nobody waits for an answer to what somebody has read. Later that would
        lose mails: then all since the first look count, and repeats are recognised.
        """
        if validity == self.validity:
            return self
        criteria = f"OR UNSEEN SINCE {_day(self.first_at)}" if self.validity else "UNSEEN"
        return replace(self, validity=validity, uid=0, old_until=last, criteria=criteria)

    def failed(self, problem: str, now: datetime, *, shortest: float, longest: float) -> Standing:
        """Waits, twice as long each time."""
        pause = min(longest, shortest * 2.0 ** min(self.failures, 20))
        return replace(
            self,
            failures=self.failures + 1,
            problem=problem,
            problem_since=self.problem_since or rfc3339(now),
            next_at=rfc3339(now + timedelta(seconds=pause)),
        )

    def looked(self, now: datetime, *, pause: float, complaint: str) -> Standing:
        """Seen to, to the end or for as long as one turn lasts (``pause`` 0)."""
        return replace(
            self,
            failures=0,
            problem=complaint,
            problem_since=(self.problem_since or rfc3339(now)) if complaint else None,
            looked_at=rfc3339(now),
            next_at=rfc3339(now + timedelta(seconds=pause)),
        )


def standings(engine: Engine) -> dict[str, Standing]:
    """Every mailbox that there ever was, by name."""
    with reading(engine) as connection:
        rows = connection.execute(select(mailboxes)).mappings()
        return {row["name"]: Standing(**row) for row in rows}


def begun(mailbox: Mailbox | Faulty, old: Standing | None, now: datetime) -> Standing:
    """Where to go on. Changed settings are tried at once; another place has other numbers."""
    if isinstance(mailbox, Mailbox):
        settings, place = mailbox.stamp, mailbox.place
    else:
        settings, place = mailbox.why, old.place if old else ""
    stamp = sha256_hex(settings.encode())
    if old is None or (place != old.place and old.place):
        return _new(mailbox.name, place, stamp, now)
    if stamp != old.stamp:
        changed = replace(old, failures=0, next_at=rfc3339(now), place=place, stamp=stamp)
        return replace(changed, is_configured=1)
    return replace(old, is_configured=1)


def _new(name: str, place: str, stamp: str, now: datetime) -> Standing:
    at = rfc3339(now)
    return Standing(
        name=name,
        place=place,
        is_configured=1,
        stamp=stamp,
        fence=0,
        validity=0,
        uid=0,
        old_until=0,
        criteria="",
        first_at=at,
        looked_at=None,
        next_at=at,
        failures=0,
        problem="",
        problem_since=None,
    )


def save(engine: Engine, standing: Standing, fence: int) -> Standing:
    """Raises `Overtaken` if a later owner of the lease has written it."""
    saved = replace(standing, fence=fence)
    of_it = mailboxes.c.name == standing.name
    with writing(engine) as connection:
        known = connection.scalar(select(mailboxes.c.fence).where(of_it))
        if known is not None and known > fence:
            raise Overtaken(standing.name)
        upsert(connection, mailboxes, asdict(saved), key=["name"])
    return saved


def forget_others(engine: Engine, known: Iterable[Standing], names: Iterable[str]) -> None:
    """Those that nobody configures any more are shown no longer; where they stood is kept."""
    gone = {one.name for one in known if one.is_configured} - set(names)
    if gone:
        with writing(engine) as connection:
            of_them = mailboxes.c.name.in_(gone)
            connection.execute(update(mailboxes).where(of_them).values(is_configured=0))


def mailbox_measures(engine: Engine, now: datetime) -> Iterable[Measure]:
    """How long each mailbox could not be read; 0 where all is well."""
    for one in standings(engine).values():
        if one.is_configured:
            seconds = seconds_since(one.problem_since, now)
            yield measure("mailbox_problem_seconds", seconds, mailbox=one.name)


def _day(at: str) -> str:
    """A day before, since the server's days begin when they do."""
    day = parse_instant(at) - timedelta(days=1)
    return f"{day.day}-{MONTHS[day.month - 1]}-{day.year}"
