"""What the writer's handlers and acts need, handed in by `service.py` or by a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Engine

from services.writer.facts import Sources
from services.writer.signing import Signer
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.domain.classification import Candidate
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable
from shared.notifications.telling import Telling
from shared.outbox import Outbox, Relay, UnitOfWork
from shared.people_file import Account

T = TypeVar("T")


class ByCrm(dict[str, T]):
    """Connectors by the name of their account.

    One that is not set up here, or not any more, is as unreachable as a CRM that is down: asking
    for it raises `CRMUnavailable`, so that what needs it waits.
    """

    def __missing__(self, crm: str) -> T:
        raise CRMUnavailable(f"no account of this installation reaches the CRM {crm}")


class ReadsRecords(Protocol):
    """The read side of a connector, as the writer uses it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this CRM can guarantee."""

    @property
    def problem(self) -> str | None:
        """What the CRM says of the way in which it is asked, where that needs care."""

    @property
    def people(self) -> str:
        """The object type whose records are people."""

    @property
    def object_types(self) -> tuple[str, ...]:
        """The object types whose records can be read, people first."""

    @property
    def names(self) -> Mapping[str, str]:
        """Our word for a person's field → the CRM's own name of it."""

    def scopes(self) -> Sequence[str]:
        """What the credential may do. Raises `CRMUnavailable`."""

    def read(self, ref: RecordRef) -> Reading:
        """Raises `NotFound`, `Rejected` or `CRMUnavailable`."""

    def sample(self, object_type: str, limit: int) -> Sequence[Reading]:
        """Records that changed last. Raises `Rejected` (no list) or `CRMUnavailable`."""

    def candidates(self, text: str) -> Sequence[Candidate]:
        """Records by e-mail, phone or number. Raises `CRMUnavailable`."""

    def duplicates(self, fields: Mapping[str, Scalar]) -> Sequence[Candidate]:
        """Records that a new one with these fields might repeat. Raises `CRMUnavailable`."""

    def fields(self, object_type: str) -> Mapping[str, FieldMeta]:
        """The fields of an object type. Raises `CRMUnavailable`."""

    def doubt_fields(self, object_type: str) -> None:
        """Something hints that they changed: what is kept of them is asked for anew."""

    def field_changes(self, ref: RecordRef) -> Sequence[CrmChange]:
        """Who changed which field, the newest first. Raises `CRMUnavailable`."""


class WritesRecords(Protocol):
    """The write side of a connector: no delete and no merge."""

    def scopes(self) -> Sequence[str]:
        """What the credential may do. Raises `CRMUnavailable`."""

    @property
    def problem(self) -> str | None:
        """What the CRM says of the way in which it is asked, where that needs care."""

    @property
    def is_conditional(self) -> bool:
        """Whether ``version`` makes the CRM itself refuse a stale write."""

    @property
    def marks_updates(self) -> bool:
        """Whether `find` knows an update by its change id; else what the record holds tells."""

    def update(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str, version: str | None
    ) -> None:
        """Raises `Rejected`, `StaleRecord`, `OutcomeUnknown`, or `CRMUnavailable` (not sent)."""

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note that carries the change id, unless the record has it. Raises as `update`,
        `Rejected` where the CRM takes none.
        """

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change. Raises `CRMUnavailable` or `Rejected`."""

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """As `add_note`; ``due`` is a day such as 2026-11-30."""

    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task of this change. Raises as `note`."""

    def task_setup(self) -> str | None:
        """What the account gives every task, in words; ``None`` where nothing is to be set.

        Asks the CRM. Raises `Rejected` naming each option that is missing or wrong,
        `CRMUnavailable`.
        """

    def create_draft(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str
    ) -> RecordRef:
        """Where the draft lies. Raises as `update`."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new person from our words; `find` the change before a second try. As `update`."""

    def find(self, change_id: str) -> RecordRef | None:
        """The record that this change has touched. Raises `CRMUnavailable`."""

    def promote(self, draft: RecordRef, *, change_id: str) -> RecordRef:
        """The live record that the draft became, made once per change id. Raises as `update`."""

    def discard(self, draft: RecordRef, *, change_id: str) -> None:
        """Raises as `update`."""


@dataclass(frozen=True, kw_only=True)
class WebDeps:
    """``readers`` are by CRM and answer within 2 s or not at all. There is no write side here.

    ``sandboxes`` names, by live account, the one that stands in for it.
    """

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    people: Callable[[], Sequence[Account]]
    readers: Mapping[str, ReadsRecords]
    signer: Signer
    sandboxes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WorkerDeps:
    """``vendors`` names the vendor of each CRM.

    ``by_hand`` names the CRMs without an API, whose records a person changes.

    ``settle_after`` is how long an unfinished write is left alone before it is read back.
    """

    engine: Engine
    outbox: Outbox
    unit_of_work: UnitOfWork
    clock: Callable[[], datetime]
    sources: Sources
    readers: Mapping[str, ReadsRecords]
    writers: Mapping[str, WritesRecords]
    policy_file: Path
    vendors: Mapping[str, str] = field(default_factory=dict)
    by_hand: frozenset[str] = frozenset()
    settle_after: timedelta = timedelta(minutes=2)
    relay: Relay | None = None
    telling: Telling | None = None

    @property
    def sandboxes(self) -> Mapping[str, str]:
        """By live account the one that stands in for it."""
        return self.sources.sandboxes
