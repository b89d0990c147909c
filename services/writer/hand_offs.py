"""New people that were handed over to a CRM without an API, until somebody says how it ended.

``begun``: about to be handed over, or cut off while it was; ``handed``: it was; ``done`` and
``failed``: what a person, or the signed call-back, said. Only what failed may be begun again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from services.writer.tables import hand_offs
from shared.db import insert_new
from shared.domain import ids
from shared.domain.schema import parse_instant, rfc3339

# The states that a word of a person or of the call-back may end.
OPEN: Final = ("begun", "handed")


@dataclass(frozen=True, kw_only=True)
class HandOffView:
    """A new person handed over to a CRM without an API: by hand, hook or mail.

    ``state`` is begun (it may or may not have arrived), handed, done or failed.
    """

    way: str
    state: str
    begun_at: datetime
    settled_by: str | None
    settled_at: datetime | None


def act_of(change_id: str) -> str:
    """The id under which the draft of this change is handed over."""
    return ids.derive("change", change_id, "promoting")


def begin(db: Connection, id_: str, crm: str, way: str, at: datetime) -> bool:
    """Say that it is about to be handed over. False: it was, or may have been, before."""
    row = {"id": id_, "crm": crm, "way": way, "state": "begun", "begun_at": rfc3339(at)}
    if insert_new(db, hand_offs, [row]):
        return True
    statement = (
        update(hand_offs)
        .where(hand_offs.c.id == id_, hand_offs.c.state == "failed")
        .values(state="begun", begun_at=rfc3339(at), settled_by=None, settled_at=None)
    )
    return db.execute(statement).rowcount == 1


def move(
    db: Connection, id_: str, old: Sequence[str], new: str, at: datetime, by: str | None = None
) -> bool:
    """Compare-and-set of the state. False: it is in none of the old ones."""
    statement = (
        update(hand_offs)
        .where(hand_offs.c.id == id_, hand_offs.c.state.in_(old))
        .values(state=new, settled_by=by, settled_at=rfc3339(at) if by else None)
    )
    return db.execute(statement).rowcount == 1


def row_of(db: Connection, id_: str) -> Row[Any] | None:
    return db.execute(select(hand_offs).where(hand_offs.c.id == id_)).first()


def is_cut_off(db: Connection, id_: str) -> bool:
    """Begun, and nobody knows whether it arrived: a person has to say so."""
    row = row_of(db, id_)
    return row is not None and row.state == "begun"


def view_of(db: Connection, change_id: str) -> HandOffView | None:
    """How the draft of this change was handed over; ``None``: it was not."""
    row = row_of(db, act_of(change_id))
    if row is None:
        return None
    return HandOffView(
        way=row.way,
        state=row.state,
        begun_at=parse_instant(row.begun_at),
        settled_by=row.settled_by,
        settled_at=parse_instant(row.settled_at) if row.settled_at else None,
    )
