"""The calls to a CRM that one try of a change makes, and how each of them may end."""

from __future__ import annotations

from functools import partial

import structlog

from services.writer import outcomes, trials
from services.writer.case import is_same
from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.deps import WorkerDeps
from services.writer.outcomes import Attempt
from services.writer.places import place_of
from shared.domain.change import Change
from shared.domain.proposal import ProposalKind
from shared.domain.record import Reading, RecordRef
from shared.errors import CRMUnavailable, NotFound, Rejected
from shared.faultpoints import reached
from shared.service import Effect

log = structlog.get_logger()


def read(attempt: Attempt, record: RecordRef, deps: WorkerDeps) -> Reading | Effect:
    try:
        return deps.readers[record.crm].read(record)
    except Rejected as error:
        return partial(outcomes.failed, attempt=attempt, rule="record-gone", detail=str(error))


def prepared(attempt: Attempt, live: Reading, deps: WorkerDeps) -> Reading | Effect:
    """The record that the trial will be written to. Raises `StaleRecord`."""
    try:
        place = place_of(attempt.change, deps)
        return trials.prepared(attempt.change, live, place, deps)
    except OutcomeUnknown as error:
        return partial(outcomes.unknown, attempt=attempt, detail=str(error))
    except StaleRecord:
        raise
    except Rejected as error:
        return partial(outcomes.failed, attempt=attempt, rule="crm-refused", detail=str(error))


def update(attempt: Attempt, held: Reading, deps: WorkerDeps) -> Effect:
    """Write the record that was read: the live one, or its stand-in."""
    change = attempt.change
    values = {field.name: field.after for field in change.fields}
    try:
        place = place_of(change, deps)
        place.update(held.ref, values, change_id=change.id, version=held.version)
    except OutcomeUnknown as error:
        reached("apply.unknown")
        return _after_cut(attempt, str(error), deps)
    except StaleRecord:
        raise
    except Rejected as error:
        # A field may be gone, or take other values by now; the next examination sees it.
        deps.readers[held.ref.crm].doubt_fields(held.ref.type)
        return partial(outcomes.failed, attempt=attempt, rule="crm-refused", detail=str(error))
    reached("apply.written")
    return _confirm(attempt, held.ref, deps)


def append(attempt: Attempt, deps: WorkerDeps) -> Effect:
    """A note or task on the record that was read; the writer adds none that is there already."""
    change = attempt.change
    values = {field.name: field.after for field in change.fields}
    try:
        place = place_of(change, deps)
        place.append(change.kind, change.record, values, change_id=change.id)
    except OutcomeUnknown as error:
        reached("apply.unknown")
        return _after_cut(attempt, str(error), deps)
    except Rejected as error:
        return partial(outcomes.failed, attempt=attempt, rule="crm-refused", detail=str(error))
    reached("apply.written")
    return _confirm(attempt, change.record, deps)


def create(attempt: Attempt, deps: WorkerDeps) -> Effect:
    """Looked up by our change id before it is made, so that a retry makes no second.

    A draft waits to be promoted; a trial makes the person in the sandbox at once.
    """
    change = attempt.change
    writer = deps.writers[change.account]
    found = writer.find(change.id)
    if found is None:
        reached("apply.before_create")
        values = {field.name: field.after for field in change.fields}
        try:
            if change.is_trial:
                found = writer.create(values, change_id=change.id)
            else:
                found = writer.create_draft(change.record, values, change_id=change.id)
        except OutcomeUnknown as error:
            return _after_cut(attempt, str(error), deps)
        except Rejected as error:
            return partial(outcomes.failed, attempt=attempt, rule="crm-refused", detail=str(error))
        reached("apply.created")
    return _confirm(attempt, found, deps)


def _confirm(attempt: Attempt, record: RecordRef, deps: WorkerDeps) -> Effect:
    """Step 10 after a write that the CRM confirmed."""
    change = attempt.change
    try:
        if change.kind.appends:
            live = _appended(change, deps)
        else:
            live = place_of(change, deps).read(record)
    except (CRMUnavailable, Rejected) as error:
        detail = f"written, but not read back: {error}"
        return partial(outcomes.unknown, attempt=attempt, detail=detail)
    if live is None:
        detail = f"written, but the CRM shows no such {change.kind} yet"
        return partial(outcomes.unknown, attempt=attempt, detail=detail)
    reached("apply.read_back")
    return partial(outcomes.applied, attempt=attempt, live=live)


def _appended(change: Change, deps: WorkerDeps) -> Reading | None:
    """The note or task that carries the change id, its fields as the change names them."""
    try:
        found = place_of(change, deps).appended(change.kind, change.record, change_id=change.id)
    except NotFound:
        return None  # It went with its record.
    if found is None:
        return None
    at = deps.clock()
    return Reading(ref=change.record, title="", fields=found, version=None, read_at=at)


def _after_cut(attempt: Attempt, detail: str, deps: WorkerDeps) -> Effect:
    """Look at once; an effect that cannot be seen yet may still arrive."""
    try:
        if (live := found(attempt, deps, is_ready=True)) is not None:
            return partial(outcomes.applied, attempt=attempt, live=live)
    except (CRMUnavailable, OutcomeUnknown, Rejected) as error:
        log.warning("no answer after a cut call", change=attempt.change.id, error=str(error))
    return partial(outcomes.unknown, attempt=attempt, detail=detail)


def found(attempt: Attempt, deps: WorkerDeps, *, is_ready: bool = False) -> Reading | None:
    """The record as it is, where it shows that this change has had its effect.

    A CRM that keeps no mark of ours with an update tells it by holding every value that was sent.
    A stand-in may hold them from an earlier trial, unless it ``is_ready`` for this one. Raises
    `CRMUnavailable`.
    """
    change = attempt.change
    if change.kind.appends:
        return _appended(change, deps)
    place = place_of(change, deps)
    if change.kind is ProposalKind.DRAFT or place.writer.marks_updates:
        record = place.writer.find(change.id)
        return None if record is None else place.read(record)
    if change.is_trial and not is_ready:
        return None
    written = trials.known(change, deps) if change.is_trial else change.record
    if written is None:
        return None
    live = place.read(written)
    holds = all(is_same(live.fields.get(field.name), field.after) for field in change.fields)
    return live if holds else None
