"""A person was erased: the bytes in which they came go, their hashes stay."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from services.ingest.deps import WorkerDeps
from services.ingest.raw import RawFiles
from services.ingest.store import accepted, deliveries, raw_files
from shared.bus.envelope import Envelope
from shared.db import cut_log, writing
from shared.service import Effect, do_nothing


def forget(envelope: Envelope, deps: WorkerDeps) -> Effect:
    """``person.erased``: a request that holds several happenings goes whole."""
    chains = envelope.noun()["chains"]
    with writing(deps.engine) as db:
        _forget_files(db, deps.files, _blank(db, chains))
        deps.outbox.forget(db, chains)
    cut_log(deps.engine)
    return do_nothing


def _blank(db: Connection, chains: Sequence[str]) -> set[str]:
    """Empty the rows, so that a repeat is still known by its id; returns hashes of their bytes."""
    of_chains = accepted.c.id.in_(chains)
    found = set(db.scalars(select(accepted.c.delivery_id).where(of_chains)))
    hashes = set(db.scalars(select(deliveries.c.raw_sha256).where(deliveries.c.id.in_(found))))
    blank = {"url": "", "headers": "{}", "content": None, "is_expired": 1}
    db.execute(update(deliveries).where(deliveries.c.id.in_(found)).values(**blank))
    db.execute(update(accepted).where(of_chains).values(dedup_key=""))
    return hashes


def _forget_files(db: Connection, files: RawFiles, hashes: set[str]) -> None:
    """Equal bytes are equal content: whoever else sent them sent this person's data."""
    for sha256 in hashes:
        files.remove(sha256)
    db.execute(delete(raw_files).where(raw_files.c.sha256.in_(hashes)))
