"""A person was erased: cards, decisions, changes and answers of their chains go; the log stays."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select

from services.writer import rules
from services.writer.deps import WorkerDeps
from services.writer.tables import (
    assists,
    card_views,
    change_fields,
    changes,
    classifications,
    corrections,
    decisions,
    drafts,
    outbox,
    own_drafts,
    pending_fields,
    proposal_fields,
    proposals,
    stand_ins,
    worklist,
)
from shared.bus.envelope import Envelope
from shared.db import cut_log, writing
from shared.errors import StoreUnavailable
from shared.service import Effect, do_nothing


def forget(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``person.erased``. Raises `StoreUnavailable` while a change of theirs is being written."""
    chains = envelope.noun()["chains"]
    with writing(deps.engine) as db:
        _wait_for_writes(db, chains)
        for table, is_theirs in _rows(chains):
            db.execute(delete(table).where(is_theirs))
        outbox.forget(db, chains)
    cut_log(deps.engine)
    return do_nothing


def _wait_for_writes(db: Connection, chains: Sequence[str]) -> None:
    """What is half done is finished first: only then is it known what the CRM holds."""
    is_open = changes.c.event_id.in_(chains) & changes.c.state.not_in(rules.FINAL)
    number = db.scalar(select(func.count()).select_from(changes).where(is_open))
    if number:
        raise StoreUnavailable(f"{number} changes of this person are still being written")


def _rows(chains: Sequence[str]) -> list[tuple[Table, ColumnElement[bool]]]:
    """What is theirs, table by table; whatever is found by another table comes before it."""
    theirs = select(proposals.c.id).where(proposals.c.event_id.in_(chains))
    written = select(changes.c.id).where(changes.c.event_id.in_(chains))
    records = select(changes.c.record).where(changes.c.event_id.in_(chains))
    by_proposal = (pending_fields, proposal_fields, decisions, card_views)
    return [
        *((table, table.c.proposal_id.in_(theirs)) for table in by_proposal),
        (change_fields, change_fields.c.change_id.in_(written)),
        (corrections, corrections.c.change_id.in_(written)),
        (corrections, corrections.c.event_id.in_(chains)),
        (drafts, drafts.c.change_id.in_(written)),
        (own_drafts, own_drafts.c.change_id.in_(written)),
        (assists, or_(assists.c.id.in_(chains), assists.c.event_id.in_(chains))),
        (stand_ins, stand_ins.c.record.in_(records)),
        (changes, changes.c.event_id.in_(chains)),
        (proposals, proposals.c.event_id.in_(chains)),
        (classifications, classifications.c.event_id.in_(chains)),
        (worklist, worklist.c.event_id.in_(chains)),
    ]
