"""Lines of the queue, put together from the stored rows of one page at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from services.writer import change_store, policy_store, store, switch
from services.writer.office import Stop, in_words
from services.writer.stages import needs_trial
from services.writer.tables import changes, classifications, decisions
from services.writer.views import CardRow, Clock, RowField
from shared.domain.proposal import Proposal, ProposalKind
from shared.domain.schema import parse_instant, rfc3339
from shared.office import Office, working_between
from shared.policy import Policy

OUTCOMES = {
    "intended": "approved, not yet written",
    "sent": "approved, being written",
    "unknown": "outcome unknown, being read back",
    "applied": "written, read back",
    "failed": "not written",
    "stale": "not written: the record had changed",
    "by_hand": "approved, to be done by hand",
    "done_by_hand": "done by hand, not read back",
    "tried": "tried, read back",
    "not_tried": "not tried",
    "to_try": "approved, not yet tried",
}


TRIAL_ENDS = {"applied": "tried", "failed": "not_tried", "stale": "not_tried"}


def card_rows(db: Connection, rows: Sequence[Row[Any]], now: datetime) -> tuple[CardRow, ...]:
    """Rows of the queue, with what other tables know of them."""
    if not rows:
        return ()
    ids_ = [row.id for row in rows]
    events = [row.event_id for row in rows]
    ends = db.execute(
        select(
            changes.c.proposal_id,
            changes.c.state,
            changes.c.held,
            changes.c.result,
            changes.c.tried_in,
        ).where(changes.c.proposal_id.in_(ids_))
    )
    given = db.execute(
        select(decisions.c.proposal_id, func.count())
        .where(decisions.c.proposal_id.in_(ids_), decisions.c.verdict == "approved")
        .group_by(decisions.c.proposal_id)
    )
    flags = db.execute(
        select(classifications.c.event_id, classifications.c.flags).where(
            classifications.c.event_id.in_(events)
        )
    )
    policy = policy_store.in_force(db).policy
    return _built(
        rows,
        {change.proposal_id: _end_of(change) for change in ends},
        policy,
        dict(given.all()),
        dict(flags.all()),
        _Times(policy.office, switch.stops(db), switch.is_stopped(db), now),
    )


class _Times:
    """What all clocks of one page share."""

    def __init__(
        self, office: Office, stops: tuple[Stop, ...], stopped: bool, now: datetime
    ) -> None:
        self.office, self.stops, self.stopped, self.now = office, stops, stopped, now

    def clock(self, row: Row[Any]) -> Clock:
        end = store.deadline(row, self.office, self.stops, self.now)
        minutes = working_between(self.office, self.now, end)
        words = in_words(self.office, end, self.now)
        text = f"expires {words}" if row.state == "pending" else f"expiry was {words}"
        return Clock(at=end, working_minutes=minutes, text=text, frozen=self.stopped)


def _end_of(change: Any) -> str:
    """The state, and whether a person does it, or did it, in a CRM without an API."""
    if change.tried_in is not None:
        return TRIAL_ENDS.get(change.state, "to_try")
    if change_store.waits_for_word(change):
        return "by_hand"
    is_by_hand = change.state == "applied" and "by" in json.loads(change.result)
    return "done_by_hand" if is_by_hand else str(change.state)


def _built(
    rows: Sequence[Row[Any]],
    states: dict[str, str],
    policy: Policy,
    given: dict[str, int],
    flags: dict[str, str],
    times: _Times,
) -> tuple[CardRow, ...]:
    return tuple(
        _card_row(
            row,
            states.get(row.id),
            policy,
            given.get(row.id, 0),
            tuple(json.loads(flags.get(row.event_id, "[]"))),
            times,
        )
        for row in rows
    )


def _card_row(
    row: Row[Any],
    change: str | None,
    policy: Policy,
    approvals: int,
    flags: tuple[str, ...],
    times: _Times,
) -> CardRow:
    proposal = store.proposal_of(row)
    is_claimed = row.claimed_until is not None and row.claimed_until > rfc3339(times.now)
    return CardRow(
        id=row.id,
        event_id=row.event_id,
        kind=str(proposal.kind),
        record=row.record,
        title=row.title,
        headline=headline_of(proposal),
        fields=tuple(
            RowField(field=f.field, label=label_of(f.field), before=f.before, after=f.after)
            for f in proposal.fields
        ),
        source=row.source,
        maker=row.maker,
        prompt_version=row.prompt_version,
        confidence=min(f.confidence for f in proposal.fields),
        risk=row.risk,
        state=row.state,
        created_at=proposal.created_at,
        clock=times.clock(row),
        assignee=row.assignee,
        claimed_by=row.claimed_by if is_claimed else None,
        approvals=approvals,
        approvals_needed=2 if row.risk == "sensitive" else 1,
        flags=_flags(proposal, flags, is_trial=_is_trial(row, proposal, change, policy)),
        decided_by=row.decided_by,
        decided_at=parse_instant(row.decided_at) if row.decided_at else None,
        outcome="refused by the gate" if row.refused_rule else OUTCOMES.get(change or ""),
    )


def _is_trial(row: Row[Any], proposal: Proposal, change: str | None, policy: Policy) -> bool:
    """Whether it was written to a sandbox, or would be."""
    if change is not None:
        return change in {"to_try", *TRIAL_ENDS.values()}
    return row.state == "pending" and not proposal.promotes and needs_trial(policy, proposal)


def _flags(proposal: Proposal, flags: tuple[str, ...], *, is_trial: bool) -> tuple[str, ...]:
    own = [
        *(["second_round"] if proposal.round > 1 else []),
        *(["undo"] if proposal.undoes else []),
        *(["trial"] if is_trial else []),
        *(["promotion"] if proposal.promotes else []),
        *(["draft"] if proposal.kind is ProposalKind.DRAFT else []),
    ]
    return tuple(dict.fromkeys([*proposal.flags, *flags, *own]))


def label_of(field: str) -> str:
    """A field's name as people write it."""
    return field.replace("_", " ").capitalize()


def headline_of(proposal: Proposal) -> str:
    """What the card asks for, from stored data alone."""
    act = "Promote: " if proposal.promotes else ""
    if proposal.kind is ProposalKind.DRAFT:
        return f"{act}New record: {proposal.title}"
    if proposal.kind.appends:
        return f"Append a {proposal.kind} to {proposal.title}"
    names = ", ".join(label_of(field.field) for field in proposal.fields)
    return f"{act}{'Put back: ' if proposal.undoes else ''}{names} of {proposal.title}"
