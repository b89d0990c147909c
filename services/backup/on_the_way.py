"""Messages that a broker held at one moment, where its queues cannot be read without taking them.

Whatever a service has sent and its consumer had not handled was on the way. The log hears every
message, so its text is there, or arrives there while the backup is being made.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Engine, select

from services.audit import reader
from services.audit.reader import Logged
from services.audit.vault import Vault
from services.backup.moment import Moment
from services.declarations import SERVICES
from services.ingest.sent import sent_ids
from shared.bus.envelope import Envelope, encode, traceparent
from shared.bus.topology import work_queues
from shared.bus.waiting import READY, Waiting
from shared.db import reading
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import AUDIT, INGEST, TOPICS, Topic, consumed_by
from shared.outbox import Outbox

# Handled and sent ids are kept for thirty days: beyond that nobody can tell.
MOST_DAYS = 29
CHUNK = 500
PATIENCE = 30.0
PAUSE = 0.2


@dataclass(kw_only=True)
class OnTheWay:
    """``unheard`` collects the ids of messages that the log does not know in time."""

    moment: Moment
    ledger: Engine
    vault: Vault
    now: datetime
    patience: float = PATIENCE
    unheard: list[str] = field(default_factory=list)

    def messages(self) -> Iterator[Waiting]:
        """One for each message and consumer, in the order of the log."""
        for queue, ids in self._unhandled().items():
            limit = time.monotonic() + self.patience
            for start in range(0, len(ids), CHUNK):
                some = ids[start : start + CHUNK]
                yield from (_waiting(queue, one) for one in self._logged(some, limit))

    def _logged(self, ids: Sequence[str], limit: float) -> list[Logged]:
        """Their entries, as soon as all are in the log; an erased one has no text any more."""
        while True:
            with reading(self.ledger) as db:
                found = reader.of_messages(db, self.vault, ids)
            if len(found) == len(ids) or time.monotonic() > limit:
                break
            time.sleep(PAUSE)
        known = {one.message_id for one in found}
        self.unheard += [id_ for id_ in ids if id_ not in known]
        return [one for one in found if one.body is not None]

    def _unhandled(self) -> dict[str, list[str]]:
        """Consumer → ids of the messages that were sent to it without an effect so far."""
        found: dict[str, list[str]] = defaultdict(list)
        for some in _chunks(self._sent()):
            for queue in work_queues():
                topics = consumed_by(queue)
                ids = [id_ for id_, topic in some if queue == AUDIT or topic in topics]
                handled = _outbox(queue).handled(self.moment.databases[queue], ids)
                found[queue] += [id_ for id_ in ids if id_ not in handled]
        return found

    def _sent(self) -> Iterator[tuple[str, str]]:
        """Id and topic of everything that the broker has confirmed."""
        since = rfc3339(self.now - timedelta(days=MOST_DAYS))
        yield from sent_ids(self.moment.databases[INGEST], since)
        for service in SERVICES:
            table = _outbox(service.name).outbox
            query = select(table.c.message_id, table.c.topic).where(table.c.sent_at > since)
            rows = self.moment.databases[service.name].execute(
                query.execution_options(yield_per=CHUNK)
            )
            yield from ((row[0], row[1]) for row in rows)


def _outbox(name: str) -> Outbox:
    from services.audit.tables import OUTBOX
    from services.classifier.store import outbox as of_classifier
    from services.ingest.store import outbox as of_ingest
    from services.writer.tables import outbox as of_writer

    by_name = {one.service: one for one in (OUTBOX, of_classifier, of_ingest, of_writer)}
    return by_name[name]


def _waiting(queue: str, logged: Logged) -> Waiting:
    text = encode(envelope_of(logged))
    return Waiting(queue=queue, place=READY, message_id=logged.message_id, text=text)


def envelope_of(logged: Logged) -> Envelope:
    """The message that became this entry."""
    assert logged.body is not None, "asked only for what can be opened"
    body = dict(logged.body)
    if body.keys() == {"not_canonical"}:
        body = json.loads(body["not_canonical"])
    topic = Topic(logged.topic)
    return Envelope(
        id=logged.message_id,
        topic=topic,
        schema=TOPICS[topic].version,
        chain=logged.chain,
        cause=logged.cause,
        actor=logged.actor,
        subject=logged.subject,
        at=parse_instant(logged.at),
        traceparent=traceparent(logged.chain),
        body=body,
    )


def _chunks(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    source = iter(rows)
    while some := list(islice(source, CHUNK)):
        yield some
