"""How old the oldest message is that was sent and not handled, told by the databases alone.

RabbitMQ does not tell ages without handing messages out, which would count as deliveries. But the
log holds what was sent, and each inbox what was handled: the difference waits, is in somebody's
hand or in a waiting room. Audit's own queue holds what the senders have sent and the log has not.
What is not sent yet counts in ``outbox_age_seconds``, a dead letter nowhere.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, Subquery, func, select, union_all

from services.audit.books import ACCEPTED, ENTRIES, INBOXES, OUTBOXES
from shared.db import reading
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import AUDIT, SERVICES, Topic, consumed_by

# Messages in hand, in waiting rooms or overtaken, beyond those that the broker counts.
MORE = 1000
# Entries that are searched for each message: the log holds other topics too, and has no index.
OTHERS = 20
# Handled ids are forgotten after 30 days.
REMEMBERED = timedelta(days=28)


def oldest_unhandled(books: Engine, service: str, waiting: int, now: datetime) -> float:
    """Seconds since the oldest such message for ``service`` was made; 0 without one.

    ``waiting`` is the broker's count: so many of the newest messages are looked at, and a thousand.
    """
    most, since = waiting + MORE, rfc3339(now - REMEMBERED)
    find = _unlogged if service == AUDIT else _unhandled
    return _age(books, find(service, most, since), now)


def oldest_unsent(books: Engine, service: str, now: datetime) -> float:
    """Seconds since the oldest message was made that ``service`` could not send yet; 0 without."""
    outbox = OUTBOXES[service]
    return _age(books, select(func.min(outbox.c.created_at)).where(outbox.c.sent_at.is_(None)), now)


def _age(books: Engine, query: Select[Any], now: datetime) -> float:
    with reading(books) as db:
        oldest = db.scalar(query)
    return max(0.0, (now - parse_instant(oldest)).total_seconds()) if oldest else 0.0


def _unhandled(service: str, most: int, since: str) -> Select[Any]:
    """What the log holds for this service and its inbox does not."""
    newest = select(func.max(ENTRIES.c.seq)).scalar_subquery()
    told = (
        select(ENTRIES.c.message_id, ENTRIES.c.chain, ENTRIES.c.at)
        .where(ENTRIES.c.topic.in_(list(map(str, consumed_by(service)))), ENTRIES.c.at > since)
        .where(ENTRIES.c.seq > newest - OTHERS * most)
        .order_by(ENTRIES.c.seq.desc())
        .limit(most)
        .subquery()
    )
    inbox = INBOXES[service]
    is_handled = select(1).where(inbox.c.message_id == told.c.message_id).exists()
    return select(func.min(told.c.at)).where(~is_handled, ~_is_parked(told))


def _is_parked(told: Subquery) -> ColumnElement[bool]:
    return (
        select(1)
        .where(
            ENTRIES.c.chain == told.c.chain,
            ENTRIES.c.topic == str(Topic.MESSAGE_PARKED),
            ENTRIES.c.subject == "message/" + told.c.message_id,
        )
        .exists()
    )


def _unlogged(_: str, most: int, since: str) -> Select[Any]:
    """What the services have sent and the log does not hold."""
    parts = [*(_from_outbox(service, most, since) for service in SERVICES), _accepted(most, since)]
    oldest = union_all(*parts).subquery()
    return select(func.min(oldest.c.at))


def _from_outbox(service: str, most: int, since: str) -> Select[Any]:
    outbox = OUTBOXES[service]
    sent = (
        select(outbox.c.message_id, outbox.c.chain, outbox.c.created_at)
        .where(outbox.c.sent_at > since)
        .order_by(outbox.c.seq.desc())
        .limit(most)
        .subquery()
    )
    is_logged = select(1).where(ENTRIES.c.message_id == sent.c.message_id).exists()
    return select(func.min(sent.c.created_at).label("at")).where(~is_logged, ~_is_parked(sent))


def _accepted(most: int, since: str) -> Select[Any]:
    """Ingest sends an accepted event without an outbox row: found by chain and topic."""
    sent = (
        select(ACCEPTED.c.id, ACCEPTED.c.sent_as, ACCEPTED.c.received_at)
        .where(ACCEPTED.c.sent_at > since)
        .order_by(ACCEPTED.c.seq.desc())
        .limit(most)
        .subquery()
    )
    same = (ENTRIES.c.chain == sent.c.id) & (ENTRIES.c.topic == sent.c.sent_as)
    is_logged = select(1).where(same).exists()
    return select(func.min(sent.c.received_at).label("at")).where(~is_logged)
