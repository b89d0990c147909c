"""What the model may cost: reserved before it is asked, settled afterwards, kept over a crash."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
    update,
)

from shared.db import insert_new, upsert, writing
from shared.domain.schema import rfc3339
from shared.policy import Budget

# One question and two repeats through the delay queues; then the rules answer.
MAX_ATTEMPTS = 3
KEPT = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A model's answer that was paid for before: a repeat of the message must not ask again."""

    replies: tuple[dict[str, object], ...]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """``flag`` says why the rules answer: ``budget`` or ``model_unavailable``."""

    flag: str


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """``attempt`` counts from 1."""

    attempt: int


class Spending:
    """The table of questions. Senders are kept as HMACs under a key that dies with its day."""

    def __init__(self, metadata: MetaData) -> None:
        self.asks = Table(
            "asks",
            metadata,
            Column("id", String, primary_key=True),
            Column("chain", String, nullable=False, index=True),
            Column("asked_at", String, nullable=False, index=True),
            Column("sender", String, nullable=False),
            Column("tokens", Integer, nullable=False),
            Column("attempts", Integer, nullable=False),
            Column("replies", Text),
        )
        self.days = Table(
            "budget_days",
            metadata,
            Column("day", String, primary_key=True),
            Column("key", LargeBinary, nullable=False),
        )

    def reserve(
        self,
        engine: Engine,
        id_: str,
        *,
        chain: str,
        sender: str,
        tokens: int,
        budget: Budget,
        now: datetime,
    ) -> Reserved | Kept | Refused:
        """Take ``tokens`` out of the budget for one more try at question ``id_``."""
        with writing(engine) as connection:
            row = connection.execute(select(self.asks).where(self.asks.c.id == id_)).first()
            if row is not None and row.replies:
                return Kept(replies=tuple(json.loads(row.replies)))
            attempts = row.attempts if row is not None else 0
            if attempts >= MAX_ATTEMPTS:
                return Refused(flag="model_unavailable")
            alias = self._alias(connection, sender, now)
            if not self._fits(connection, alias, tokens, budget, now):
                return Refused(flag="budget")
            taken = (row.tokens if row is not None else 0) + tokens
            values = {
                "id": id_,
                "chain": chain,
                "asked_at": rfc3339(now),
                "sender": alias,
                "tokens": taken,
                "attempts": attempts + 1,
                "replies": None,
            }
            upsert(connection, self.asks, values, key=["id"])
            return Reserved(attempt=attempts + 1)

    def settle(
        self, engine: Engine, id_: str, *, reserved: int, used: int, replies: list[object]
    ) -> None:
        """What it really took; the answer is kept until its message is committed."""
        with writing(engine) as connection:
            connection.execute(
                update(self.asks)
                .where(self.asks.c.id == id_)
                .values(tokens=self.asks.c.tokens - reserved + used, replies=json.dumps(replies))
            )

    def forget(self, connection: Connection, id_: str) -> None:
        """The answer has had its effect: its text goes."""
        connection.execute(update(self.asks).where(self.asks.c.id == id_).values(replies=""))

    def prune(self, connection: Connection, now: datetime) -> None:
        """Rows that no budget counts any more, and the keys of past days."""
        limit = rfc3339(now - KEPT)
        connection.execute(self.asks.delete().where(self.asks.c.asked_at < limit))
        connection.execute(self.days.delete().where(self.days.c.day < limit[:10]))

    def _fits(
        self, connection: Connection, alias: str, tokens: int, budget: Budget, now: datetime
    ) -> bool:
        hour, day = rfc3339(now - timedelta(hours=1)), rfc3339(now - timedelta(days=1))
        asks = self.asks.c
        total = select(func.coalesce(func.sum(asks.tokens), 0))
        limits = (
            (total.where(asks.asked_at > hour), budget.tokens_per_hour),
            (total.where(asks.asked_at > day), budget.tokens_per_day),
            (total.where(asks.asked_at > day, asks.sender == alias), budget.tokens_per_sender),
        )
        return all((connection.scalar(q) or 0) + tokens <= limit for q, limit in limits)

    def _alias(self, connection: Connection, sender: str, now: datetime) -> str:
        day = rfc3339(now)[:10]
        insert_new(connection, self.days, [{"day": day, "key": secrets.token_bytes(32)}])
        key = connection.scalar(select(self.days.c.key).where(self.days.c.day == day))
        return hmac.new(key or b"", sender.lower().encode(), hashlib.sha256).hexdigest()
