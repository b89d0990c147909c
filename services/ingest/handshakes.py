"""A delivery that waits for a person: the address that the sender asked to be opened once."""

from __future__ import annotations

import json

from sqlalchemy import select

from services.ingest.deps import WebDeps
from services.ingest.hook import Hook
from services.ingest.routes import HANDSHAKE
from services.ingest.source import Handshake
from services.ingest.states import source_named
from services.ingest.store import deliveries, refusals, tallies
from shared.db import reading
from shared.domain.schema import parse_instant


def waiting_handshake(deps: WebDeps, source_name: str, name: str) -> Handshake | None:
    """The newest, if nothing was accepted after it and its bytes are still there.

    The source itself says again what it is, so an address of anybody else is never shown.
    """
    asked = (
        select(deliveries)
        .join(refusals, refusals.c.id == deliveries.c.id)
        .where(
            refusals.c.source == source_name,
            refusals.c.endpoint == name,
            refusals.c.reason == HANDSHAKE,
        )
        .order_by(refusals.c.received_at.desc())
        .limit(1)
    )
    with reading(deps.engine) as connection:
        row = connection.execute(asked).mappings().first()
        if row is None or row["content"] is None:
            return None
        after = select(tallies.c.last_at).where(
            tallies.c.source == source_name,
            tallies.c.endpoint == name,
            tallies.c.result == "accepted",
            tallies.c.last_at > row["received_at"],
        )
        if connection.execute(after.limit(1)).first():
            return None
    hook = Hook(
        method=row["method"],
        url=row["url"],
        headers=json.loads(row["headers"]),
        body=row["content"],
        received_at=parse_instant(row["received_at"]),
        options=json.loads(row["options"] or "{}"),
    )
    return source_named(source_name).handshake(hook)
