"""What the records of each CRM account hold, by the last sample: counts, and no value of any."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from services.writer.tables import crm_surveys
from shared.db import upsert
from shared.domain.schema import parse_instant, rfc3339


@dataclass(frozen=True, kw_only=True)
class SurveyedField:
    """One field of the CRM's metadata (`FieldMeta`), and how it is used in the sample.

    ``read`` counts the sampled records whose readings hold the field at all, ``filled`` those with
    a value, ``distinct`` the different values up to `surveying.MOST_DISTINCT`; ``differs`` says
    that no two records share one.
    """

    name: str
    label: str
    type: str
    max_length: int | None
    allowed_values: tuple[str, ...] | None
    read_only: bool
    field_class: str | None
    read: int
    filled: int
    distinct: int
    differs: bool

    @property
    def percent(self) -> int | None:
        """How many of the records that were read have a value; ``None`` where none was read."""
        return round(100 * self.filled / self.read) if self.read else None


@dataclass(frozen=True, kw_only=True)
class SurveyedObject:
    """``problem``: why no record of the type could be read, in words."""

    name: str
    sampled: int
    problem: str | None
    fields: tuple[SurveyedField, ...]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One sampling of one CRM account.

    ``people`` is the object type of people, ``ruled`` the fields of theirs that the rules propose.
    """

    crm: str
    vendor: str
    at: datetime
    people: str
    ruled: tuple[str, ...]
    objects: tuple[SurveyedObject, ...]


def keep(db: Connection, survey: Survey) -> None:
    """In place of the account's last one."""
    body = asdict(survey)
    row = {
        "crm": body.pop("crm"),
        "at": rfc3339(body.pop("at")),
        "body": json.dumps(body, ensure_ascii=False),
    }
    upsert(db, crm_surveys, row, key=["crm"])


def forget_others(db: Connection, known: Iterable[str]) -> None:
    """Drop the surveys of all CRMs but these."""
    db.execute(delete(crm_surveys).where(crm_surveys.c.crm.not_in(tuple(known))))


def last(db: Connection, crm: str) -> Survey | None:
    """The last survey of this account."""
    row = db.execute(select(crm_surveys).where(crm_surveys.c.crm == crm)).first()
    if row is None:
        return None
    body = json.loads(row.body)
    return Survey(
        crm=row.crm,
        vendor=body["vendor"],
        at=parse_instant(row.at),
        people=body["people"],
        ruled=tuple(body["ruled"]),
        objects=tuple(_object(one) for one in body["objects"]),
    )


def _object(one: dict[str, Any]) -> SurveyedObject:
    return SurveyedObject(**{**one, "fields": tuple(_field(field) for field in one["fields"])})


def _field(one: dict[str, Any]) -> SurveyedField:
    allowed = one["allowed_values"]
    return SurveyedField(**{**one, "allowed_values": None if allowed is None else tuple(allowed)})
