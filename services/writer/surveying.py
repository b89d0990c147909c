"""Samples the records of a CRM, read-only, and counts what is there. No value is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from services.writer.deps import ReadsRecords
from services.writer.surveys import Survey, SurveyedField, SurveyedObject
from shared.crm.metadata import FieldMeta
from shared.domain.record import Reading
from shared.domain.schema import Scalar
from shared.errors import Rejected

MOST_DISTINCT: Final = 50
# The rules find these only for a new person, who is a draft and changes no record.
_OF_NEW_PEOPLE: Final = frozenset({"first_name", "last_name"})


def survey(
    crm: str,
    vendor: str,
    reader: ReadsRecords,
    now: datetime,
    *,
    types: Iterable[str],
    limit: int,
) -> Survey:
    """Sample ``limit`` records of each of these object types.

    Raises `CRMUnavailable` while the CRM cannot be asked, or asks to wait.
    """
    ruled = {own for word, own in reader.names.items() if word not in _OF_NEW_PEOPLE}
    return Survey(
        crm=crm,
        vendor=vendor,
        at=now,
        people=reader.people,
        ruled=tuple(sorted(ruled)),
        objects=tuple(_object(reader, one, limit) for one in types),
    )


def _object(reader: ReadsRecords, object_type: str, limit: int) -> SurveyedObject:
    """What the credential may not see is told with the CRM's reason."""
    fields: Mapping[str, FieldMeta] = {}
    sample: Sequence[Reading] = ()
    problem = None
    try:
        fields = reader.fields(object_type)
        sample = reader.sample(object_type, limit)
    except Rejected as error:
        problem = str(error)
    return SurveyedObject(
        name=object_type,
        sampled=len(sample),
        problem=problem,
        fields=tuple(_field(meta, sample) for _, meta in sorted(fields.items())),
    )


def _field(meta: FieldMeta, sample: Sequence[Reading]) -> SurveyedField:
    values = [one.fields[meta.name] for one in sample if meta.name in one.fields]
    filled = [value for value in values if _is_filled(value)]
    distinct = len(set(filled))
    return SurveyedField(
        name=meta.name,
        label=meta.label,
        type=meta.type,
        max_length=meta.max_length,
        # The choices of an owner are people's names, and nobody opens that field.
        allowed_values=meta.allowed_values if meta.field_class is None else None,
        read_only=meta.read_only,
        field_class=meta.field_class,
        read=len(values),
        filled=len(filled),
        distinct=min(distinct, MOST_DISTINCT),
        differs=1 < distinct == len(filled),
    )


def _is_filled(value: Scalar) -> bool:
    """A text of spaces is as empty as none, an empty list too; "no" is a value."""
    return value is not None and str(value).strip() not in {"", "[]", "{}"}
