"""New proposals made from stored ones: another reading, another record, the old value back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from services.writer import change_store, store
from services.writer.case import held, is_same
from shared.domain import ids
from shared.domain.change import Change, FieldWrite
from shared.domain.proposal import FieldChange, Maker, Proposal, ProposalKind, object_of
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar
from shared.errors import Conflict
from shared.office import add_working
from shared.policy import Policy


def expiry(
    policy: Policy,
    record: RecordRef,
    fields: Iterable[str],
    now: datetime,
    kind: ProposalKind = ProposalKind.UPDATE,
) -> datetime:
    """The earliest of the fields' expiries, in working hours from now."""
    rules = [policy.rule(record.crm, object_of(kind, record), name) for name in fields]
    hours = min((rule.expiry_hours for rule in rules if rule is not None), default=1)
    return add_working(policy.office, now, hours * 60)


def again_from(proposal: Proposal, live: Reading, now: datetime, policy: Policy) -> Proposal | None:
    """The same values over what the record holds now; ``None`` where nothing would change.

    The reading may be of another record than the proposal's: then it is proposed there.
    """
    kind = proposal.kind if proposal.kind.appends else ProposalKind.UPDATE
    fields = tuple(
        replace(field, before=held(kind, live, field.field))
        for field in proposal.fields
        if not is_same(held(kind, live, field.field), field.after)
    )
    if not fields:
        return None
    return replace(
        proposal,
        id=ids.derive("proposal", proposal.event_id, str(live.ref), "again", proposal.id),
        kind=kind,
        record=live.ref,
        title=live.title,
        fields=fields,
        policy=policy.version,
        created_at=now,
        expires_at=expiry(policy, live.ref, [field.field for field in fields], now, kind),
        record_version=live.version,
        follows=proposal.id,
        # A trial was one of its own record.
        promotes=proposal.promotes if live.ref == proposal.record else None,
    )


def promotion_of(tried: Proposal, change: Change, now: datetime, policy: Policy) -> Proposal:
    """What was approved, tried and read back, proposed for the live record."""
    proposed = {field.field: field for field in tried.fields}
    return replace(
        tried,
        id=ids.derive("proposal", change.id, "promotion"),
        fields=tuple(_as_tried(proposed[write.name], write) for write in change.fields),
        policy=policy.version,
        created_at=now,
        expires_at=expiry(policy, tried.record, [write.name for write in change.fields], now),
        follows=tried.id,
        promotes=change.id,
    )


def _as_tried(field: FieldChange, write: FieldWrite) -> FieldChange:
    """A value that the approver edited has no evidence in the event."""
    if is_same(field.after, write.after):
        return replace(field, before=write.before)
    return FieldChange(field=field.field, before=write.before, after=write.after, confidence=1000)


def by_person(
    proposal: Proposal, values: Mapping[str, Scalar], person: str, now: datetime, policy: Policy
) -> Proposal:
    """The proposal with a person's own values: they are its proposer from now on."""
    fields = tuple(
        field
        if is_same(values.get(field.field, field.after), field.after)
        else replace(field, after=values[field.field], evidence=None, confidence=1000)
        for field in proposal.fields
        if field.field in values
    )
    return replace(
        proposal,
        id=ids.derive("proposal", proposal.event_id, proposal.id, "edited", ids.fresh()),
        fields=fields,
        maker=_person(person),
        policy=policy.version,
        created_at=now,
        expires_at=expiry(policy, proposal.record, values, now, proposal.kind),
        follows=proposal.id,
        promotes=None,
    )


def undo_of(
    db: Connection,
    change: Row[Any],
    live: Reading,
    new_id: str,
    person: str,
    now: datetime,
    policy: Policy,
) -> Proposal:
    """The old values back, for the fields that still hold what we wrote.

    Raises `Conflict` saying why there is nothing to put back: later edits by people win.
    """
    if reason := why_not_undone(change):
        raise Conflict(reason)
    source = store.proposal_of(store.row_of(db, change.proposal_id))
    fields = tuple(
        FieldChange(
            field=written["name"],
            before=written["after"],
            after=written["before"],
            confidence=1000,
        )
        for written in change_store.body_of(change)["fields"]
        if is_same(live.fields.get(written["name"]), written["after"])
    )
    if not fields:
        raise Conflict("Somebody has changed this in the CRM since; that later value stays.")
    return _made_by(person, source, new_id, fields, live, now, policy, undoes=change.id)


def why_not_undone(change: Row[Any]) -> str | None:
    """Why the old value cannot be proposed back; ``None``: it can."""
    if change.state != "applied":
        return "Nothing was written, so there is nothing to put back."
    if change.tried_in is not None:
        return f"This was a trial in {change.tried_in}: the live record is as it was."
    if change.undone_by is not None:
        return "The old value has been put back already."
    kind = ProposalKind(change_store.body_of(change)["kind"])
    if kind is ProposalKind.DRAFT:
        return "This made a draft: discard the draft instead."
    if kind.appends:
        return f"A {kind} replaced nothing, and none is ever deleted by us: a person does, there."
    return None


def correction_of(
    request_id: str,
    chain: str,
    values: Mapping[str, Scalar],
    live: Reading,
    person: str,
    now: datetime,
    policy: Policy,
) -> Proposal | None:
    """What a person asks to be corrected, as a proposal for an approver."""
    fields = tuple(
        FieldChange(field=name, before=live.fields.get(name), after=value, confidence=1000)
        for name, value in sorted(values.items())
        if not is_same(live.fields.get(name), value)
    )
    if not fields:
        return None
    return Proposal(
        id=ids.derive("proposal", "repair", request_id),
        event_id=chain,
        kind=ProposalKind.UPDATE,
        record=live.ref,
        title=live.title,
        fields=fields,
        maker=_person(person),
        policy=policy.version,
        source_sha256="",
        created_at=now,
        expires_at=expiry(policy, live.ref, values, now),
        record_version=live.version,
    )


def _made_by(
    person: str,
    source: Proposal,
    new_id: str,
    fields: tuple[FieldChange, ...],
    live: Reading,
    now: datetime,
    policy: Policy,
    *,
    undoes: str,
) -> Proposal:
    return replace(
        source,
        id=new_id,
        kind=ProposalKind.UPDATE,
        record=live.ref,
        title=live.title,
        fields=fields,
        maker=_person(person),
        policy=policy.version,
        created_at=now,
        expires_at=expiry(policy, live.ref, [field.field for field in fields], now),
        record_version=live.version,
        follows=None,
        undoes=undoes,
        promotes=None,
        flags=(),
    )


def _person(person: str) -> Maker:
    return Maker(kind="person", name=person, version="1")
