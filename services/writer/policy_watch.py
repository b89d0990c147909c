"""Follows the policy file: a good one comes into force, a wrong one stops writing."""

from __future__ import annotations

from collections.abc import Mapping

from services.writer import policy_store
from services.writer.deps import ReadsRecords, WorkerDeps
from services.writer.places import Linked, why_not_tried
from shared.crm.metadata import Capabilities, FieldMeta
from shared.db import reading
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from shared.policy import Metadata, Policy, Stage, check_classes, load_policy
from shared.policy_file import APPENDED_FIELDS

UNCHECKED = "the CRM's list of fields could not be read yet: it may forbid a listed field"


def require_policy(deps: WorkerDeps) -> None:
    """The start-up check. Raises `ConfigurationError` naming every field that cannot be listed."""
    _follow(deps, load_policy(deps.policy_file))


def follow(deps: WorkerDeps) -> None:
    """One look at the file; the version in force stays where the new one is wrong."""
    try:
        policy = load_policy(deps.policy_file)
        with reading(deps.engine) as db:
            found = policy_store.current(db)
        is_known = found is not None and found.policy.version == policy.version
        if not (is_known and found is not None and found.problem is None):
            _follow(deps, policy)
    except ConfigurationError as error:
        with deps.unit_of_work.begin() as unit:
            policy_store.refuse(unit, str(error))


def _follow(deps: WorkerDeps, policy: Policy) -> None:
    problem = None
    if untried := unfit_stages(policy, deps):
        raise ConfigurationError("the policy lists what cannot be tried: " + "; ".join(untried))
    try:
        forbidden = check_classes(policy, described(deps.readers, policy))
    except (CRMUnavailable, Rejected) as error:
        forbidden, problem = [], f"{UNCHECKED} ({error})"
    if forbidden:
        raise ConfigurationError("the policy lists what cannot be listed: " + "; ".join(forbidden))
    with deps.unit_of_work.begin() as unit:
        policy_store.adopt(unit, policy)
        if problem is not None:
            policy_store.refuse(unit, problem)


def unfit_stages(policy: Policy, linked: Linked) -> list[str]:
    """Every open field that can be tried nowhere, or that is listed for a sandbox, in words."""
    of = {sandbox: crm for crm, sandbox in linked.sandboxes.items()}
    problems = []
    for rule in policy.fields.values():
        why = None
        if rule.crm in of:
            why = f"{rule.crm} is the sandbox of {of[rule.crm]}: list its fields under that name"
        elif rule.is_open and rule.stage is Stage.SANDBOX:
            why = why_not_tried(rule.crm, rule.object, rule.name, linked)
        if why is not None:
            problems.append(f"fields.{rule.crm}.{rule.object}.{rule.name}: {why}")
    return problems


def described(readers: Mapping[str, ReadsRecords], policy: Policy) -> Metadata:
    """The fields of every listed object, by the CRM's own word; none of an unknown object.

    Raises `CRMUnavailable`, or `Rejected` where the CRM refuses our credential.
    """
    objects = {(rule.crm, rule.object) for rule in policy.fields.values()}
    return {
        (crm, object_): (
            _appended(readers[crm].capabilities, object_)
            if object_ in APPENDED_FIELDS
            else _fields(readers[crm], object_)
        )
        for crm, object_ in sorted(objects)
        if crm in readers
    }


def _appended(can: Capabilities, object_: str) -> tuple[FieldMeta, ...]:
    """The fields of a note or task; none where the CRM takes none of ours."""
    fields = APPENDED_FIELDS[object_] if getattr(can, object_) else {}
    return tuple(
        FieldMeta(
            name=name,
            label=name.capitalize(),
            type=str(type_),
            max_length=None,
            allowed_values=None,
            read_only=False,
            field_class=None,
        )
        for name, type_ in fields.items()
    )


def _fields(reader: ReadsRecords, object_: str) -> tuple[FieldMeta, ...]:
    try:
        return tuple(reader.fields(object_).values())
    except NotFound:
        return ()
