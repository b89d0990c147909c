"""What the two parts of audit work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from services.audit.checkpoints import Signer
from services.audit.search.index import SearchIndex
from services.audit.vault import Vault
from shared.bus.envelope import Envelope
from shared.outbox import Outbox, Relay, Unit, UnitOfWork
from shared.proof import VerifierKey


@dataclass(frozen=True, kw_only=True)
class LedgerUnits(UnitOfWork):
    """Units whose commit may have moved the ledger: ``ring`` wakes the projection afterwards."""

    ring: Callable[[], None]

    @contextmanager
    def batch(self) -> Iterator[Callable[[Envelope | None], Unit]]:
        with super().batch() as unit_for:
            yield unit_for
        self.ring()


@dataclass(frozen=True, kw_only=True)
class Deps:
    """``ingest`` is the database of ingest, only read, for the balance.

    ``search_months`` is how many months search keeps; 0 keeps all.
    """

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    vault: Vault
    index: SearchIndex
    vkey: VerifierKey
    ingest: Engine | None = None
    search_months: int = 0


@dataclass(frozen=True, kw_only=True)
class WebDeps(Deps):
    """The web part holds no signing key."""


@dataclass(frozen=True, kw_only=True)
class WorkerDeps(Deps):
    """The worker signs checkpoints; ``relay`` is there where it also sends messages."""

    signer: Signer
    relay: Relay | None = None
