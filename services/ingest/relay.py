"""From the inbox to the broker: each accepted happening becomes one message, in order.

What cannot be read, is of an unknown kind or is ignored on purpose goes out as ``event.rejected``,
so that the log also knows why nothing followed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import bindparam, select, update

from services.ingest.deps import WorkerDeps
from services.ingest.hook import Hook
from services.ingest.kinds import count_kinds
from services.ingest.raw import expire
from services.ingest.retention import days_by_source, days_of
from services.ingest.sent import event_message, refusal_message
from services.ingest.source import WHY_ASIDE, Description, Identity, Raw, Source
from services.ingest.sources import KNOWN
from services.ingest.store import accepted, deliveries, refusals
from shared.bus.envelope import Envelope, body_of, encode, traceparent
from shared.canonical import sha256_hex
from shared.db import asking, checkpoint, reading, turn_to_write, writing
from shared.domain.event import Attachment, Event
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import TOPICS, Topic
from shared.errors import NotFound, Rejected, Unavailable
from shared.faultpoints import reached
from shared.outbox import Outgoing

log = structlog.get_logger()
BATCH = 200
LARGE_LOG = 8192  # pages of 4 KiB
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One row and the message it became; ``row`` is that of an accepted happening."""

    key: int | str
    envelope: Envelope
    row: Row = field(default_factory=dict)


@dataclass(kw_only=True)
class _Reader:
    """Reads deliveries, each once, however many happenings it holds."""

    deps: WorkerDeps
    rows: Mapping[str, Row]
    split: dict[str, tuple[Hook, Sequence[Raw]]] = field(default_factory=dict)

    def raw(self, source: Source, delivery: str, position: int) -> tuple[Hook, Raw]:
        """Raises `Rejected` when the bytes cannot be read, or are gone."""
        if delivery not in self.split:
            hook = self._hook(self.rows[delivery])
            self.split[delivery] = (hook, source.split(hook))
        hook, raws = self.split[delivery]
        return hook, raws[position]

    def _hook(self, row: Row) -> Hook:
        if row["is_expired"]:
            raise NotFound("the stored bytes are gone: their retention is over")
        content = row["content"]
        return Hook(
            method=row["method"],
            url=row["url"],
            headers=json.loads(row["headers"]),
            body=content if content is not None else self.deps.files.read(row["raw_sha256"]),
            received_at=parse_instant(row["received_at"]),
            options=json.loads(row["options"] or "{}"),
        )


def relay(deps: WorkerDeps) -> int:
    """Send all that waits; returns how many messages the broker confirmed.

    Raises `BrokerUnavailable` or `StoreUnavailable`: the same rows go again.
    """
    sent = deps.relay.drain()
    while batch := _next_accepted(deps):
        confirmed = _send(deps, batch)
        _mark_accepted(deps, confirmed)
        reached("ingest.marked")
        sent += len(confirmed)
        # More of them ring again. What the broker refused is a defect of ours: keep it, do not
        # spin.
        if len(confirmed) < BATCH:
            break
    while refused := _next_refusals(deps):
        confirmed = _send(deps, refused)
        _mark_refusals(deps, [str(item.key) for item in confirmed])
        sent += len(confirmed)
        if len(confirmed) < BATCH:
            break
    return sent


def tidy(deps: WorkerDeps) -> None:
    """Checkpoint beside the door's commits; a log that has grown large is ended between two."""
    if checkpoint(deps.engine) > LARGE_LOG:
        with turn_to_write(deps.engine):
            checkpoint(deps.engine)


def retain(deps: WorkerDeps) -> None:
    """Expire raw bytes by each source's retention, and forget old handled ids."""
    now = deps.clock()
    with reading(deps.engine) as connection:
        days = days_by_source(connection)
    keep = {name: now - timedelta(days=number) for name, number in days.items()}
    expire(deps.engine, deps.files, keep, now)
    with writing(deps.engine) as connection:
        deps.outbox.prune(connection, now - timedelta(days=30))


def _send(deps: WorkerDeps, batch: Sequence[Reported]) -> list[Reported]:
    reached("ingest.before_publish")
    refused = deps.publisher.send(
        [
            Outgoing(
                id=item.envelope.id, topic=str(item.envelope.topic), text=encode(item.envelope)
            )
            for item in batch
        ]
    )
    reached("ingest.after_publish")
    for id_ in refused:
        log.error("broker refused a message", message=id_)
    return [item for item in batch if item.envelope.id not in refused]


def _next_accepted(deps: WorkerDeps) -> list[Reported]:
    with reading(deps.engine) as connection:
        rows = [dict(row) for row in connection.execute(_UNSENT).mappings()]
        wanted = {row["delivery_id"] for row in rows}
        found = connection.execute(_DELIVERIES, {"ids": list(wanted)})
        reader = _Reader(deps=deps, rows={row["id"]: dict(row) for row in found.mappings()})
    return [Reported(key=row["seq"], envelope=_envelope(reader, row), row=row) for row in rows]


def _envelope(reader: _Reader, row: Row) -> Envelope:
    """``event.received``, or the message that says why not."""
    try:
        return _received(reader, row)
    except Rejected as error:
        reason = "bad-payload" if not isinstance(error, NotFound) else "expired"
        return _set_aside(reader, row, reason, str(error))
    except Unavailable:
        raise
    except Exception:
        # A defect of ours in one happening must not hold up all that come after it.
        log.exception("an accepted event cannot be described", chain=row["id"])
        failed = {"event_id": row["id"], "stage": "ingest", "reason": "defect while describing"}
        return _about(row, Topic.EVENT_FAILED, failed)


def _received(reader: _Reader, row: Row) -> Envelope:
    source = KNOWN.get(row["source"])
    if source is None:
        return _set_aside(reader, row, "unknown-source", "this source is no longer known")
    fate = source.fate([row["type"]])
    if fate in WHY_ASIDE:
        return _set_aside(reader, row, str(fate), WHY_ASIDE[fate])
    hook, raw = reader.raw(source, row["delivery_id"], row["position"])
    identity, description = source.identify(raw, hook), source.describe(raw, hook)
    kept = _keep_files(reader.deps, source, description, hook.received_at)
    sha256 = reader.rows[row["delivery_id"]]["raw_sha256"]
    event = _event(row, identity, description, sha256, kept)
    return _about(row, Topic.EVENT_RECEIVED, event)


def _event(
    row: Row, identity: Identity, said: Description, raw_sha256: str, files: Sequence[Attachment]
) -> Event:
    return Event(
        id=row["id"],
        source=row["source"],
        endpoint=row["endpoint"],
        type=row["type"],
        kind=identity.kind,
        received_at=parse_instant(row["received_at"]),
        raw_sha256=raw_sha256,
        dedup_key=row["dedup_key"],
        occurred_at=identity.occurred_at,
        subject=identity.subject,
        sender=said.sender,
        parts=said.parts,
        record=identity.record,
        changes=said.changes,
        facts=said.facts,
        attachments=tuple(files),
    )


def _keep_files(
    deps: WorkerDeps, source: Source, said: Description, received_at: datetime
) -> list[Attachment]:
    """Attachments go to the raw store under their hash before anybody hears of them."""
    kept = [
        Attachment(
            name=file.name,
            media_type=file.media_type,
            size=len(file.content),
            sha256=sha256_hex(file.content),
        )
        for file in said.files
    ]
    if kept:
        for attachment, file in zip(kept, said.files, strict=True):
            deps.files.write(attachment.sha256, file.content)
        with writing(deps.engine) as connection:
            expires = rfc3339(received_at + timedelta(days=days_of(connection, source)))
            common = {"expires_at": expires, "source": source.name}
            rows = {a.sha256: {"sha256": a.sha256, "size": a.size, **common} for a in kept}
            deps.files.register(connection, list(rows.values()))
    return kept


def _set_aside(reader: _Reader, row: Row, reason: str, detail: str) -> Envelope:
    body = {
        "source": row["source"],
        "endpoint": row["endpoint"],
        "reason": reason,
        "detail": detail,
        "received_at": parse_instant(row["received_at"]),
        "event_id": row["id"],
        "raw_sha256": reader.rows[row["delivery_id"]]["raw_sha256"],
        "accepted": True,
        "count": 1,
    }
    return _about(row, Topic.EVENT_REJECTED, body)


def _about(row: Row, topic: Topic, noun: Any) -> Envelope:
    """The message of an accepted happening."""
    return Envelope(
        id=event_message(row["id"], str(topic), row["replays"]),
        topic=topic,
        schema=TOPICS[topic].version,
        chain=row["id"],
        cause=None,
        actor=f"source:{row['source']}",
        subject=f"event/{row['id']}",
        at=parse_instant(row["received_at"]),
        traceparent=traceparent(row["id"]),
        body=body_of(topic, noun),
    )


def _next_refusals(deps: WorkerDeps) -> list[Reported]:
    with asking(deps.engine) as connection:
        found = connection.execute(_DUE_REFUSALS, {"now": rfc3339(deps.clock())})
        rows = [dict(row) for row in found.mappings()]
    return [Reported(key=row["id"], envelope=_refusal(row)) for row in rows]


def _refusal(row: Row) -> Envelope:
    """A request that was answered with an error is a chain of its own."""
    topic = Topic.EVENT_REJECTED
    body = {
        "source": row["source"],
        "endpoint": row["endpoint"],
        "reason": row["reason"],
        "detail": row["detail"],
        "received_at": parse_instant(row["received_at"]),
        "event_id": None,
        "raw_sha256": row["raw_sha256"],
        "accepted": False,
        "count": row["count"],
    }
    return Envelope(
        id=refusal_message(row["id"]),
        topic=topic,
        schema=TOPICS[topic].version,
        chain=row["id"],
        cause=None,
        actor=f"source:{row['source']}",
        subject=f"request/{row['id']}",
        at=parse_instant(row["received_at"]),
        traceparent=traceparent(row["id"]),
        body=body_of(topic, body),
    )


def _mark_accepted(deps: WorkerDeps, confirmed: Sequence[Reported]) -> None:
    if not confirmed:
        return
    rows = [{"seq_": item.key, "as_": str(item.envelope.topic)} for item in confirmed]
    at = rfc3339(deps.clock())
    with writing(deps.engine) as connection:
        connection.execute(_SENT_EVENT, [{**row, "at_": at} for row in rows])
        count_kinds(connection, [item.row for item in confirmed])


def _mark_refusals(deps: WorkerDeps, keys: Sequence[str]) -> None:
    if not keys:
        return
    at = rfc3339(deps.clock())
    with writing(deps.engine) as connection:
        connection.execute(_SENT_REFUSAL, [{"id_": key, "at_": at} for key in keys])


# Asked in every round: building a statement costs more than running it.
_UNSENT = select(accepted).where(accepted.c.sent_at.is_(None)).order_by(accepted.c.seq).limit(BATCH)
_DELIVERIES = select(deliveries).where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
_DUE_REFUSALS = (
    select(refusals)
    .where(refusals.c.sent_at.is_(None), refusals.c.due_at <= bindparam("now"))
    .order_by(refusals.c.due_at)
    .limit(BATCH)
)
_SENT_EVENT = (
    update(accepted)
    .where(accepted.c.seq == bindparam("seq_"))
    .values(sent_at=bindparam("at_"), sent_as=bindparam("as_"))
)
_SENT_REFUSAL = (
    update(refusals).where(refusals.c.id == bindparam("id_")).values(sent_at=bindparam("at_"))
)
