"""What happens to messages inside one write transaction of a bus file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final

from amqp.exceptions import NotFound

from shared.bus.transports.sqlite.messages import Claim, Publication, Stored, with_death
from shared.bus.transports.sqlite.routing import route

# One sweep moves at most so many, so that no write transaction lasts long.
SWEEP: Final = 500
# Where at-least-once dead letters have nowhere to go, they are tried again after this time.
HOLD_SECONDS: Final = 5.0
# A lease that ends later than any lease can was written before the machine was started anew.
LONGEST_LEASE: Final = 60.0

COLUMNS: Final = "id, queue, exchange, routing_key, deliveries, properties, body"


class Transaction:
    """``touched`` collects the queues that got messages: their consumers are woken afterwards."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.touched: set[str] = set()
        self._now = time.time()
        self._routes: dict[tuple[str, str], tuple[str, ...] | None] = {}
        self._arguments: dict[str, Mapping[str, Any]] = {}

    def put(self, publication: Publication) -> bool:
        """Store the message in every queue that takes it; False if there is none.

        Raises `NotFound` if there is no such exchange.
        """
        targets = self._route(publication.exchange, publication.routing_key)
        if targets is None:
            raise NotFound(f"NOT_FOUND - no exchange '{publication.exchange}'")
        for queue in targets:
            self._insert(queue, publication)
        return bool(targets)

    def lease(self, queue: str, owner: str, lease_end: float, limit: int) -> list[Stored]:
        """Hand up to ``limit`` waiting messages to ``owner``, the oldest first."""
        chosen = self.db.execute(
            "SELECT id FROM messages INDEXED BY messages_ready"
            " WHERE queue = ? AND owner IS NULL ORDER BY rank, id LIMIT ?",
            (queue, limit),
        ).fetchall()
        leased = []
        for (id_,) in chosen:
            row = self.db.execute(
                "UPDATE messages SET owner = ?, lease_end = ?, deliveries = deliveries + 1"  # noqa: S608 - no value is spliced in
                f" WHERE id = ? RETURNING {COLUMNS}",
                (owner, lease_end, id_),
            ).fetchall()[0]
            leased.append(_stored(row))
        return leased

    def renew(self, owner: str, claims: Sequence[Claim], lease_end: float) -> None:
        """Move the end of the leases that are still the owner's."""
        self.db.executemany(
            "UPDATE messages SET lease_end = ? WHERE id = ? AND deliveries = ? AND owner = ?",
            [(lease_end, *astuple(claim), owner) for claim in claims],
        )

    def acknowledge(self, owner: str, claims: Sequence[Claim]) -> int:
        """Delete what is still the owner's; returns how many were."""
        return self.db.executemany(
            "DELETE FROM messages WHERE id = ? AND deliveries = ? AND owner = ?",
            [(*astuple(claim), owner) for claim in claims],
        ).rowcount

    def reject(self, owner: str, claim: Claim) -> bool:
        """To the dead letters, if it is still the owner's."""
        stored = self._owned(owner, claim)
        if stored is not None:
            self._bury(stored, "rejected")
        return stored is not None

    def give_back(self, owner: str, claim: Claim, *, counted: bool) -> bool:
        """To its old place in the queue, if it is still the owner's.

        A delivery that never reached a handler is not ``counted`` against the limit.
        """
        stored = self._owned(owner, claim)
        if stored is None:
            return False
        if counted:
            self._return(stored)
        else:
            self._release(stored, stored.deliveries - 1)
        return True

    def give_back_all(self, owner_prefix: str) -> int:
        """Every lease whose owner's name begins so; returns how many there were."""
        rows = self.db.execute(
            f"SELECT {COLUMNS} FROM messages INDEXED BY messages_leased"  # noqa: S608 - as above
            " WHERE owner IS NOT NULL AND substr(owner, 1, length(?1)) = ?1",
            (owner_prefix,),
        ).fetchall()
        for row in rows:
            self._return(_stored(row))
        return len(rows)

    def sweep(self) -> bool:
        """Give back what leases have left and move what has expired; True when nothing is left.

        Whoever polls does this for all queues, so a delay queue needs no consumer.
        """
        lapsed = self._lapsed()
        for stored in lapsed:
            self._return(stored)
        expired = self._expired()
        for stored in expired:
            self._bury(stored, "expired")
        return len(lapsed) < SWEEP and len(expired) < SWEEP

    def _lapsed(self) -> list[Stored]:
        now = time.monotonic()
        rows = self.db.execute(
            f"SELECT {COLUMNS} FROM messages INDEXED BY messages_leased"  # noqa: S608 - as above
            " WHERE owner IS NOT NULL AND NOT lease_end BETWEEN ? AND ? LIMIT ?",
            (now, now + LONGEST_LEASE, SWEEP),
        )
        return [_stored(row) for row in rows.fetchall()]

    def _expired(self) -> list[Stored]:
        """In the order of their expiry over all queues."""
        due = self.db.execute(
            "SELECT name FROM queues WHERE EXISTS (SELECT 1 FROM messages"
            " INDEXED BY messages_expiring"
            " WHERE queue = name AND owner IS NULL AND expires_at <= ?)",
            (self._now,),
        ).fetchall()
        rows = []
        for (queue,) in due:
            rows += self.db.execute(
                f"SELECT expires_at, {COLUMNS} FROM messages INDEXED BY messages_expiring"  # noqa: S608 - as above
                " WHERE queue = ? AND owner IS NULL AND expires_at <= ?"
                " ORDER BY expires_at, id LIMIT ?",
                (queue, self._now, SWEEP),
            ).fetchall()
        return [_stored(row[1:]) for row in sorted(rows, key=lambda row: row[:2])[:SWEEP]]

    def _owned(self, owner: str, claim: Claim) -> Stored | None:
        row = self.db.execute(
            f"SELECT {COLUMNS} FROM messages WHERE id = ? AND deliveries = ? AND owner = ?",  # noqa: S608 - as above
            (*astuple(claim), owner),
        ).fetchone()
        return None if row is None else _stored(row)

    def _return(self, stored: Stored) -> None:
        """Back to the queue, unless it came back too often."""
        limit = self._arguments_of(stored.queue).get("x-delivery-limit")
        if limit is not None and stored.deliveries > limit:
            self._bury(stored, "delivery_limit")
        else:
            self._release(stored, stored.deliveries)

    def _release(self, stored: Stored, deliveries: int) -> None:
        self.db.execute(
            "UPDATE messages SET owner = NULL, lease_end = NULL, deliveries = ? WHERE id = ?",
            (deliveries, stored.id),
        )
        self.touched.add(stored.queue)

    def _bury(self, stored: Stored, reason: str) -> None:
        """Move to where the queue's arguments say; with no dead-letter exchange, drop."""
        arguments = self._arguments_of(stored.queue)
        exchange = arguments.get("x-dead-letter-exchange")
        key = arguments.get("x-dead-letter-routing-key", stored.routing_key)
        targets = () if exchange is None else self._route(exchange, key) or ()
        if exchange is not None and not targets and _is_kept(arguments):
            self._hold(stored)
            return
        letter = Publication(
            exchange=exchange or "",
            routing_key=key,
            mandatory=False,
            message_id="",
            body=stored.body,
            properties=with_death(stored, reason=reason, seconds=self._now),
            priority=0,
            expiration=None,
        )
        for queue in targets:
            self._insert(queue, letter)
        self.db.execute("DELETE FROM messages WHERE id = ?", (stored.id,))

    def _hold(self, stored: Stored) -> None:
        self.db.execute(
            "UPDATE messages SET owner = 'held', lease_end = ? WHERE id = ?",
            (time.monotonic() + HOLD_SECONDS, stored.id),
        )

    def _insert(self, queue: str, publication: Publication) -> None:
        arguments = self._arguments_of(queue)
        lives = [publication.expiration, arguments.get("x-message-ttl")]
        life = min((x for x in lives if x is not None), default=None)
        highest = arguments.get("x-max-priority")
        self.db.execute(
            "INSERT INTO messages"
            " (queue, rank, exchange, routing_key, expires_at, properties, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                queue,
                0 if highest is None else -min(publication.priority, highest),
                publication.exchange,
                publication.routing_key,
                None if life is None else self._now + life / 1000,
                publication.properties,
                publication.body,
            ),
        )
        self.touched.add(queue)

    def _route(self, exchange: str, routing_key: str) -> tuple[str, ...] | None:
        address = (exchange, routing_key)
        if address not in self._routes:
            self._routes[address] = route(self.db, exchange, routing_key)
        return self._routes[address]

    def _arguments_of(self, queue: str) -> Mapping[str, Any]:
        if queue not in self._arguments:
            query = "SELECT arguments FROM queues WHERE name = ?"
            row = self.db.execute(query, (queue,)).fetchone()
            self._arguments[queue] = _parsed(row[0] if row else "{}")
        return self._arguments[queue]


def _is_kept(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("x-dead-letter-strategy") == "at-least-once"


@lru_cache(maxsize=256)
def _parsed(arguments: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(arguments)
    return found


def _stored(row: Sequence[Any]) -> Stored:
    id_, queue, exchange, routing_key, deliveries, properties, body = row
    return Stored(
        id=id_,
        queue=queue,
        exchange=exchange,
        routing_key=routing_key,
        deliveries=deliveries,
        properties=properties,
        body=body,
    )
