"""What people do on the pages and through the API: one function per act, the same for both."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from services.writer import change_store, pending, policy_store, store, switch
from services.writer.approving import (
    Decided,
    approve,
    reject,
    require_pending,
    who_decided,
)
from services.writer.deps import WebDeps
from services.writer.reproposing import again_from, undo_of
from services.writer.schemas import Again, Assign, Discard, Opened, Snooze, Stop, Work
from services.writer.store import Origin
from services.writer.tables import drafts, worklist
from services.writer.verdicts import before_of
from shared.access import Person
from shared.db import reading
from shared.domain import ids
from shared.domain.decision import card_digest
from shared.domain.proposal import ProposalKind
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload, Conflict, NotFound

ROUNDS = 2
CLAIM = timedelta(minutes=10)


def again(deps: WebDeps, person: Person, proposal_id: str, form: Again) -> None:
    """Send the event back with a note; two rounds at most, the third is refused."""
    with deps.unit_of_work.begin() as unit:
        row = store.row_of(unit.db, proposal_id)
        proposal = store.proposal_of(row)
        require_pending(row)
        if proposal.undoes or proposal.maker.kind == "person":
            raise Conflict("A person proposed this: propose another value instead.")
        asked = store.rounds_of(unit.db, proposal.event_id)
        if asked >= ROUNDS:
            raise Conflict(f"This was sent back {asked} times already: edit it, or reject it.")
        assist = ids.derive("assist", proposal_id, asked + 1)
        body = {
            "id": assist,
            "kind": "again",
            "record": proposal.record,
            "event_id": proposal.event_id,
            "proposal_id": proposal_id,
            "note": form.note,
            "round": proposal.round + 1,
        }
        store.note_assist(unit.db, body, person.id, unit.now)
        unit.publish(
            Topic.ASSIST_REQUESTED,
            body,
            subject=f"proposal/{proposal_id}",
            chain=proposal.event_id,
            actor=f"person:{person.id}",
            key=assist,
        )


def reread(deps: WebDeps, person: Person, proposal_id: str) -> str:  # noqa: ARG001 - acts are called alike.
    """A new card over what the record holds now; returns its id. Raises `CRMUnavailable`."""
    with reading(deps.engine) as db:
        row = store.row_of(db, proposal_id)
    proposal = store.proposal_of(row)
    if proposal.kind is ProposalKind.DRAFT:
        raise Conflict("A draft has no record yet that could be read again.")
    live = deps.readers[proposal.record.crm].read(proposal.record)
    with deps.unit_of_work.begin() as unit:
        row = store.row_of(unit.db, proposal_id)
        if row.state not in {"pending", "expired"} and not _ended_unwritten(unit.db, row):
            raise Conflict(who_decided(row))
        policy = policy_store.in_force(unit.db).policy
        fresh = again_from(proposal, live, unit.now, policy)
        if fresh is None:
            raise Conflict("The record holds these values already: reject the card as done.")
        pending.lay(unit, fresh, store.origin_of(row), policy)
    return fresh.id


def _ended_unwritten(db: Connection, row: Row[Any]) -> bool:
    """Approved, but the live record was not written: it may be proposed anew."""
    states = {
        change.state
        for change in change_store.changes_of(db, row.id)
        if change.tried_in is None or change.state != "applied"
    }
    return row.state == "approved" and (bool(row.refused_rule) or states <= {"failed", "stale"})


def claim(deps: WebDeps, person: Person, proposal_id: str) -> None:
    """Say softly that you are on it; it decides nothing and ends by itself."""
    with deps.unit_of_work.begin() as unit:
        until = rfc3339(unit.now + CLAIM)
        store.set_columns(unit.db, proposal_id, claimed_by=person.id, claimed_until=until)


def release(deps: WebDeps, person: Person, proposal_id: str) -> None:  # noqa: ARG001 - acts are called alike.
    with deps.unit_of_work.begin() as unit:
        store.set_columns(unit.db, proposal_id, claimed_by=None, claimed_until=None)


def assign_card(deps: WebDeps, person: Person, proposal_id: str, form: Assign) -> None:  # noqa: ARG001 - acts are called alike.
    """Ask one person. Raises `BadPayload` for somebody unknown."""
    require_known(deps, form.assignee)
    with deps.unit_of_work.begin() as unit:
        store.set_columns(unit.db, proposal_id, assignee=form.assignee)


def require_known(deps: WebDeps, assignee: str | None) -> None:
    if assignee is not None and assignee not in {a.id for a in deps.people() if not a.disabled}:
        raise BadPayload(f"There is nobody called {assignee}.")


def snooze(deps: WebDeps, person: Person, proposal_id: str, form: Snooze) -> None:  # noqa: ARG001 - acts are called alike.
    """Put a card behind the others for some hours; its clock goes on."""
    with deps.unit_of_work.begin() as unit:
        until = rfc3339(unit.now + timedelta(hours=form.hours))
        store.set_columns(unit.db, proposal_id, snoozed_until=until)


def opened(deps: WebDeps, person: Person, proposal_id: str, form: Opened) -> None:
    """Record what this person was shown; the time to the decision counts from here."""
    with deps.unit_of_work.begin() as unit:
        proposal = store.proposal_of(store.row_of(unit.db, proposal_id))
        version = policy_store.in_force(unit.db).policy.version
        if form.card_digest != card_digest(proposal.digest(), before_of(proposal), version):
            return  # Moved or stale: nobody can approve this view.
        if not store.note_view(unit.db, proposal_id, person.id, form.card_digest, unit.now):
            return
        unit.publish(
            Topic.CARD_OPENED,
            {
                "proposal_id": proposal_id,
                "card_digest": form.card_digest,
                "now": before_of(proposal),
            },
            subject=f"proposal/{proposal_id}",
            chain=proposal.event_id,
            actor=f"person:{person.id}",
            key=f"{person.id}/{form.card_digest}",
        )


def undo(deps: WebDeps, person: Person, change_id: str) -> str:
    """Propose the old value back; returns the new card's id. Raises `Conflict` saying why not."""
    with reading(deps.engine) as db:
        change = change_store.row_of(db, change_id)
        source = store.row_of(db, change.proposal_id)
    record = store.proposal_of(source).record
    live = deps.readers[record.crm].read(record)
    with deps.unit_of_work.begin() as unit:
        policy = policy_store.in_force(unit.db).policy
        change = change_store.row_of(unit.db, change_id)
        fresh = undo_of(unit.db, change, live, ids.fresh(), person.id, unit.now, policy)
        pending.lay(unit, fresh, Origin(source=source.source, event_at=unit.now), policy)
    return fresh.id


def work(deps: WebDeps, person: Person, event_id: str, form: Work) -> None:
    """Deal with an event that a person must look at: done, assigned, or open again."""
    assignee = form.assignee if form.action == "assigned" else None
    if form.action == "assigned" and assignee is None:
        raise BadPayload("Name the person it is for.")
    require_known(deps, assignee)
    with deps.unit_of_work.begin() as unit:
        row = unit.db.execute(select(worklist).where(worklist.c.event_id == event_id)).first()
        if row is None:
            raise NotFound("There is no such event on the worklist.")
        if row.state == "done" and form.action == "done":
            raise Conflict(f"Already done by {row.done_by}.")
        is_done = form.action == "done"
        values = {
            "state": {"reopened": "open"}.get(form.action, form.action),
            "note": form.note or row.note,
            "assignee": assignee or (row.assignee if is_done else None),
            "done_by": person.id if is_done else None,
            "done_at": rfc3339(unit.now) if is_done else None,
        }
        unit.db.execute(update(worklist).where(worklist.c.event_id == event_id).values(**values))
        body = {
            "event_id": event_id,
            "action": form.action,
            "assignee": assignee,
            "note": form.note,
        }
        unit.publish(
            Topic.EVENT_HANDLED,
            body,
            subject=f"event/{event_id}",
            chain=event_id,
            actor=f"person:{person.id}",
            key=ids.fresh(),
        )


def promote(deps: WebDeps, person: Person, change_id: str) -> None:
    """Ask the worker to make a draft a live record: it alone holds the write token."""
    _decide_draft(deps, person, change_id, "promoting", None)


def discard(deps: WebDeps, person: Person, change_id: str, form: Discard) -> None:
    """Ask the worker to close a draft for good."""
    _decide_draft(deps, person, change_id, "discarding", form.reason)


def _decide_draft(
    deps: WebDeps, person: Person, change_id: str, state: str, reason: str | None
) -> None:
    with deps.unit_of_work.begin() as unit:
        statement = (
            update(drafts)
            .where(drafts.c.change_id == change_id, drafts.c.state == "open")
            .values(
                state=state,
                decided_by=person.id,
                decided_at=rfc3339(unit.now),
                reason=reason,
                tried_at=None,
                refused=None,
            )
        )
        if unit.db.execute(statement).rowcount != 1:
            raise _draft_gone(unit.db, change_id)
        unit.ring("drafts")


def _draft_gone(db: Connection, change_id: str) -> NotFound | Conflict:
    row = db.execute(select(drafts).where(drafts.c.change_id == change_id)).first()
    if row is None:
        return NotFound("There is no such draft.")
    return Conflict(f"Already decided by {row.decided_by}: the draft is {row.state}.")


def stop(deps: WebDeps, person: Person, form: Stop) -> None:
    """Stop all writing at once: nothing is written, nothing expires."""
    with deps.unit_of_work.begin() as unit:
        switch.stop(unit, person=person.id, reason=form.reason)


def resume(deps: WebDeps, person: Person, form: Stop) -> None:
    """Let writing go on; what waited is tried again."""
    with deps.unit_of_work.begin() as unit:
        switch.resume(unit, person=person.id, reason=form.reason)
        unit.ring("completer")


__all__ = [
    "Decided",
    "again",
    "approve",
    "assign_card",
    "claim",
    "discard",
    "opened",
    "promote",
    "reject",
    "release",
    "reread",
    "resume",
    "snooze",
    "stop",
    "undo",
    "work",
]
