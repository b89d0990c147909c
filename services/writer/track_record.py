"""How the fields that are not live yet have done at their present stage, by our own tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from services.writer.case import is_same
from services.writer.change_store import object_of
from services.writer.tables import (
    change_fields,
    changes,
    decisions,
    policy_versions,
    proposal_fields,
    proposals,
)
from shared.errors import ConfigurationError
from shared.policy import FieldRule, Policy, Stage, load_policy
from shared.policy_file import APPENDED_FIELDS

# Older versions of the policy say nothing of how a field does today.
_MOST_VERSIONS = 20
# How the gate says that a field stays at its stage: what was wanted, no failure.
_HELD_BACK = "dry-run"


@dataclass(frozen=True, kw_only=True)
class TrackRecord:
    """Decided cards, those accepted as proposed, and what went wrong with the field.

    ``failed``: refused, not written, of unknown outcome, or altered by the CRM in a trial.
    """

    decided: int
    unedited: int
    failed: int


def track_records(db: Connection, policy: Policy, crm: str) -> dict[tuple[str, str], TrackRecord]:
    """By object type and name, for every open field of the CRM that is not live yet."""
    tried = [rule for rule in policy.fields.values() if rule.crm == crm and _is_tried(rule)]
    if not tried:
        return {}
    versions = list(_versions(db))
    return {(rule.object, rule.name): _record(db, rule, versions) for rule in tried}


def _is_tried(rule: FieldRule) -> bool:
    return rule.is_open and rule.stage is not Stage.LIVE


def _versions(db: Connection) -> Iterator[Policy]:
    """The versions that were in force; one that this program reads no more is passed over."""
    newest = policy_versions.c.added_at.desc()
    for text in db.scalars(select(policy_versions.c.text).order_by(newest).limit(_MOST_VERSIONS)):
        try:
            yield load_policy(text)
        except ConfigurationError:
            continue


def _record(db: Connection, rule: FieldRule, versions: list[Policy]) -> TrackRecord:
    alike = [one.version for one in versions if _has_stage(one, rule)]
    verdicts: dict[str | None, int] = dict(db.execute(_verdicts(rule, alike)).all())
    refused = sum(count for _, count in db.execute(_refusals(rule, alike)))
    failed = refused + (db.scalar(_failures(rule, alike)) or 0) + _altered(db, rule, alike)
    return TrackRecord(
        decided=sum(verdicts.values()), unedited=verdicts.get("accepted", 0), failed=failed
    )


def _has_stage(policy: Policy, rule: FieldRule) -> bool:
    other = policy.rule(rule.crm, rule.object, rule.name)
    return other is not None and other.is_open and other.stage is rule.stage


def _of(rule: FieldRule, policies: list[str], column: Any) -> Select[Any]:
    """Decided proposals of the field under these versions of the policy."""
    join = proposal_fields.join(proposals, proposals.c.id == proposal_fields.c.proposal_id)
    join = join.join(decisions, decisions.c.proposal_id == proposals.c.id)
    return (
        select(column, func.count(proposals.c.id.distinct()))
        .select_from(join)
        .where(
            proposal_fields.c.field == rule.name,
            _is_proposed(rule),
            proposal_fields.c.verdict.isnot(None),
            decisions.c.policy.in_(policies),
            # It decides once more on what was decided when it was tried.
            proposals.c.promotes.is_(None),
        )
        .group_by(column)
    )


def _is_proposed(rule: FieldRule) -> ColumnElement[bool]:
    """A note belongs to a record of any type, and is told by its slot (`store.slot_of`)."""
    if rule.object not in APPENDED_FIELDS:
        return proposal_fields.c.record.startswith(f"{rule.crm}/{rule.object}/", autoescape=True)
    is_its = proposal_fields.c.record.startswith(f"{rule.crm}/", autoescape=True)
    return and_(is_its, proposals.c.slot.endswith(f"/{rule.object}", autoescape=True))


def _is_written(rule: FieldRule) -> ColumnElement[bool]:
    if rule.object not in APPENDED_FIELDS:
        return change_fields.c.record.startswith(f"{rule.crm}/{rule.object}/", autoescape=True)
    return change_fields.c.object == object_of(rule.crm, rule.object)


def _verdicts(rule: FieldRule, policies: list[str]) -> Select[Any]:
    return _of(rule, policies, proposal_fields.c.verdict)


def _refusals(rule: FieldRule, policies: list[str]) -> Select[Any]:
    """Approvals that the gate refused for another reason than the stage."""
    why = proposals.c.refused_rule
    return _of(rule, policies, why).where(why.isnot(None), why != _HELD_BACK)


def _altered(db: Connection, rule: FieldRule, policies: list[str]) -> int:
    """Trials in which the CRM kept another value of the field than the one that was sent."""
    query = _written(rule, policies, changes.c.result).where(
        changes.c.state == "applied", changes.c.tried_in.isnot(None)
    )
    fields = [field for text in db.scalars(query) for field in json.loads(text)["fields"]]
    return sum(
        field["name"] == rule.name and not is_same(field["read_back"], field["after"])
        for field in fields
    )


def _failures(rule: FieldRule, policies: list[str]) -> Select[Any]:
    """Changes that were not written, or of which nobody knows."""
    return _written(rule, policies, func.count()).where(
        changes.c.state.in_(("failed", "unknown")), changes.c.rule.is_distinct_from(_HELD_BACK)
    )


def _written(rule: FieldRule, policies: list[str], column: Any) -> Select[Any]:
    """Changes of the field under these versions of the policy; trials are written elsewhere, for a
    record of this CRM.
    """
    return (
        select(column)
        .select_from(change_fields.join(changes, changes.c.id == change_fields.c.change_id))
        .where(
            change_fields.c.field == rule.name,
            _is_written(rule),
            changes.c.policy.in_(policies),
        )
    )
