"""What became of an approval, in words: on its way, written and read back, or why not."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, select

from services.writer import change_store, rules
from services.writer.reproposing import why_not_undone
from services.writer.rows import label_of
from services.writer.tables import changes, corrections, proposals
from services.writer.views_of_changes import ChangeView, TrialView, TriedField, WriteLine
from shared.domain import ids
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, parse_instant

TRIALS = {
    "intended": "Approved, not yet tried in {}",
    "sent": "Approved, being tried in {}",
    "unknown": "How the trial in {} ended is unknown: it is being read back",
    "applied": "Tried in {} and read back",
    "failed": "Not tried in {}: nothing was written",
    "stale": "Not tried in {}: somebody changed the record first",
}
HEADLINES = {
    "intended": "Approved, not yet written",
    "sent": "Approved, being written",
    "unknown": "Outcome unknown: it is being read back",
    "applied": "Written and read back",
    "failed": "Not written",
    "stale": "Not written: somebody changed the record first",
}


def change_view(db: Connection, proposal: Row[Any]) -> ChangeView | None:
    """The latest change of a card; one that the gate refused has no row of its own."""
    rows = change_store.changes_of(db, proposal.id)
    if rows:
        return _view(db, rows[-1])
    if proposal.refused_rule is None:
        return None
    return ChangeView(
        id=ids.derive("refused", proposal.id),
        proposal_id=proposal.id,
        record=proposal.record,
        state="failed",
        headline=HEADLINES["failed"],
        advice=rules.advice(proposal.refused_rule),
        rule=proposal.refused_rule,
        detail=proposal.refused_detail,
        held=None,
        attempts=0,
        fields=(),
        waits_for_word=False,
        done_by=None,
        done_at=None,
        intended_at=parse_instant(proposal.decided_at),
        sent_at=None,
        read_at=None,
        matches=None,
        receipt_seq=None,
        undo=why_not(None),
        undone_by=None,
    )


def why_not(row: Row[Any] | None) -> str | None:
    return "Nothing was written." if row is None else why_not_undone(row)


def _view(db: Connection, row: Row[Any]) -> ChangeView:
    result = json.loads(row.result) if row.result else {}
    is_over = row.state in {"failed", "stale"}
    matches = result.get("matches")
    stand_in = result.get("record") if row.tried_in else None
    return ChangeView(
        id=row.id,
        proposal_id=row.proposal_id,
        record=row.record,
        state=row.state,
        headline=_headline(row, result),
        advice=rules.advice(row.rule) if is_over and row.rule else None,
        rule=row.rule,
        detail=row.detail,
        held=row.held,
        attempts=row.attempts,
        fields=_lines(db, row, result),
        waits_for_word=change_store.waits_for_word(row),
        done_by=result.get("by"),
        done_at=parse_instant(result["at"]) if "at" in result else None,
        intended_at=parse_instant(row.intended_at),
        sent_at=parse_instant(row.sent_at) if row.sent_at else None,
        read_at=parse_instant(result["read_at"]) if "read_at" in result else None,
        matches=matches,
        receipt_seq=row.receipt_seq,
        undo=why_not(row),
        undone_by=_undo_card(db, row.id),
        tried_in=row.tried_in,
        stand_in=str(RecordRef(**stand_in)) if stand_in else None,
        url=result.get("url"),
        promotion=_promotion_card(db, row.id) if row.tried_in else None,
    )


def _headline(row: Row[Any], result: dict[str, Any]) -> str:
    if change_store.waits_for_word(row):
        return "Approved, to be done by hand"
    if "by" in result:
        return "Done by hand, not read back"
    is_altered = result.get("matches") is False
    if row.tried_in is not None:
        altered = "Tried in {}, but it holds another value"
        return (altered if is_altered else TRIALS[row.state]).format(row.tried_in)
    return "Written, but the CRM holds another value" if is_altered else HEADLINES[row.state]


def trial_view(db: Connection, change_id: str) -> TrialView | None:
    """How this trial looked; ``None`` where there was none, or it was not read back."""
    row = db.execute(select(changes).where(changes.c.id == change_id)).first()
    if row is None or row.tried_in is None or row.state != "applied":
        return None
    result = json.loads(row.result)
    return TrialView(
        account=row.tried_in,
        stand_in=str(RecordRef(**result["record"])),
        url=result["url"],
        read_at=parse_instant(result["read_at"]),
        proposal_id=row.proposal_id,
        fields=tuple(
            TriedField(field=field["name"], label=label_of(field["name"]), value=field["read_back"])
            for field in result["fields"]
        ),
    )


def _lines(db: Connection, row: Row[Any], result: dict[str, Any]) -> tuple[WriteLine, ...]:
    read = {
        field["name"]: field.get("read_back", field.get("now"))
        for field in result.get("fields", [])
    }
    query = select(corrections).where(corrections.c.change_id == row.id)
    corrected: dict[str, Scalar] = {one.field: json.loads(one.value) for one in db.execute(query)}
    return tuple(
        WriteLine(
            field=field["name"],
            before=field["before"],
            after=field["after"],
            read_back=read.get(field["name"]),
            corrected_to=corrected.get(field["name"]),
            is_corrected=field["name"] in corrected,
        )
        for field in change_store.body_of(row)["fields"]
    )


def _promotion_card(db: Connection, trial: str) -> str | None:
    """The newest card that asks whether to promote this trial."""
    query = select(proposals.c.id).where(proposals.c.promotes == trial)
    found: str | None = db.scalar(query.order_by(proposals.c.created_at.desc(), proposals.c.id))
    return found


def _undo_card(db: Connection, change_id: str) -> str | None:
    """The card that puts the old value back, unless it ended without doing so."""
    query = select(proposals.c.id).where(
        proposals.c.undoes == change_id, proposals.c.state.in_(("pending", "approved"))
    )
    found: str | None = db.scalar(query.order_by(proposals.c.created_at.desc()))
    return found
