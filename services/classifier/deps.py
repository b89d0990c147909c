"""What the handlers get, and the policy file that is read again when it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Engine

from services.classifier.asked_once import asked_once
from services.classifier.model import Model
from shared.crm import Reader
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError
from shared.outbox import Outbox, Relay, UnitOfWork
from shared.policy import Policy, load_policy

log = structlog.get_logger()


class PolicyFile:
    """The policy of a file, looked at anew for each batch. Raises `ConfigurationError` at first.

    A later fault keeps the last valid version: the writer stops writing then, intake goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._policy = load_policy(path)
        self._seen = self._stamp()

    def __call__(self) -> Policy:
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._policy = load_policy(self._path)
            except ConfigurationError as error:
                log.warning("the policy file is not valid, the last one stays", error=str(error))
        return self._policy

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


@dataclass(frozen=True, kw_only=True)
class WorkerDeps:
    """``readers`` are by CRM; the first is asked about whoever writes to us.

    ``model`` is ``None`` where only the rules answer. ``canary`` is new in every process.

    ``prefetch`` is how many messages are handled in one commit: one where a model is asked.
    """

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    readers: Mapping[str, Reader]
    policy: Callable[[], Policy]
    relay: Relay
    model: Model | None = None
    canary: str = ""
    prefetch: int = 20

    def reader_of(self, record: RecordRef | None) -> Reader:
        """The reader of the record's CRM; of no record, or of a CRM we do not read, the first."""
        first = next(iter(self.readers.values()))
        return first if record is None else self.readers.get(record.crm, first)

    def for_batch(self) -> WorkerDeps:
        """What the handlers of one batch get: one policy, and a CRM is asked the same only once."""
        policy = self.policy()
        readers = {crm: asked_once(reader) for crm, reader in self.readers.items()}
        return replace(self, readers=readers, policy=lambda: policy)
