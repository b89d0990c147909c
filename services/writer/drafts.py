"""New records: what a person decided about a draft is carried out by the worker, once."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection, Row, select, update

from services.writer import hand_offs, policy_store, switch
from services.writer.crm import OutcomeUnknown
from services.writer.deps import WorkerDeps
from services.writer.facts import standings
from services.writer.tables import changes, drafts
from shared.db import reading
from shared.domain import ids
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import CRMUnavailable, Rejected
from shared.faultpoints import reached

log = structlog.get_logger()
ENDS = {"promoting": "promoted", "discarding": "discarded"}


def carry_out_decisions(deps: WorkerDeps) -> None:
    """Promote and discard what people decided; what cannot be done now stays for the next round."""
    with reading(deps.engine) as db:
        query = select(drafts).where(drafts.c.state.in_(tuple(ENDS)))
        rows = [row for row in db.execute(query).all() if not _is_cut_off(db, row)]
        in_force = policy_store.current(db)
        stopped = switch.is_stopped(db)
    if stopped or in_force is None or in_force.problem:
        return
    for row in rows:
        try:
            _carry_out(row, deps)
        except (CRMUnavailable, OutcomeUnknown, Rejected) as error:
            log.warning("a draft stays open", change=row.change_id, error=str(error))


def _is_cut_off(db: Connection, row: Row[Any]) -> bool:
    """It may have been handed over to a CRM without an API: a person has to say."""
    return row.state == "promoting" and hand_offs.is_cut_off(db, hand_offs.act_of(row.change_id))


def _carry_out(row: Row[Any], deps: WorkerDeps) -> None:
    standing = standings(deps.sources.people()).get(row.decided_by)
    if standing is None or standing.disabled:
        _back(row, deps)
        return
    draft = ref_of(row.draft)
    writer = deps.writers[draft.crm]
    # An act of its own: the draft's change id marks how the draft itself was made.
    act = ids.derive("change", row.change_id, row.state)
    reached("drafts.before_act")
    record: RecordRef | None = None
    if row.state == "promoting":
        record = _promoted(deps, draft, act)
    elif writer.find(act) is None:
        writer.discard(draft, change_id=act)
    reached("drafts.after_act")
    _close(row, draft, record, deps)


def _promoted(deps: WorkerDeps, draft: RecordRef, act: str) -> RecordRef:
    """The live record; one that an earlier try made is found by its mark."""
    writer = deps.writers[draft.crm]
    return writer.promoted(act) or writer.promote(draft, change_id=act)


def _close(row: Row[Any], draft: RecordRef, record: RecordRef | None, deps: WorkerDeps) -> None:
    with deps.unit_of_work.begin() as unit:
        statement = (
            update(drafts)
            .where(drafts.c.change_id == row.change_id, drafts.c.state == row.state)
            .values(state=ENDS[row.state], record=str(record) if record else None)
        )
        if unit.db.execute(statement).rowcount != 1:
            return
        chain = unit.db.scalar(select(changes.c.event_id).where(changes.c.id == row.change_id))
        body: dict[str, Any] = {"change_id": row.change_id, "draft": draft}
        body |= {"record": record} if record else {"reason": row.reason or ""}
        unit.publish(
            Topic.DRAFT_PROMOTED if record else Topic.DRAFT_DISCARDED,
            body,
            subject=f"change/{row.change_id}",
            chain=chain,
            actor=f"person:{row.decided_by}",
            # What a CRM without an API did not take is promoted a second time.
            key=row.decided_at,
        )


def _back(row: Row[Any], deps: WorkerDeps) -> None:
    """Who decided has no access any more: the draft waits for somebody else."""
    with deps.unit_of_work.begin() as unit:
        unit.db.execute(
            update(drafts)
            .where(drafts.c.change_id == row.change_id, drafts.c.state == row.state)
            .values(state="open", decided_by=None, decided_at=None)
        )


def ref_of(text: str) -> RecordRef:
    """The record of ``crm/type/id``."""
    crm, type_, id_ = text.split("/", 2)
    return RecordRef(crm=crm, type=type_, id=id_)
