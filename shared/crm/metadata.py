"""What every connector says in the same words: fields, capabilities, and the CRM's own history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.record import RecordRef
from shared.domain.schema import Scalar


@dataclass(frozen=True, kw_only=True)
class FieldMeta:
    """One field, from the CRM's own metadata.

    ``type``: text, email, phone, date, datetime, enum, boolean, money or reference.
    ``field_class``: money, owner, consent, stage, sensitive, read_only or ``None``.
    """

    name: str
    label: str
    type: str
    max_length: int | None
    allowed_values: tuple[str, ...] | None
    read_only: bool
    field_class: str | None


def keeping(fields: Mapping[str, FieldMeta], ours: str | None) -> dict[str, FieldMeta]:
    """These fields, where the one that carries our change ids is nobody's to write."""
    mine = {name: field for name, field in fields.items() if name == ours}
    return {
        **fields,
        **{n: replace(f, read_only=True, field_class="read_only") for n, f in mine.items()},
    }


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a CRM can guarantee, so that the approval page can say it: nothing that is not named.

    ``notes`` and ``tasks`` are the object types that take ours.
    """

    conditional_write: bool = False
    idempotent_create: bool = False
    field_history: bool = False
    writable_stage: bool = False
    apply_by_hand: bool = False
    notes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CrmChange:
    """One line of the CRM's own history: ``kind`` is field, note, task or created.

    ``by`` is the CRM's name for who did it, ``change_id`` the mark that an integration left.
    """

    ref: RecordRef
    kind: str
    field: str | None
    old: Scalar
    new: Scalar
    at: datetime
    by: str
    change_id: str | None
