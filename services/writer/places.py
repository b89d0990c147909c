"""Where a change is written: its own CRM account, or the sandbox's in the words of the live one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from services.writer.deps import ReadsRecords, WorkerDeps, WritesRecords
from shared.domain.change import Change
from shared.domain.proposal import ProposalKind
from shared.domain.record import DRAFTS, Reading, RecordRef
from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, Rejected


class Linked(Protocol):
    """The accounts of this installation, by name, as the worker and the commands hold them."""

    @property
    def readers(self) -> Mapping[str, ReadsRecords]: ...
    @property
    def writers(self) -> Mapping[str, WritesRecords]: ...
    @property
    def vendors(self) -> Mapping[str, str]: ...
    @property
    def sandboxes(self) -> Mapping[str, str]:
        """By live account the one that stands in for it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Both sides of the account that a change is written to.

    ``type`` is what its records are called there. ``names`` are, by the name that a field has in
    the change, the one that it has there; ``None`` where both are the same.
    """

    account: str
    reader: ReadsRecords
    writer: WritesRecords
    type: str
    names: Mapping[str, str] | None = None

    def read(self, ref: RecordRef) -> Reading:
        """The record, its fields as the change names them. Raises as the reader does."""
        found = self.reader.read(ref)
        if self.names is None:
            return found
        fields = {name: found.fields.get(theirs) for name, theirs in self.names.items()}
        return replace(found, fields=fields)

    def update(
        self, ref: RecordRef, values: Mapping[str, Scalar], *, change_id: str, version: str | None
    ) -> None:
        """Raises as the writer does; ``version`` counts where the CRM knows conditions."""
        self.writer.update(
            ref,
            {self.name_of(name): value for name, value in values.items()},
            change_id=change_id,
            version=version if self.writer.is_conditional else None,
        )

    def append(
        self, kind: ProposalKind, ref: RecordRef, values: Mapping[str, Scalar], *, change_id: str
    ) -> None:
        """Raises as the writer does."""
        if kind is ProposalKind.NOTE:
            self.writer.add_note(ref, str(values["text"]), change_id=change_id)
        else:
            subject, due = str(values["subject"]), values.get("due")
            self.writer.add_task(
                ref, subject, None if due is None else str(due), change_id=change_id
            )

    def appended(
        self, kind: ProposalKind, ref: RecordRef, *, change_id: str
    ) -> Mapping[str, Scalar] | None:
        """What the note or task of this change holds, by the names of its fields. Raises as the
        writer does.
        """
        if kind is ProposalKind.TASK:
            return self.writer.task(ref, change_id=change_id)
        text = self.writer.note(ref, change_id=change_id)
        return None if text is None else {"text": text}

    def name_of(self, name: str) -> str:
        """Raises `Rejected` for a field that nothing stands for there."""
        if self.names is None:
            return name
        if name not in self.names:
            raise Rejected(f"{self.account} has no field that stands for {name}")
        return self.names[name]


def place_of(change: Change, deps: WorkerDeps) -> Place:
    """Raises `CRMUnavailable` for an account that is not set up, `Rejected` as `rehearsal` does."""
    crm, type_ = change.record.crm, change.object
    if change.is_trial:
        return rehearsal(crm, type_, change.account, deps)
    reader, writer = deps.readers[crm], deps.writers[crm]
    return Place(account=crm, reader=reader, writer=writer, type=change.record.type)


def rehearsal(crm: str, type_: str, account: str, linked: Linked) -> Place:
    """Where records of this type are tried. Raises `Rejected` where nothing stands in for them,
    `CRMUnavailable` where no account here writes to it.
    """
    live, reader = linked.readers[crm], linked.readers[account]
    if type_ not in {live.people, DRAFTS}:
        raise Rejected(f"{account} has nothing that stands in for {type_}: only people are tried")
    ours = {word: word for word in reader.names} if type_ == DRAFTS else live.names
    names = {name: reader.names[word] for word, name in ours.items() if word in reader.names}
    is_alike = linked.vendors[crm] == linked.vendors[account] and type_ != DRAFTS
    return Place(
        account=account,
        reader=reader,
        writer=linked.writers[account],
        type=reader.people,
        names=None if is_alike else names,
    )


def why_not_tried(crm: str, type_: str, field: str, linked: Linked) -> str | None:
    """Why this field cannot be tried anywhere; ``None``: it can."""
    account = linked.sandboxes.get(crm)
    if account is None:
        return f'at stage sandbox, but no account has sandbox_of = "{crm}"'
    try:
        rehearsal(crm, type_, account, linked).name_of(field)
    except (CRMUnavailable, Rejected) as error:
        return str(error)
    return None
