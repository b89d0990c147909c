"""New records: what a person decided about a draft is carried out by the worker, once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select, update

from services.writer import hand_offs, policy_store, switch
from services.writer.crm import OutcomeUnknown
from services.writer.deps import WorkerDeps
from services.writer.facts import standings
from services.writer.tables import changes, drafts
from shared.db import reading, writing
from shared.domain import ids
from shared.domain.record import RecordRef
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import CRMUnavailable, Rejected
from shared.faultpoints import reached

log = structlog.get_logger()
ENDS = {"promoting": "promoted", "discarding": "discarded"}


def carry_out_decisions(deps: WorkerDeps) -> None:
    """Promote and discard what people decided; what cannot be done now stays for the next round.

    What was tried and has no certain end rests for ``settle_after``: a CRM that is slow may still
    be making the record, and would be asked to make it a second time.
    """
    rested = rfc3339(deps.clock() - deps.settle_after)
    with reading(deps.engine) as db:
        query = select(drafts).where(
            drafts.c.state.in_(tuple(ENDS)),
            drafts.c.tried_at.is_(None) | (drafts.c.tried_at < rested),
        )
        rows = [row for row in db.execute(query).all() if not _is_cut_off(db, row)]
        in_force = policy_store.current(db)
        stopped = switch.is_stopped(db)
    if stopped or in_force is None or in_force.problem:
        return
    for row in rows:
        _one(row, deps)


def _one(row: Row[Any], deps: WorkerDeps) -> None:
    """One draft's trouble does not keep the others waiting."""
    try:
        _carry_out(row, deps)
    except Rejected as refusal:
        _back(row, deps, refused=str(refusal))
    except CRMUnavailable as error:
        log.warning("a draft waits for its CRM", change=row.change_id, error=str(error))
        _note_try(row, deps, None)
    except OutcomeUnknown as error:
        why = str(error)
        log.warning("nobody can say yet whether it was made", change=row.change_id, why=why)
    except Exception:
        log.exception("a draft could not be carried out", change=row.change_id)


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
        _note_try(row, deps, deps.clock())
        record = writer.promote(draft, change_id=act)
    elif writer.find(act) is None:
        writer.discard(draft, change_id=act)
    reached("drafts.after_act")
    _close(row, draft, record, deps)


def _note_try(row: Row[Any], deps: WorkerDeps, at: datetime | None) -> None:
    """Before a try, so that a death in it is known; ``None``: it certainly had no effect."""
    with writing(deps.engine) as db:
        db.execute(
            update(drafts)
            .where(drafts.c.change_id == row.change_id)
            .values(tried_at=None if at is None else rfc3339(at))
        )


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


def _back(row: Row[Any], deps: WorkerDeps, refused: str | None = None) -> None:
    """It was refused, or who decided has no access any more: the draft waits for a person."""
    with deps.unit_of_work.begin() as unit:
        unit.db.execute(
            update(drafts)
            .where(drafts.c.change_id == row.change_id, drafts.c.state == row.state)
            .values(state="open", decided_by=None, decided_at=None, tried_at=None, refused=refused)
        )


def ref_of(text: str) -> RecordRef:
    """The record of ``crm/type/id``."""
    crm, type_, id_ = text.split("/", 2)
    return RecordRef(crm=crm, type=type_, id=id_)
