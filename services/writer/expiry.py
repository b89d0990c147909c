"""What ends by itself: cards nobody decided in time, and approvals the log never answered."""

from __future__ import annotations

from services.writer import change_store, facts, outcomes, policy_store, rules, store, switch
from services.writer.deps import WorkerDeps
from services.writer.gate import permit
from shared.db import reading
from shared.domain.topics import Topic
from shared.errors import NotApproved
from shared.outbox import Unit


def expire(deps: WorkerDeps) -> None:
    """The expiry loop: cards whose effective time is over, and intents that nobody logged."""
    with deps.unit_of_work.begin() as unit:
        _expire_cards(unit)
    with reading(deps.engine) as db:
        stuck = change_store.unreceipted(db)
    for change_id in stuck:
        with deps.unit_of_work.begin() as unit:
            _expire_intent(unit, change_id, deps)


def _expire_cards(unit: Unit) -> None:
    found = policy_store.current(unit.db)
    if found is None or switch.is_stopped(unit.db):
        return  # While writing is stopped every clock stands still.
    times = switch.stops(unit.db)
    for row in store.pending_rows(unit.db):
        if store.deadline(row, found.policy.office, times, unit.now) >= unit.now:
            continue
        if store.close(unit.db, row.id, "expired", at=unit.now):
            body = {
                "proposal_id": row.id,
                "record": store.proposal_of(row).record,
                "expired_at": unit.now,
            }
            subject = f"proposal/{row.id}"
            unit.publish(Topic.PROPOSAL_EXPIRED, body, subject=subject, chain=row.event_id)


def _expire_intent(unit: Unit, change_id: str, deps: WorkerDeps) -> None:
    """An approval whose time is over before the log answered ends here; nothing was written."""
    row = change_store.row_of(unit.db, change_id)
    docket = facts.collect(
        unit.db,
        deps.sources,
        proposal_id=row.proposal_id,
        card_digest=row.card_digest,
        now=unit.now,
    )
    if docket.facts.stopped or docket.facts.problem is not None:
        return
    try:
        permit((rules.not_expired,), docket.proposal, docket.decisions, docket.facts)
    except NotApproved as refusal:
        values = {"rule": refusal.rule, "detail": str(refusal)}
        if change_store.move(unit.db, row.id, "intended", "failed", unit.now, **values):
            outcomes.tell_failed(
                unit,
                row.id,
                row.proposal_id,
                docket.proposal.record,
                refusal.rule,
                str(refusal),
                kind=str(docket.proposal.kind),
            )
