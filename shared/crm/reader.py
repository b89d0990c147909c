"""What the read side of every connector offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar

# The largest sample: what every vendor gives in a few pages.
MOST_SAMPLED: Final = 200


class Reader(Protocol):
    """Reads with a credential that cannot write.

    Every method raises `NotFound` where there is no such record, `Rejected` where the CRM refuses
    the question or the token, and `CRMUnavailable` where it is down, too slow or asks us to wait.
    """

    @property
    def crm(self) -> str:
        """The name of the account, as it stands in record references."""

    @property
    def capabilities(self) -> Capabilities:
        """What this CRM can guarantee."""

    @property
    def people(self) -> str:
        """The object type whose records are people: ``contacts``, ``persons``, ``clients``."""

    @property
    def object_types(self) -> tuple[str, ...]:
        """The object types whose records can be read, people first."""

    @property
    def problem(self) -> str | None:
        """What the CRM says of the way in which it is asked, where that needs care."""

    @property
    def names(self) -> Mapping[str, str]:
        """Our word for a person's field (`COMMON_FIELDS`) → the CRM's own name of it."""

    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history. Fields have the CRM's own names."""

    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes, calls, mails, deals and changes in words, the newest first."""

    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """At most ``limit`` records (1 to `MOST_SAMPLED`), what changed last first where the CRM
        sorts so.

        A reading holds the fields that the CRM's list brings along. Raises `Rejected` also where
        there is no list.
        """

    def field_changes(self, ref: RecordRef) -> Sequence[CrmChange]:
        """Who changed which field, the newest first; empty where the CRM keeps no such history."""

    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,
    ) -> list[Reading]:
        """Every record found by the first of these that finds any, in this order.

        A record that is no person names its person's id in the field ``contact_id``.
        """

    def candidates(self, text: str) -> list[Candidate]:
        """Records by an e-mail address, phone, or number that a person typed."""

    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name, each with its class."""

    def doubt_fields(self, object_type: str) -> None:
        """Something hints that the fields changed: what is kept of them is asked for anew."""

    def stages(self) -> dict[str, dict[str, str]]:
        """Per object type the stages in their order, from id to label."""

    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Records that a new person with these fields (our words) might repeat, and why."""

    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Everything our integration user did at or after ``since``, the oldest first."""

    def scopes(self) -> tuple[str, ...]:
        """What the credential may do, by the CRM's own word."""


# The words in which rules and forms speak of a person.
COMMON_FIELDS = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "job_title",
    "company",
    "address",
    "city",
    "postal_code",
    "preferred_channel",
)
