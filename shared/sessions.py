"""Sessions in a store that every web process shares, and how fast sign-in may be tried."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, delete, select, update

from shared.db import insert_new, reading, upsert, writing
from shared.domain.schema import now, parse_instant, rfc3339

IDLE = timedelta(hours=8)
LIFE = timedelta(hours=24)
# How stale "last seen" may be: a page view then writes at most once a minute.
SEEN_STEP = timedelta(minutes=1)
FAILURES_KEPT = timedelta(hours=1)

metadata = MetaData()
SESSIONS = Table(
    "sessions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("person", String, nullable=False, index=True),
    Column("level", String, nullable=False),
    Column("device", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("seen_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
)
FAILURES = Table(
    "sign_in_failures",
    metadata,
    Column("key", String, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", String, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """``id`` names it on pages; the token itself is only ever in the browser."""

    id: str
    person: str
    level: str
    device: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The session store of ``engine``. Raises `StoreUnavailable` when it does not answer."""

    engine: Engine
    clock: Callable[[], datetime] = now

    def create_tables(self) -> None:
        metadata.create_all(self.engine)

    def open(self, person: str, level: str, device: str) -> str:
        """A new session's token: 256 random bits, stored as a digest only."""
        token, at = secrets.token_urlsafe(32), self.clock()
        row = {
            "hash": _digest(token),
            "person": person,
            "level": level,
            "device": device[:100],
            "created_at": rfc3339(at),
            "seen_at": rfc3339(at),
            "expires_at": rfc3339(at + LIFE),
        }
        with writing(self.engine) as db:
            db.execute(delete(SESSIONS).where(SESSIONS.c.expires_at <= rfc3339(at)))
            db.execute(delete(SESSIONS).where(SESSIONS.c.seen_at <= rfc3339(at - IDLE)))
            insert_new(db, SESSIONS, [row])
        return token

    def find(self, token: str) -> Session | None:
        """The session of a cookie, if it has neither ended nor idled away."""
        digest, at = _digest(token), self.clock()
        with reading(self.engine) as db:
            row = db.execute(select(SESSIONS).where(SESSIONS.c.hash == digest)).mappings().first()
        if row is None:
            return None
        session = _session(dict(row))
        if session.expires_at <= at or session.seen_at + IDLE <= at:
            return None
        if at - session.seen_at > SEEN_STEP:
            self._touch(digest, at)
        return session

    def of(self, person: str) -> list[Session]:
        """A person's open sessions, the last used first."""
        at = self.clock()
        statement = (
            select(SESSIONS)
            .where(SESSIONS.c.person == person, SESSIONS.c.expires_at > rfc3339(at))
            .where(SESSIONS.c.seen_at > rfc3339(at - IDLE))
            .order_by(SESSIONS.c.seen_at.desc())
        )
        with reading(self.engine) as db:
            return [_session(dict(row)) for row in db.execute(statement).mappings()]

    def end(self, token: str) -> None:
        with writing(self.engine) as db:
            db.execute(delete(SESSIONS).where(SESSIONS.c.hash == _digest(token)))

    def end_one(self, person: str, session: str) -> None:
        """End one of the person's sessions by its ``id``."""
        with writing(self.engine) as db:
            db.execute(
                delete(SESSIONS)
                .where(SESSIONS.c.person == person)
                .where(SESSIONS.c.hash.startswith(session, autoescape=True))
            )

    def end_all(self, person: str) -> None:
        with writing(self.engine) as db:
            db.execute(delete(SESSIONS).where(SESSIONS.c.person == person))

    def _touch(self, digest: str, at: datetime) -> None:
        with writing(self.engine) as db:
            db.execute(
                update(SESSIONS).where(SESSIONS.c.hash == digest).values(seen_at=rfc3339(at))
            )


@dataclass(frozen=True, kw_only=True)
class SignInPace:
    """Slows password guessing per person and per address; a sign-in link is never slowed.

    One person tried from one address waits up to a minute, an address with many failures half a
    minute. A person tried from everywhere waits five seconds at most, so nobody is locked out by
    somebody else's guesses.
    """

    engine: Engine
    clock: Callable[[], datetime] = now

    def wait(self, name: str, address: str) -> int:
        """Seconds until the next try is allowed; 0 means now."""
        rules = dict(_rules(name, address))
        with reading(self.engine) as db:
            statement = select(FAILURES).where(FAILURES.c.key.in_(list(rules)))
            rows = db.execute(statement).mappings().all()
        at = self.clock()
        return max((_seconds(rules[row["key"]], dict(row), at) for row in rows), default=0)

    def failed(self, name: str, address: str) -> None:
        at = self.clock()
        with writing(self.engine) as db:
            old = rfc3339(at - FAILURES_KEPT)
            db.execute(delete(FAILURES).where(FAILURES.c.last_at <= old))
            for key, _ in _rules(name, address):
                count = db.scalar(select(FAILURES.c.count).where(FAILURES.c.key == key)) or 0
                row = {"key": key, "count": count + 1, "last_at": rfc3339(at)}
                upsert(db, FAILURES, row, key=["key"])

    def succeeded(self, name: str, address: str) -> None:
        """Forget the person's failures; the address keeps its own."""
        keys = [key for key, _ in _rules(name, address) if not key.startswith("address/")]
        with writing(self.engine) as db:
            db.execute(delete(FAILURES).where(FAILURES.c.key.in_(keys)))


def form_token(session_token: str, subject: str) -> str:
    """What a form carries: bound to the session, and to ``subject`` where one is given."""
    key = b"countersign form\n" + session_token.encode()
    return hmac.new(key, subject.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def session_id(token: str) -> str:
    """The name of a session on pages, from its token."""
    return _digest(token)[:16]


def _rules(name: str, address: str) -> list[tuple[str, tuple[int, int]]]:
    """Keys with (failures that are free, longest wait in seconds).

    Only 16 bits of the name's digest and 24 of the address's are kept: enough to slow guessing,
    too few to find anyone, and the same for names that exist and names that do not.
    """
    bucket = hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()[:4]
    source = hashlib.sha256(address.encode("utf-8", "replace")).hexdigest()[:6]
    return [
        (f"both/{bucket}/{source}", (3, 60)),
        (f"address/{source}", (20, 30)),
        (f"person/{bucket}", (10, 5)),
    ]


def _seconds(rule: tuple[int, int], row: dict[str, object], at: datetime) -> int:
    free, longest = rule
    count = int(str(row["count"]))
    if count < free:
        return 0
    pause = min(2 ** min(count - free, 10), longest)
    left = (parse_instant(str(row["last_at"])) + timedelta(seconds=pause) - at).total_seconds()
    return max(0, -int(-left // 1))


def _session(row: dict[str, str]) -> Session:
    return Session(
        id=row["hash"][:16],
        person=row["person"],
        level=row["level"],
        device=row["device"],
        created_at=parse_instant(row["created_at"]),
        seen_at=parse_instant(row["seen_at"]),
        expires_at=parse_instant(row["expires_at"]),
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
