"""One pending proposal per record and field: what came later outside replaces what came earlier."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from services.writer import store
from services.writer.rules import needs_two
from services.writer.store import Origin
from shared.domain import ids
from shared.domain.proposal import Proposal
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.outbox import Unit
from shared.policy import Policy


def lay(unit: Unit, proposal: Proposal, origin: Origin, policy: Policy) -> None:
    """Make a proposal pending; older ones for its fields are superseded, untouched fields return.

    A proposal whose event is older than a waiting one's loses those fields instead, so that
    events in any order end in one state. A repeat of the same proposal does nothing.
    """
    if not store.insert_proposal(unit.db, proposal, origin, risk_of(proposal, policy)):
        return
    names = {field.field for field in proposal.fields}
    held = store.holders(unit.db, store.slot_of(proposal), names)
    newer = {field: row for field, row in held.items() if _is_newer(row, proposal, origin)}
    if newer:
        winner = next(iter(newer.values())).id
        _supersede(unit, proposal, by=winner)
        _lay_rest(unit, proposal, set(newer), winner, origin, policy)
        return
    rows = {row.id: row for row in held.values()}.values()
    older = [(store.proposal_of(row), store.origin_of(row)) for row in rows]
    for one, _ in older:
        _supersede(unit, one, by=proposal.id)
    store.hold_fields(unit.db, proposal)
    for one, its_origin in older:
        _lay_rest(unit, one, names, proposal.id, its_origin, policy)


def risk_of(proposal: Proposal, policy: Policy) -> str:
    """``sensitive`` where a field needs two approvers."""
    names = [field.field for field in proposal.fields]
    return "sensitive" if needs_two(policy, proposal, names) else "normal"


def _is_newer(row: Row[Any], proposal: Proposal, origin: Origin) -> bool:
    return (row.event_at, row.event_id) > (rfc3339(origin.event_at), proposal.event_id)


def _supersede(unit: Unit, proposal: Proposal, *, by: str) -> None:
    store.close(unit.db, proposal.id, "superseded", at=unit.now, superseded_by=by)
    unit.publish(
        Topic.PROPOSAL_SUPERSEDED,
        {"proposal_id": proposal.id, "by": by, "record": proposal.record},
        subject=f"proposal/{proposal.id}",
        chain=proposal.event_id,
    )


def _lay_rest(
    unit: Unit, proposal: Proposal, taken: AbstractSet[str], by: str, origin: Origin, policy: Policy
) -> None:
    """The fields that nobody took come again, in a proposal that links back.

    A note or task is replaced as a whole.
    """
    rest = tuple(field for field in proposal.fields if field.field not in taken)
    if not rest or proposal.kind.appends:
        return
    follower = replace(
        proposal,
        id=ids.derive("proposal", proposal.event_id, str(proposal.record), proposal.id, by),
        fields=rest,
        follows=proposal.id,
    )
    lay(unit, follower, origin, policy)
