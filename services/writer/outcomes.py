"""How a change ends: the row moves and the message that tells of it commit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from services.writer import change_store, pending, policy_store, store
from services.writer.case import is_same
from services.writer.reproposing import promotion_of
from services.writer.rules import advice
from services.writer.tables import drafts
from shared.db import insert_new
from shared.domain.change import Change
from shared.domain.proposal import ProposalKind
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.outbox import Unit

log = structlog.get_logger()
BY_HAND = "This CRM has no API: do it there by hand, then say here how it went."


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to write: the permitted change, when it was sent, and which try it is."""

    change: Change
    state: str
    sent_at: datetime
    number: int


def applied(unit: Unit, attempt: Attempt, live: Reading) -> None:
    """The CRM holds our write. Where it altered a value the result says so."""
    change = attempt.change
    fields = [
        {
            "name": field.name,
            "before": field.before,
            "after": field.after,
            "read_back": live.fields.get(field.name),
        }
        for field in change.fields
    ]
    matches = all(is_same(live.fields.get(f.name), f.after) for f in change.fields)
    stand_in = live.ref if change.is_trial else None
    record = change.record if change.is_trial else live.ref
    result = {
        "fields": fields,
        "read_at": rfc3339(live.read_at),
        "version": live.version,
        "matches": matches,
        "record": {"crm": live.ref.crm, "type": live.ref.type, "id": live.ref.id},
        "url": live.url,
    }
    if not _move(unit, attempt, "applied", result=store.to_json(result)):
        return
    change_store.note_applied(unit.db, change.id, unit.now)
    body = {
        "change_id": change.id,
        "proposal_id": change.proposal_id,
        "record": record,
        "fields": fields,
        "sent_at": attempt.sent_at,
        "read_at": live.read_at,
        "version": live.version,
        "matches": matches,
        "attempts": attempt.number,
        "stand_in": stand_in,
        "kind": str(change.kind),
    }
    _publish(unit, Topic.CHANGE_APPLIED, change, body)
    if change.is_trial:
        _propose_promotion(unit, change, matches=matches)
    else:
        _follow_up(unit, change, live)


def _propose_promotion(unit: Unit, change: Change, *, matches: bool) -> None:
    """What was tried and read back is proposed for the live record: a decision of its own."""
    if not matches:
        return
    row = store.row_of(unit.db, change.proposal_id)
    policy = policy_store.in_force(unit.db).policy
    found = promotion_of(store.proposal_of(row), change, unit.now, policy)
    pending.lay(unit, found, store.origin_of(row), policy)


def _follow_up(unit: Unit, change: Change, live: Reading) -> None:
    """A draft joins the list of drafts; an undo marks what it put back."""
    if change.kind is ProposalKind.DRAFT:
        row = {
            "change_id": change.id,
            "draft": str(live.ref),
            "title": live.title,
            "state": "open",
            "created_at": rfc3339(unit.now),
        }
        insert_new(unit.db, drafts, [row])
    undoes = store.row_of(unit.db, change.proposal_id).undoes
    if undoes is not None:
        change_store.set_undone(unit.db, undoes, change.id)


def stale(unit: Unit, attempt: Attempt, live: Reading, changed_by: str | None) -> None:
    """Somebody changed the record first; both values are kept."""
    change = attempt.change
    fields = [
        {"name": field.name, "before": field.before, "now": live.fields.get(field.name)}
        for field in change.fields
    ]
    result = store.to_json(
        {"fields": fields, "read_at": rfc3339(live.read_at), "changed_by": changed_by}
    )
    if not _move(unit, attempt, "stale", rule="still-current", result=result):
        return
    body = {
        "change_id": change.id,
        "proposal_id": change.proposal_id,
        "record": change.record,
        "fields": fields,
        "changed_by": changed_by,
    }
    _publish(unit, Topic.CHANGE_STALE, change, body)


def failed(unit: Unit, attempt: Attempt, rule: str, detail: str) -> None:
    """Nothing was written, and nothing will be under this approval."""
    change = attempt.change
    if _move(unit, attempt, "failed", rule=rule, detail=detail):
        account = change.account
        tell_failed(
            unit,
            change.id,
            change.proposal_id,
            change.record,
            rule,
            detail,
            account=account,
            kind=str(change.kind),
        )


def tell_failed(
    unit: Unit,
    change_id: str,
    proposal_id: str,
    record: RecordRef,
    rule: str,
    detail: str,
    *,
    actor: str | None = None,
    account: str | None = None,
    kind: str | None = None,
) -> None:
    """Publish ``change.failed``; ``account`` is the one that would have been written."""
    body = {
        "change_id": change_id,
        "proposal_id": proposal_id,
        "record": record,
        "rule": rule,
        "detail": detail,
        "advice": advice(rule),
        "account": account,
        "kind": kind,
    }
    chain = store.row_of(unit.db, proposal_id).event_id
    subject = f"change/{change_id}"
    unit.publish(Topic.CHANGE_FAILED, body, subject=subject, chain=chain, actor=actor)


def unknown(unit: Unit, attempt: Attempt, detail: str) -> None:
    """The call was cut off. An alert goes out; the completer reads back."""
    change = attempt.change
    if not _move(unit, attempt, "unknown", detail=detail):
        return
    log.error("the outcome of a write is unknown", change=change.id, attempt=attempt.number)
    body = {
        "change_id": change.id,
        "proposal_id": change.proposal_id,
        "record": change.record,
        "detail": detail,
        "kind": str(change.kind),
    }
    _publish(unit, Topic.CHANGE_UNKNOWN, change, body, key=str(attempt.number))


def not_applied(unit: Unit, attempt: Attempt, why: str) -> None:
    """Nothing reached the CRM: the intent waits to be tried again."""
    _move(unit, attempt, "intended", held=why)


def handed_over(unit: Unit, attempt: Attempt) -> None:
    """The CRM has no API: it waits for a person who does it there and says so."""
    change_store.wait_for_word(unit.db, attempt.change.id, BY_HAND, unit.now)


def _move(unit: Unit, attempt: Attempt, state: str, **values: Any) -> bool:
    return change_store.move(
        unit.db, attempt.change.id, attempt.state, state, unit.now, **{"held": None, **values}
    )


def _publish(
    unit: Unit, topic: Topic, change: Change, body: Mapping[str, Any], key: str = ""
) -> None:
    subject = f"change/{change.id}"
    body = {**body, "account": change.account}
    unit.publish(topic, body, subject=subject, chain=change.event_id, key=key)
