"""CRMs without an API: read is only what the customer exports, and a person or a flow writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Final, Self

from shared.crm.accounts import Account
from shared.crm.duplicates import likely_duplicates, phone_key
from shared.crm.finding import as_candidates
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.reader import COMMON_FIELDS, MOST_SAMPLED
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now
from shared.errors import ConfigurationError, NotFound, Rejected

VENDOR: Final = "handoff"
PEOPLE: Final = "people"
_ID: Final = "id"


class HandOffReader:
    """People of an export with the columns ``id`` and any of `COMMON_FIELDS`; without one, nobody.

    Nothing here is live: whoever changes a record by hand compares it with the old value shown.
    """

    people = PEOPLE
    object_types = (PEOPLE,)
    problem: ClassVar[str | None] = None
    names: ClassVar[Mapping[str, str]] = {name: name for name in COMMON_FIELDS}
    capabilities: ClassVar[Capabilities] = Capabilities(
        apply_by_hand=True,
    )

    def __init__(self, account: Account, *, clock: Callable[[], datetime] = now) -> None:
        self.crm = account.name
        self._clock = clock
        self._rows = _rows(account)

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:  # noqa: ARG003 - readers are made alike.
        return cls(account)

    def read(self, ref: RecordRef) -> Reading:
        """What the export says. Raises `NotFound`."""
        if ref.crm != self.crm or ref.type != PEOPLE or ref.id not in self._rows:
            raise NotFound("this record is in no export: the CRM itself cannot be read")
        return self._reading(ref.id, self._rows[ref.id])

    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:  # noqa: ARG002 - there is none to take from.
        """Raises `Rejected`: an export says nothing of what people keep in the CRM itself."""
        raise Rejected("a CRM without an API has no list of records that could be sampled")

    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:  # noqa: ARG002 - an export has none.
        return ()

    def field_changes(self, ref: RecordRef) -> list[CrmChange]:  # noqa: ARG002 - as above.
        return []

    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        order_number: str | None = None,  # noqa: ARG002 - an export of people has none.
    ) -> list[Reading]:
        """The people with this address, number, or id in the export."""
        if email and (found := self._having("email", email.strip().casefold(), _folded)):
            return found
        if phone and (found := self._having("phone", phone_key(phone), phone_key)):
            return found
        row = self._rows.get(external_id or "")
        return [self._reading(external_id, row)] if external_id and row is not None else []

    def candidates(self, text: str) -> list[Candidate]:
        """People of the export by an address, number or id that a person typed."""
        for key in ("email", "phone", "external_id"):
            if found := self.search(**{key: text.strip()}):
                why = f"found in the export by {key.replace('_', ' ')}"
                return as_candidates(found, why)
        return []

    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The common fields of people: nothing else can be told apart from money or consent."""
        if object_type != PEOPLE:
            return {}
        return {name: _text(name) for name in COMMON_FIELDS}

    def doubt_fields(self, object_type: str) -> None:
        """They are always the same."""

    def stages(self) -> dict[str, dict[str, str]]:
        return {}

    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """People of the export that a new one might repeat, and why."""
        known = [(self._reading(id_, row), row) for id_, row in self._rows.items()]
        found = likely_duplicates(fields, known)
        return [Candidate(record=one.ref, title=one.title, why=why) for one, why in found]

    def changes_by_us(self, since: datetime) -> list[CrmChange]:  # noqa: ARG002 - nothing is told.
        return []

    def scopes(self) -> tuple[str, ...]:
        return ()

    def _having(self, field: str, key: str, key_of: Callable[[Scalar], str]) -> list[Reading]:
        return [
            self._reading(id_, row)
            for id_, row in self._rows.items()
            if key and key_of(row.get(field)) == key
        ]

    def _reading(self, id_: str, row: Mapping[str, Scalar]) -> Reading:
        names = (str(row[name]) for name in ("first_name", "last_name") if row.get(name))
        return Reading(
            ref=RecordRef(crm=self.crm, type=PEOPLE, id=id_),
            title=" ".join(names) or str(row.get("company") or id_),
            fields=row,
            version=None,
            read_at=self._clock(),
        )


def _rows(account: Account) -> dict[str, dict[str, Scalar]]:
    """By id. Raises `ConfigurationError` for an export that names no ids, or one twice."""
    text = account.options.get("export", "")
    table = csv.DictReader(io.StringIO(text))
    if text and _ID not in (table.fieldnames or ()):
        raise ConfigurationError(f"the export of [{account.name}] has no column {_ID}")
    rows: dict[str, dict[str, Scalar]] = {}
    for row in table:
        id_ = str(row[_ID] or "").strip()
        if not id_ or id_ in rows:
            raise ConfigurationError(f"the export of [{account.name}] has a row without an own id")
        rows[id_] = {name: (row.get(name) or "").strip() or None for name in COMMON_FIELDS}
    return rows


def _folded(value: Scalar) -> str:
    return str(value or "").strip().casefold()


def _text(name: str) -> FieldMeta:
    return FieldMeta(
        name=name,
        label=name.replace("_", " ").capitalize(),
        type={"email": "email", "phone": "phone"}.get(name, "text"),
        max_length=None,
        allowed_values=None,
        read_only=False,
        field_class=None,
    )
