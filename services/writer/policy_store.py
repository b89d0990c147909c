"""Versions of the policy by hash in the writer's database, and which one is in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from services.writer.tables import policy_state, policy_versions
from shared.db import insert_new, upsert
from shared.domain.schema import parse_instant, rfc3339
from shared.domain.topics import Topic
from shared.errors import StoreUnavailable
from shared.office import Office
from shared.outbox import Unit
from shared.policy import FieldRule, Mode, Policy, Stage, load_policy

_CURRENT = (
    select(policy_state.c.problem, policy_state.c.since, policy_versions.c.text)
    .join(policy_versions, policy_versions.c.hash == policy_state.c.hash)
    .where(policy_state.c.id == 1)
)
OPENNESS = {Mode.NEVER: 0, Mode.TWO_PERSON: 1, Mode.REVIEW: 2, Mode.NOTIFY: 3}
PROGRESS = {Stage.DRY_RUN: 0, Stage.SANDBOX: 1, Stage.LIVE: 2}


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The policy that cards are shown by. With a ``problem`` nothing is written."""

    policy: Policy
    problem: str | None
    since: datetime


def in_force(db: Connection) -> InForce:
    """Raises `StoreUnavailable` before the worker has stored a first version."""
    found = current(db)
    if found is None:
        raise StoreUnavailable("no policy is in force yet: the writer's worker has not started")
    return found


def current(db: Connection) -> InForce | None:
    row = db.execute(_CURRENT).first()
    if row is None:
        return None
    return InForce(
        policy=load_policy(row.text), problem=row.problem, since=parse_instant(row.since)
    )


def office_in_force(db: Connection) -> Office:
    """The office's hours; Monday to Friday 9 to 17 UTC before there is a policy."""
    found = current(db)
    return found.policy.office if found else Office()


def adopt(unit: Unit, policy: Policy) -> None:
    """Put a valid policy in force and tell the log, unless it is in force already."""
    found = current(unit.db)
    if found is not None and found.policy.version == policy.version and found.problem is None:
        return
    row = {"hash": policy.version, "text": policy.text, "added_at": rfc3339(unit.now)}
    insert_new(unit.db, policy_versions, [row])
    _put(unit, policy.version, None)
    previous = found.policy if found else None
    if previous is not None and previous.version == policy.version:
        return
    body = {
        "policy": policy.version,
        "previous": previous.version if previous else None,
        "widened": list(widened(previous, policy)),
        "text": policy.text,
    }
    unit.publish(
        Topic.POLICY_CHANGED, body, subject=f"policy/{policy.version}", key=rfc3339(unit.now)
    )


def refuse(unit: Unit, problem: str) -> None:
    """Keep the version in force and stop writing until the file is right again."""
    found = current(unit.db)
    if found is not None and found.problem != problem:
        _put(unit, found.policy.version, problem)


def _put(unit: Unit, version: str, problem: str | None) -> None:
    row = {"id": 1, "hash": version, "problem": problem, "since": rfc3339(unit.now)}
    upsert(unit.db, policy_state, row, key=["id"])


def widened(old: Policy | None, new: Policy) -> Iterator[str]:
    """Each right that the new version adds, in words, by field."""
    for key, rule in sorted(new.fields.items()):
        before = old.fields.get(key) if old else None
        for words in _wider(before, rule):
            yield f"{'.'.join(key)}: {words}"


def _wider(old: FieldRule | None, new: FieldRule) -> Iterator[str]:
    if not new.is_open:
        return
    if old is None or not old.is_open:
        yield f"opened for {new.mode} at stage {new.stage}"
        return
    if OPENNESS[new.mode] > OPENNESS[old.mode]:
        yield f"mode {old.mode} → {new.mode}"
    if PROGRESS[new.stage] > PROGRESS[old.stage]:
        yield f"stage {old.stage} → {new.stage}"
    for role in sorted(set(new.roles) - set(old.roles)):
        yield f"the role {role} may approve"
    if old.allowed and (not new.allowed or set(new.allowed) - set(old.allowed)):
        yield "more values are allowed"
    if old.max_length is not None and (new.max_length or 10**9) > old.max_length:
        yield "longer values are allowed"
    if new.per_hour > old.per_hour or new.per_day > old.per_day:
        yield "more writes per hour or day"
    if new.expiry_hours > old.expiry_hours:
        yield "cards live longer"
    if new.type != old.type or (new.multiline and not old.multiline):
        yield f"type {old.type} → {new.type}"


def differences(old: Policy | None, new: Policy) -> Iterator[str]:
    """Every field whose rule differs, widening or not, for `countersign policy diff`."""
    before = old.fields if old else {}
    for key in sorted({*before, *new.fields}):
        one, other = before.get(key), new.fields.get(key)
        if one == other:
            continue
        name = ".".join(key)
        if one is None or other is None:
            yield f"{'+' if one is None else '-'} {name}"
            continue
        wider = list(_wider(one, other))
        yield f"{'!' if wider else '~'} {name}: {'; '.join(wider) or 'changed, no right added'}"
