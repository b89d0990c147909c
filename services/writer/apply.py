"""Writing to the CRM: the eleven steps, in one critical section per record, and the completer.

1 digest · 2 signature · 3 expiry · 4 single use · 5 entitlement · 6 policy · 7 receipt are rules of
the gate, checked in the transaction that marks the change as sent; 8 read and compare · 9 write ·
10 read back · 11 tell the log. Where a CRM has no conditional write, a gap of one round trip stays
between 8 and 9; it is found by the read-back and the CRM's own history.

A trial goes the same way: its live record is read and compared, and the one that stands in for it
in the sandbox is made ready, written and read back (`trials`). A note or task is appended to the
record that was read, and found again by the id of its change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Row

from services.writer import calling, change_store, facts, outcomes, rules, store
from services.writer.case import held, is_same
from services.writer.change_store import Lock
from services.writer.crm import StaleRecord
from services.writer.deps import WorkerDeps
from services.writer.gate import change_of, permit
from services.writer.outcomes import Attempt
from shared.bus.envelope import Envelope
from shared.db import reading, writing
from shared.domain.change import Change
from shared.domain.proposal import ProposalKind
from shared.domain.receipt import Receipt
from shared.domain.record import Reading
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotApproved, Rejected
from shared.faultpoints import reached
from shared.outbox import Unit
from shared.proof import open_checkpoint
from shared.service import Effect, do_nothing

log = structlog.get_logger()
# Longer than a read, a write and a read-back with their time-outs together.
LOCK = timedelta(seconds=45)
# A write is begun only while this much of the lock is left.
MARGIN = timedelta(seconds=15)
RETRIES = 3


def apply(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``receipt.issued``: keep the receipt, then write. Raises `NotFound` for a foreign change."""
    receipt: Receipt = envelope.noun()
    root = open_checkpoint(receipt.checkpoint, deps.sources.log_keys()).root.hex()
    reached("apply.receipt_opened")
    with writing(deps.engine) as db:
        change_store.row_of(db, receipt.change_id)
        change_store.keep_receipt(db, receipt, root)
    reached("apply.receipt_kept")
    return carry_out(receipt.change_id, deps)


def carry_out(change_id: str, deps: WorkerDeps) -> Effect:
    """Write an intended change. Whatever cannot be done now is left to the loops."""
    return _locked(change_id, deps, "intended", _send_and_write)


def settle(change_id: str, deps: WorkerDeps) -> Effect:
    """Find out what became of a change that was sent long ago, by reading back."""
    return _locked(change_id, deps, ("sent", "unknown"), _read_back_late)


Work = Callable[[Row[Any], Lock, WorkerDeps], Effect]


def _locked(change_id: str, deps: WorkerDeps, states: str | tuple[str, ...], work: Work) -> Effect:
    """Do the work as the record's only writer; the lock goes when its effect is committed."""
    now = deps.clock()
    with writing(deps.engine) as db:
        row = change_store.row_of(db, change_id)
        if row.state not in ((states,) if isinstance(states, str) else states):
            return do_nothing
        lock = change_store.take_lock(db, row.record, now, LOCK)
    if lock is None:
        return do_nothing
    reached("apply.locked")
    try:
        effect = work(row, lock, deps)
    except Exception:
        with writing(deps.engine) as db:
            change_store.free_lock(db, lock, now)
        raise
    return partial(_commit_and_free, effect=effect, lock=lock)


def _commit_and_free(unit: Unit, *, effect: Effect, lock: Lock) -> None:
    effect(unit)
    change_store.free_lock(unit.db, lock, unit.now)
    reached("apply.before_result_commit")


def _send_and_write(row: Row[Any], lock: Lock, deps: WorkerDeps) -> Effect:
    attempt = _mark_sent(row, lock, deps)
    if attempt is None:
        return do_nothing
    reached("apply.sent")
    try:
        return _write(attempt, lock, deps)
    except CRMUnavailable as error:
        log.warning("the CRM was not reached", change=row.id, error=str(error))
        return partial(outcomes.not_applied, attempt=attempt, why="the CRM cannot be reached")


def _mark_sent(row: Row[Any], lock: Lock, deps: WorkerDeps) -> Attempt | None:
    """Steps 1 to 7. ``None``: the change waits, or has failed."""
    with deps.unit_of_work.begin() as unit:
        row = change_store.row_of(unit.db, row.id)
        if row.state != "intended" or not change_store.holds(unit.db, lock, unit.now):
            return None
        docket = _docket(unit.db, row, unit.now, deps)
        try:
            change = permit(rules.SEND, docket.proposal, docket.decisions, docket.facts)
            _require_same(change, row)
        except NotApproved as refusal:
            _refuse(unit, row, refusal)
            return None
        reached("apply.permitted")
        number = row.attempts + 1
        is_mine = change_store.move(
            unit.db,
            row.id,
            "intended",
            "sent",
            unit.now,
            attempts=number,
            # What held it before is over: a sent change that is held waits for a person's hand.
            held=None,
            sent_at=rfc3339(unit.now),
        )
        change_store.note_sent(unit.db, row.id, unit.now)
    attempt = Attempt(change=change, state="sent", sent_at=unit.now, number=number)
    return attempt if is_mine else None


def _docket(
    db: Any, row: Row[Any], now: datetime, deps: WorkerDeps, live: Reading | None = None
) -> facts.Docket:
    return facts.collect(
        db,
        deps.sources,
        proposal_id=row.proposal_id,
        card_digest=row.card_digest,
        now=now,
        live=live,
    )


def _require_same(change: Change, row: Row[Any]) -> None:
    """What would be sent is, byte for byte, what was logged as intended."""
    if change.digest() != row.digest or change.id != row.id:
        raise NotApproved("the stored intent is another one", rule="same-text")


def _refuse(unit: Unit, row: Row[Any], refusal: NotApproved) -> None:
    if refusal.rule in rules.HOLDING:
        change_store.hold(unit.db, row.id, str(refusal), unit.now)
        return
    values = {"rule": refusal.rule, "detail": str(refusal)}
    if change_store.move(unit.db, row.id, "intended", "failed", unit.now, **values):
        proposal = store.proposal_of(store.row_of(unit.db, row.proposal_id))
        outcomes.tell_failed(
            unit,
            row.id,
            row.proposal_id,
            proposal.record,
            refusal.rule,
            str(refusal),
            account=row.tried_in,
            kind=str(proposal.kind),
        )


def _write(attempt: Attempt, lock: Lock, deps: WorkerDeps) -> Effect:
    """Steps 8 to 11."""
    if attempt.change.kind is ProposalKind.DRAFT:
        return calling.create(attempt, deps)
    if attempt.change.record.crm in deps.by_hand:
        return partial(outcomes.handed_over, attempt=attempt)
    held: Reading | None = None
    for _ in range(RETRIES):
        live = calling.read(attempt, attempt.change.record, deps)
        if not isinstance(live, Reading):
            return live
        reached("apply.read")
        refusal = _why_not(attempt, live, lock, deps)
        if refusal is not None:
            return _refused_at_last(attempt, refusal, live, deps)
        try:
            if attempt.change.is_trial and held is None:
                stand_in = calling.prepared(attempt, live, deps)
                if not isinstance(stand_in, Reading):
                    return stand_in
                held = stand_in
                continue  # That took its time: everything is looked at once more.
            reached("apply.before_write")
            if attempt.change.kind.appends:
                return calling.append(attempt, deps)
            return calling.update(attempt, held or live, deps)
        except StaleRecord:
            held = None  # It moved between read and write; perhaps in another field.
    return partial(outcomes.not_applied, attempt=attempt, why="the record keeps changing")


def _why_not(attempt: Attempt, live: Reading, lock: Lock, deps: WorkerDeps) -> NotApproved | None:
    """All rules again, in the second of the write, now with the live record."""
    now = deps.clock()
    with reading(deps.engine) as db:
        row = change_store.row_of(db, attempt.change.id)
        docket = _docket(db, row, now, deps, live)
        is_mine = row.attempts == attempt.number and change_store.holds(db, lock, now + MARGIN)
    try:
        change = permit(rules.WRITE, docket.proposal, docket.decisions, docket.facts)
        _require_same(change, row)
    except NotApproved as refusal:
        return refusal
    if row.state != attempt.state or not is_mine:
        return NotApproved("another writer took over", rule="writing-allowed")
    return None


def _refused_at_last(
    attempt: Attempt, refusal: NotApproved, live: Reading, deps: WorkerDeps
) -> Effect:
    if refusal.rule == "still-current" and not attempt.change.kind.appends:
        # An earlier try whose answer was cut off may have arrived after all. Where the CRM keeps no
        # mark of ours, there must have been one: a person may have entered the same value.
        may_be_ours = attempt.number > 1 or deps.writers[attempt.change.account].marks_updates
        if may_be_ours and (ours := calling.found(attempt, deps)) is not None:
            return partial(outcomes.applied, attempt=attempt, live=ours)
        return _stale(attempt, live, deps)
    if refusal.rule in rules.HOLDING:
        return partial(outcomes.not_applied, attempt=attempt, why=str(refusal))
    return partial(outcomes.failed, attempt=attempt, rule=refusal.rule, detail=str(refusal))


def _stale(attempt: Attempt, live: Reading, deps: WorkerDeps) -> Effect:
    """Nothing is written; the CRM's own history says who was first, if it can be read."""
    moved = {
        field.name
        for field in attempt.change.fields
        if not is_same(live.fields.get(field.name), field.before)
    }
    try:
        history = deps.readers[live.ref.crm].field_changes(live.ref)
    except (CRMUnavailable, Rejected):
        history = []
    by = next((change.by for change in history if change.field in moved), None)
    return partial(outcomes.stale, attempt=attempt, live=live, changed_by=by)


def _read_back_late(row: Row[Any], _: Lock, deps: WorkerDeps) -> Effect:
    """The completer: applied, or not applied and again, or stale. Raises `CRMUnavailable`."""
    attempt = _attempt_of(row, deps)
    if attempt is None:
        return do_nothing
    change = attempt.change
    if change.record.crm in deps.by_hand and change.kind is not ProposalKind.DRAFT:
        return partial(outcomes.handed_over, attempt=attempt)
    if (live := calling.found(attempt, deps)) is not None:
        return partial(outcomes.applied, attempt=attempt, live=live)
    reached("completer.not_found")
    if change.kind is ProposalKind.DRAFT:
        return partial(outcomes.not_applied, attempt=attempt, why="the CRM has no such draft")
    live_or_end = calling.read(attempt, change.record, deps)
    if not isinstance(live_or_end, Reading):
        return live_or_end
    holds = all(
        is_same(held(change.kind, live_or_end, field.name), field.before) for field in change.fields
    )
    if not holds:
        return _stale(attempt, live_or_end, deps)
    return partial(outcomes.not_applied, attempt=attempt, why="the CRM did not take it")


def _attempt_of(row: Row[Any], deps: WorkerDeps) -> Attempt | None:
    """The change that was sent, derived again from proposal and decisions."""
    with reading(deps.engine) as db:
        docket = _docket(db, row, deps.clock(), deps)
    first, *_ = docket.decisions
    names = [decision.id for decision in docket.decisions]
    change = change_of(
        docket.proposal,
        first.fields,
        row.card_digest,
        row.policy,
        names,
        # Where it was sent, whatever the policy says by now.
        account=row.tried_in or docket.proposal.record.crm,
    )
    sent_at = parse_instant(row.sent_at)
    return Attempt(change=change, state=row.state, sent_at=sent_at, number=row.attempts)


def complete(deps: WorkerDeps) -> None:
    """One round of the completer: what is unfinished is read back, then what waits is tried."""
    with reading(deps.engine) as db:
        unfinished = change_store.unfinished(db, deps.clock() - deps.settle_after)
    for change_id in unfinished:
        _one(partial(settle, change_id, deps), change_id, deps)
    with reading(deps.engine) as db:
        waiting = change_store.waiting(db)  # What had no effect is among it by now.
    for change_id in waiting:
        _one(partial(carry_out, change_id, deps), change_id, deps)


def _one(work: Callable[[], Effect], change_id: str, deps: WorkerDeps) -> None:
    """One change's trouble does not keep the others waiting."""
    try:
        effect = work()
    except (CRMUnavailable, Rejected) as error:
        log.warning("a change stays open", change=change_id, error=str(error))
        return
    except Exception:
        log.exception("a change stays open", change=change_id)
        return
    if effect is not do_nothing:
        with deps.unit_of_work.begin() as unit:
            effect(unit)
