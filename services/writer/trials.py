"""The record of a sandbox that stands in for a live one, and how it is made ready for a trial.

Nothing here holds a writer of the live account. What is made carries an id of its own, so that a
second try after a death finds it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import delete, select

from services.writer.case import is_same
from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.deps import WorkerDeps
from services.writer.drafts import ref_of
from services.writer.places import Place
from services.writer.tables import stand_ins
from shared.db import reading, upsert, writing
from shared.domain import ids
from shared.domain.change import Change
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar, rfc3339
from shared.errors import CRMUnavailable, NotFound, Rejected
from shared.faultpoints import reached
from shared.values import phone_key

# What a person is found by, in this order, and what a stand-in is made of: no more is copied.
KEYS: Final = ("email", "phone")
COPIED: Final = ("first_name", "last_name", *KEYS, "company")


def known(change: Change, deps: WorkerDeps) -> RecordRef | None:
    """The stand-in of the change's record, if there is one yet."""
    query = select(stand_ins.c.stand_in).where(
        stand_ins.c.record == str(change.record), stand_ins.c.account == change.account
    )
    with reading(deps.engine) as db:
        text = db.scalar(query)
    return None if text is None else ref_of(text)


def prepared(change: Change, live: Reading, place: Place, deps: WorkerDeps) -> Reading:
    """The stand-in, holding in each field of the change what the approver was shown.

    Raises `Rejected` where there can be none, `OutcomeUnknown` where nobody can say whether it was
    made, `StaleRecord` and `CRMUnavailable`.
    """
    _require_elsewhere(live, place)
    held = _held(change, place, deps)
    if held is None:
        ref = _found(live, place, deps) or _made(live, place, deps)
        _remember(change, ref, deps)
        held = place.read(ref)
    return _set_back(change, held, place)


def _require_elsewhere(live: Reading, place: Place) -> None:
    """The credential of a sandbox may be one of the live account by mistake: its records tell.

    Raises `Rejected`.
    """
    if place.names is not None or live.url is None:
        return  # Another vendor, or one that does not say where a record lies.
    try:
        twin = place.reader.read(replace(live.ref, crm=place.account))
    except Rejected:
        return
    if twin.url == live.url:
        raise Rejected(
            f"{place.account} is {live.ref.crm} itself by another name: nothing is tried"
        )


def _held(change: Change, place: Place, deps: WorkerDeps) -> Reading | None:
    """A sandbox is renewed from time to time: what is gone there is forgotten here."""
    ref = known(change, deps)
    if ref is None:
        return None
    try:
        return place.read(ref)
    except NotFound:
        with writing(deps.engine) as db:
            db.execute(delete(stand_ins).where(stand_ins.c.stand_in == str(ref)))
        return None


def _found(live: Reading, place: Place, deps: WorkerDeps) -> RecordRef | None:
    """The one person there with the same address, or else the same number."""
    names = deps.readers[live.ref.crm].names
    for word in KEYS:
        if text := live.fields.get(names.get(word, "")):
            found = {one.record for one in place.reader.candidates(str(text))}
            people = [ref for ref in found if ref.type == place.type]
            if len(people) == 1:
                return people[0]
    return None


def _made(live: Reading, place: Place, deps: WorkerDeps) -> RecordRef:
    act = ids.derive("change", str(live.ref), place.account, "stand-in")
    names = deps.readers[live.ref.crm].names
    fields: dict[str, Scalar] = {
        word: value
        for word in COPIED
        if word in place.reader.names and (value := live.fields.get(names.get(word, "")))
    }
    if place.names is not None and "phone" in fields:
        # Another vendor may take no other spelling; without a country code it is left out.
        fields["phone"] = phone_key(str(fields["phone"]), None)
    if "last_name" in place.reader.names:
        fields.setdefault("last_name", live.title)
    ref = place.writer.find(act)
    if ref is None:
        ref = place.writer.create(fields, change_id=act)
        reached("trial.made")
    if ref.type != place.type:
        raise Rejected(
            f"{place.account} makes {ref.type} and no {place.type}: make one there by hand with"
            " the same e-mail address"
        )
    return ref


def _remember(change: Change, ref: RecordRef, deps: WorkerDeps) -> None:
    row = {
        "record": str(change.record),
        "account": change.account,
        "stand_in": str(ref),
        "known_at": rfc3339(deps.clock()),
    }
    with writing(deps.engine) as db:
        upsert(db, stand_ins, row, key=["record", "account"])
    reached("trial.remembered")


def _set_back(change: Change, held: Reading, place: Place) -> Reading:
    """An earlier trial, or the making, left other values than those that were shown.

    A value that the sandbox does not take is emptied there, so that the trial is still a write.
    """
    shown = {
        field.name: field.before
        for field in change.fields
        if not is_same(held.fields.get(field.name), field.before)
    }
    if not shown:
        return held
    act = ids.derive("change", change.id, "set-back")
    try:
        try:
            place.update(held.ref, shown, change_id=act, version=held.version)
        except StaleRecord:
            raise
        except Rejected:
            empty = dict.fromkeys(shown)
            place.update(held.ref, empty, change_id=act, version=held.version)
    except OutcomeUnknown as error:
        # Set twice it is set once; what stands there is looked at before the next try.
        raise CRMUnavailable(f"{place.account} was cut off: {error}") from error
    reached("trial.set_back")
    return place.read(held.ref)
