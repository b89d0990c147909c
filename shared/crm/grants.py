"""Rotating OAuth grants: one row for each, renewed under its lock by whichever process needs it.

A vendor that rotates gives a new refresh token with each use and forgets the old one. So a token
is never used before "begun" is on disk, never used by two at once, and what comes back is stored
before anything is done with it. A lost answer leads to one more try, and then to a person.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    select,
    update,
)

from shared.crm.sealing import Sealer
from shared.db import open_database, reading, upsert, writing
from shared.domain.schema import now, parse_instant, rfc3339
from shared.errors import CRMUnavailable, Rejected
from shared.faultpoints import reached
from shared.lease import is_dead, this_process

log = structlog.get_logger()

# Longer than any exchange with a token end point: a holder past it has died or stands still.
LOCK: Final = timedelta(seconds=60)
# After an answer that was lost: let the vendor come to rest before the one more try.
REST: Final = timedelta(seconds=15)
EARLY: Final = timedelta(seconds=60)
POLL_SECONDS: Final = 0.05

READY, REFRESHING, UNANSWERED, RETRYING, ENDED = (
    "ready",
    "refreshing",
    "unanswered",
    "retrying",
    "ended",
)

metadata = MetaData()
GRANTS = Table(
    "grants",
    metadata,
    Column("account", String, primary_key=True),
    Column("state", String, nullable=False),
    # Grows with each stored pair, ``fence`` with each holder of the lock.
    Column("generation", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("owner", String, nullable=False),
    Column("until", String, nullable=False),
    Column("access", String, nullable=False),
    Column("refresh", String, nullable=False),
    Column("expires_at", String, nullable=False),
    Column("reason", String, nullable=False),
)


class AnswerLost(CRMUnavailable):
    """The refresh token was sent and no certain answer came: it may be used up."""


class GrantRefused(Rejected):
    """The vendor does not know the refresh token any more."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """``access`` is good for ``seconds``; ``refresh`` gives the next pair, once."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Access:
    """An access token of the ``generation``-th pair."""

    text: str = field(repr=False)
    until: datetime
    generation: int


@dataclass(frozen=True, kw_only=True)
class GrantState:
    """What a person may know of a grant."""

    account: str
    state: str
    expires_at: datetime
    reason: str


# Sends a refresh token to the vendor. Raises `AnswerLost` where it may be used up, `GrantRefused`
# where it is, and another `CRMUnavailable` or `Rejected` where it certainly is not.
Refresh = Callable[[str], Pair]


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """The lock on one grant, and the refresh token that it lets us use."""

    account: str
    fence: int
    generation: int
    refresh: str = field(repr=False)
    before: str


@dataclass(frozen=True, kw_only=True)
class Grants:
    """The grants of one side, reading or writing, in a database of its own.

    Every method raises `StoreUnavailable` when the database does not answer.
    """

    engine: Engine
    sealer: Sealer
    clock: Callable[[], datetime] = now
    # What a person does where a grant is missing or has ended.
    hint: str = "countersign crm authorize"
    # Pairs that came back while the database was away: only this process knows them.
    _unstored: dict[str, tuple[_Turn, Pair]] = field(default_factory=dict, repr=False)

    @classmethod
    def at(cls, url: str, key: str, hint: str = "countersign crm authorize") -> Grants:
        """Raises `ConfigurationError` for what is no database or no key."""
        return cls(engine=open_database(url), sealer=Sealer(key), hint=hint)

    def create_tables(self) -> None:
        metadata.create_all(self.engine)

    def keep(self, account: str, pair: Pair) -> None:
        """A new grant that a person gave; it takes the place of any other, whatever its state."""
        with writing(self.engine) as db:
            row = _row(db, account)
            generation, fence = (row.generation, row.fence) if row else (0, 0)
            values = {
                **self._sealed(account, pair),
                "account": account,
                "generation": generation + 1,
                "fence": fence + 1,
            }
            upsert(db, GRANTS, values, key=["account"])
        self._unstored.pop(account, None)

    def reseal(self) -> int:
        """Seal every token with the first key; returns how many grants there are."""
        with writing(self.engine) as db:
            rows = db.execute(select(GRANTS)).all()
            for row in rows:
                places = {name: f"{row.account}/{name}" for name in ("access", "refresh")}
                opened = {
                    name: self.sealer.opened(getattr(row, name), places[name]) for name in places
                }
                sealed = {name: self.sealer.sealed(opened[name], places[name]) for name in places}
                _set(db, row.account, **sealed)
        return len(rows)

    def states(self) -> list[GrantState]:
        """All grants by account."""
        with reading(self.engine) as db:
            rows = db.execute(select(GRANTS).order_by(GRANTS.c.account)).all()
        return [
            GrantState(
                account=row.account,
                state=row.state,
                expires_at=parse_instant(row.expires_at),
                reason=row.reason,
            )
            for row in rows
        ]

    def access(
        self, account: str, refresh: Refresh, *, patience: float, spent: int | None = None
    ) -> Access:
        """An access token that is good for a minute or more; ``patience`` is in seconds.

        ``spent`` is the generation whose token the CRM has just refused. Raises `Rejected` where a
        person must authorise (again), and `CRMUnavailable` where no token can be had now.
        """
        deadline = time.monotonic() + patience
        while True:
            self._store_late(account)
            if (found := self._fresh(account, spent)) is not None:
                return found
            turn = self._take(account, spent)
            if turn is not None:
                self._renew(turn, refresh)
            elif time.monotonic() > deadline:
                raise CRMUnavailable(f"another process renews the grant of [{account}]")
            else:
                time.sleep(POLL_SECONDS)

    def _fresh(self, account: str, spent: int | None) -> Access | None:
        with reading(self.engine) as db:
            row = self._known(_row(db, account), account)
        return self._access_of(row) if self._is_fresh(row, spent) else None

    def _is_fresh(self, row: Row[Any], spent: int | None) -> bool:
        is_good = parse_instant(row.expires_at) > self.clock() + EARLY
        return is_good and row.generation != spent

    def _access_of(self, row: Row[Any]) -> Access:
        return Access(
            text=self.sealer.opened(row.access, f"{row.account}/access"),
            until=parse_instant(row.expires_at),
            generation=row.generation,
        )

    def _take(self, account: str, spent: int | None) -> _Turn | None:
        """The lock, with "begun" on disk; ``None``: look again, another is or was at it."""
        with writing(self.engine) as db:
            row = self._known(_row(db, account), account)
            if self._is_fresh(row, spent) or self._is_held(row):
                return None
            self._refuse(row)
            if row.state == RETRYING:  # Whoever tried the old token once more did not come back.
                why = "the answer of the vendor was lost twice"
                _set(db, account, state=ENDED, fence=row.fence + 1, reason=why)
                return None
            turn = _Turn(
                account=account,
                fence=row.fence + 1,
                generation=row.generation,
                refresh=self.sealer.opened(row.refresh, f"{account}/refresh"),
                before=READY if row.state == READY else UNANSWERED,
            )
            self._begin(db, row)
        return turn

    def _begin(self, db: Connection, row: Row[Any]) -> None:
        if row.state != READY:
            log.warning("a lost answer: the old refresh token is tried once", account=row.account)
        _set(
            db,
            row.account,
            state=REFRESHING if row.state == READY else RETRYING,
            fence=row.fence + 1,
            owner=this_process(),
            until=rfc3339(self.clock() + LOCK),
        )

    def _is_held(self, row: Row[Any]) -> bool:
        if row.state not in {REFRESHING, RETRYING}:
            return False
        return parse_instant(row.until) > self.clock() and not is_dead(row.owner)

    def _refuse(self, row: Row[Any]) -> None:
        if row.state == ENDED:
            raise self._ended(row.account, row.reason)
        if row.state == UNANSWERED and parse_instant(row.until) > self.clock():
            raise CRMUnavailable(
                f"the vendor's answer to renewing the grant of [{row.account}] was lost; "
                "the old token is tried once in a moment"
            )

    def _renew(self, turn: _Turn, refresh: Refresh) -> None:
        """Use the refresh token, and store what comes back before anybody sees it."""
        reached("grant.begun")
        try:
            pair = refresh(turn.refresh)
        except AnswerLost as error:
            is_last = turn.before == UNANSWERED
            self._settle(turn, ENDED if is_last else UNANSWERED, str(error))
            raise
        except CRMUnavailable:
            self._settle(turn, turn.before, "")
            raise
        except Rejected as error:
            # Whatever is refused at the one more try stays refused.
            is_over = isinstance(error, GrantRefused) or turn.before == UNANSWERED
            if self._settle(turn, ENDED if is_over else READY, str(error) if is_over else ""):
                raise self._ended(turn.account, str(error)) if is_over else error from error
            return
        reached("grant.answered")
        self._unstored[turn.account] = (turn, pair)
        self._store_late(turn.account)
        reached("grant.stored")

    def _settle(self, turn: _Turn, state: str, reason: str) -> bool:
        """Give the lock back without a new pair; false where another has gone on meanwhile."""
        until = rfc3339(self.clock() + REST)
        with writing(self.engine) as db:
            mine = (GRANTS.c.account == turn.account) & (GRANTS.c.fence == turn.fence)
            values = {"state": state, "owner": "", "until": until, "reason": reason}
            is_mine = db.execute(update(GRANTS).where(mine).values(values)).rowcount == 1
        if state != READY:
            log.warning("a grant was not renewed", account=turn.account, state=state, why=reason)
        return is_mine

    def _store_late(self, account: str) -> None:
        """What this process has been given and not yet stored.

        A pair counts while the token that it came from is the newest that is known, even where
        another took the lock over meanwhile: it is then the only one that the vendor still knows.
        """
        if (found := self._unstored.get(account)) is None:
            return
        turn, pair = found
        with writing(self.engine) as db:
            old = (GRANTS.c.account == account) & (GRANTS.c.generation == turn.generation)
            values = {
                **self._sealed(account, pair),
                "generation": turn.generation + 1,
                "fence": GRANTS.c.fence + 1,
            }
            is_newest = db.execute(update(GRANTS).where(old).values(values)).rowcount == 1
        self._unstored.pop(account, None)
        if not is_newest:
            log.warning("a pair of tokens came too late and is not used", account=account)

    def _sealed(self, account: str, pair: Pair) -> dict[str, Any]:
        return {
            "state": READY,
            "owner": "",
            "until": rfc3339(self.clock()),
            "access": self.sealer.sealed(pair.access, f"{account}/access"),
            "refresh": self.sealer.sealed(pair.refresh, f"{account}/refresh"),
            "expires_at": rfc3339(self.clock() + _life_of(pair)),
            "reason": "",
        }

    def _known(self, row: Row[Any] | None, account: str) -> Row[Any]:
        if row is None:
            raise Rejected(f"no grant for [{account}]: `{self.hint} {account}`")
        return row

    def _ended(self, account: str, reason: str) -> GrantRefused:
        return GrantRefused(
            f"the grant of [{account}] has ended ({reason}): `{self.hint} {account}`"
        )


def _row(db: Connection, account: str) -> Row[Any] | None:
    return db.execute(select(GRANTS).where(GRANTS.c.account == account)).first()


def _set(db: Connection, account: str, **values: object) -> None:
    db.execute(update(GRANTS).where(GRANTS.c.account == account).values(values))


def _life_of(pair: Pair) -> timedelta:
    """What the CRM says, or so much that the token counts as good once: where the clocks differ it
    would be renewed without end. A 401 renews it in any case.
    """
    return max(timedelta(seconds=pair.seconds), 2 * EARLY)
