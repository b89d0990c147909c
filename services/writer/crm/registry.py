"""What the write side of every connector offers, and the registry of writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from services.writer.crm.demo import DemoWriter
from services.writer.crm.hubspot import HubSpotWriter
from services.writer.crm.jobber import JobberWriter
from services.writer.crm.pipedrive import PipedriveWriter
from services.writer.crm.salesforce import SalesforceWriter
from services.writer.crm.servicetitan import ServiceTitanWriter
from shared.crm.accounts import Account
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError


class Writer(Protocol):
    """Updates listed fields, appends notes and tasks, creates people: no delete and no merge.

    Every write raises `Rejected` (`NotFound`, `StaleRecord`) where the CRM refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say.
    """

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
        """Set these fields, named as the CRM names them; ``None`` empties one."""

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note that carries the change id, unless the record has it. Raises `Rejected`
        where the CRM takes none.
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

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new person from our words for their fields; `find` the change before a second try."""

    def find(self, change_id: str) -> RecordRef | None:
        """The record that was made, or marked, by this change. Raises `CRMUnavailable`."""

    def scopes(self) -> tuple[str, ...]:
        """What the credential may do, by the CRM's own word."""


# By vendor: makes the writer of an account.
WRITERS: dict[str, Callable[[Account], Writer]] = {
    "demo": DemoWriter.of,
    "hubspot": HubSpotWriter.of,
    "jobber": JobberWriter.of,
    "pipedrive": PipedriveWriter.of,
    "salesforce": SalesforceWriter.of,
    "servicetitan": ServiceTitanWriter.of,
}


def writer_of(account: Account) -> Writer:
    """Raises `ConfigurationError` for an unknown vendor or a missing option."""
    if account.vendor not in WRITERS:
        known = ", ".join(sorted(WRITERS))
        raise ConfigurationError(f"the CRM account [{account.name}]: vendor is none of {known}")
    return WRITERS[account.vendor](account)
