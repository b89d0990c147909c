"""What an admin sees of a CRM: how its fields are used, which are open, and what to open next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from services.writer import crm_reports, surveys
from services.writer.opening import ENOUGH_DECIDED, Suggestion, suggestions, why_careful, why_not
from services.writer.surveying import MOST_DISTINCT
from services.writer.surveys import SurveyedField, SurveyedObject
from services.writer.track_record import TrackRecord, track_records
from shared.crm.rights import RIGHTS
from shared.policy import Policy


@dataclass(frozen=True, kw_only=True)
class FieldRow:
    """``state`` is listed, free or closed; ``words`` say how, ``filled`` how often."""

    name: str
    label: str
    type: str
    field_class: str | None
    filled: str
    distinct: str
    state: str
    words: str


@dataclass(frozen=True, kw_only=True)
class ObjectView:
    """The fields that are listed come first, then those that may be, the most used first."""

    name: str
    sampled: int
    problem: str | None
    rows: tuple[FieldRow, ...]

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class TriedField:
    """A field on its way: what it has shown at its stage."""

    object: str
    field: str
    stage: str
    record: TrackRecord
    enough: int = ENOUGH_DECIDED


@dataclass(frozen=True, kw_only=True)
class SurveyView:
    """The last sample of an account, seen with a policy and with our own tables of today."""

    crm: str
    vendor: str
    at: datetime
    objects: tuple[ObjectView, ...]
    tried: tuple[TriedField, ...]
    suggestions: tuple[Suggestion, ...]


def view(
    db: Connection, crm: str, policy: Policy, sandboxes: Mapping[str, str]
) -> SurveyView | None:
    """``None`` before the account was sampled.

    ``sandboxes`` names by live account the one that stands in for it.
    """
    survey = surveys.last(db, crm)
    if survey is None:
        return None
    records = track_records(db, policy, crm)
    written = RIGHTS[survey.vendor].written
    return SurveyView(
        crm=crm,
        vendor=survey.vendor,
        at=survey.at,
        objects=tuple(_object(one, crm, policy, written) for one in survey.objects),
        tried=tuple(_tried(policy, crm, *one) for one in sorted(records.items())),
        suggestions=suggestions(
            survey,
            policy,
            records,
            is_content=_is_content(db, crm),
            has_sandbox=crm in sandboxes,
        ),
    )


def _is_content(db: Connection, crm: str) -> bool:
    """Whether the account was examined and nothing was found that stops writing."""
    found = {report.crm: report.problem for report in crm_reports.reports(db)}
    return crm in found and found[crm] is None


def _object(one: SurveyedObject, crm: str, policy: Policy, written: frozenset[str]) -> ObjectView:
    rows = [(field, _row(field, one.name, crm, policy, written)) for field in one.fields]
    order = {"listed": 0, "free": 1, "closed": 2}
    rows.sort(key=lambda pair: (order[pair[1].state], -(pair[0].percent or 0), pair[0].name))
    return ObjectView(
        name=one.name,
        sampled=one.sampled,
        problem=one.problem,
        rows=tuple(row for _, row in rows),
    )


def _row(
    field: SurveyedField, object_: str, crm: str, policy: Policy, written: frozenset[str]
) -> FieldRow:
    state, words = _state(field, object_, crm, policy, written)
    more = "+" if field.distinct >= MOST_DISTINCT else ""
    return FieldRow(
        name=field.name,
        label=field.label,
        type=field.type,
        field_class=field.field_class,
        filled="not read" if field.percent is None else f"{field.percent} %",
        distinct=f"{field.distinct}{more}" if field.read else "",
        state=state,
        words=words,
    )


def _state(
    field: SurveyedField, object_: str, crm: str, policy: Policy, written: frozenset[str]
) -> tuple[str, str]:
    rule = policy.rule(crm, object_, field.name)
    if rule is not None:
        return "listed", f"{rule.mode}, {rule.stage}" if rule.is_open else str(rule.mode)
    if object_ not in written:
        return "closed", f"Countersign writes no {object_} there"
    if (why := why_not(field)) is not None:
        return "closed", why
    return "free", why_careful(field) or "may be listed"


def _tried(policy: Policy, crm: str, key: tuple[str, str], record: TrackRecord) -> TriedField:
    rule = policy.fields[(crm, *key)]
    return TriedField(object=key[0], field=key[1], stage=str(rule.stage), record=record)
