"""What the credentials of a CRM can really do, held against what the policy needs.

Only questions are asked; nothing is ever tried that could delete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from services.writer import policy_store, surveys
from services.writer.crm_reports import Finding, Level, Report, forget_others, keep, reports
from services.writer.deps import ReadsRecords, WorkerDeps, WritesRecords
from services.writer.policy_watch import described
from shared.crm.rights import RIGHTS, Rights
from shared.db import reading, writing
from shared.errors import CRMUnavailable, Rejected
from shared.policy import Policy, check_classes

log = structlog.get_logger()
# What a connector says where the CRM does not tell: nothing, or everything its user may do.
HIDDEN = frozenset({"unknown", "*"})
DRAFTS = "drafts"
EVERY = timedelta(minutes=10)


def examine(
    crm: str,
    vendor: str,
    reader: ReadsRecords,
    writer: WritesRecords | None,
    policy: Policy,
    now: datetime,
) -> Report:
    """Raises `CRMUnavailable` while the CRM cannot be asked."""
    rights = RIGHTS[vendor]
    findings = [
        *_of_reader(reader, rights, policy, crm),
        *_of_writer(writer, rights, policy, crm),
        *_of_fields(reader, policy, crm),
        *_of_api(reader, writer),
        *(Finding(level=Level.TODO, text=text) for text in rights.checklist),
    ]
    return Report(
        crm=crm,
        vendor=vendor,
        at=now,
        capabilities=reader.capabilities,
        findings=tuple(findings),
    )


def _of_reader(reader: ReadsRecords, rights: Rights, policy: Policy, crm: str) -> Iterator[Finding]:
    try:
        scopes = set(reader.scopes())
    except Rejected as error:
        yield Finding(level=Level.BAD, text=f"the read credential is refused: {error}")
        return
    changing = sorted(scope for scope in scopes if rights.changing.search(scope))
    if not changing and (not scopes or scopes & HIDDEN):
        yield _hidden("read")
        return
    if changing:
        yield Finding(
            level=Level.BAD,
            text=f"the read credential can write ({', '.join(changing)}): take these scopes away",
        )
    wanted = _wanted(rights, rights.read, policy, crm)
    yield from _too_little("read", wanted - scopes)
    if not changing and wanted <= scopes:
        yield Finding(level=Level.OK, text="the read credential reads and cannot write")


def _of_writer(
    writer: WritesRecords | None, rights: Rights, policy: Policy, crm: str
) -> Iterator[Finding]:
    if writer is None:
        yield _read_only(_objects(policy, crm))
        return
    try:
        scopes = set(writer.scopes())
    except Rejected as error:
        yield Finding(level=Level.BAD, text=f"the write credential is refused: {error}")
        return
    able = {scope for scope in scopes if rights.changing.search(scope)}
    if not able and (not scopes or scopes & HIDDEN):
        yield _hidden("write")
        return
    wanted = _wanted(rights, rights.write, policy, crm)
    if too_much := sorted(able - wanted - rights.beside):
        yield Finding(
            level=Level.BAD,
            text=f"the write credential can do more than the policy needs "
            f"({', '.join(too_much)}): take these scopes away, or list fields of these objects",
        )
    yield from _too_little("write", wanted - scopes)
    if not too_much and wanted <= scopes:
        yield Finding(level=Level.OK, text="the write credential can do what the policy needs")
    if rights.carries and able:
        yield Finding(level=Level.NOTE, text=rights.carries)


def _of_fields(reader: ReadsRecords, policy: Policy, crm: str) -> Iterator[Finding]:
    objects = _objects(policy, crm)
    problems = check_classes(policy, described({crm: reader}, policy))
    for problem in problems:
        yield Finding(level=Level.BAD, text=problem)
    count = sum(len(policy.open_fields(crm, one)) for one in objects)
    if count and not problems:
        text = f"the CRM knows all {count} listed fields, and none is of a closed class"
        yield Finding(level=Level.OK, text=text)
    if not count:
        text = "the policy opens no field of this CRM: nothing can be proposed for it"
        yield Finding(level=Level.NOTE, text=text)


def _of_api(reader: ReadsRecords, writer: WritesRecords | None) -> Iterator[Finding]:
    """What the CRM says of the version of its API that we ask for; it says so in its answers."""
    with suppress(Rejected):  # What the credential lacks is told elsewhere.
        reader.fields(reader.people)
    said = (side.problem for side in (reader, writer) if side is not None)
    for text in sorted({text for text in said if text}):
        yield Finding(level=Level.NOTE, text=text)


def _wanted(
    rights: Rights, scopes: Callable[[str], frozenset[str]], policy: Policy, crm: str
) -> set[str]:
    """The scopes that the open fields need; drafts of our own space need none."""
    objects = {one for one in _objects(policy, crm) if one != DRAFTS or rights.keeps_drafts}
    return {scope for one in objects for scope in scopes(one)}


def _objects(policy: Policy, crm: str) -> set[str]:
    return {rule.object for rule in policy.fields.values() if rule.crm == crm and rule.is_open}


def _too_little(side: str, missing: set[str]) -> Iterator[Finding]:
    for scope in sorted(missing):
        yield Finding(level=Level.BAD, text=f"the {side} credential lacks the scope {scope}")


def _read_only(objects: set[str]) -> Finding:
    if not objects:
        return Finding(level=Level.OK, text="there is no write credential: read-only")
    text = "the policy opens fields of this CRM, but no account here writes to it"
    return Finding(level=Level.BAD, text=text)


def _hidden(side: str) -> Finding:
    return Finding(
        level=Level.NOTE,
        text=f"this CRM does not tell what the {side} credential may do: compare it by hand",
    )


def examine_all(deps: WorkerDeps) -> None:
    """Examine every CRM and keep the reports; one that cannot be asked keeps its last.

    What was said of an account that is not set up any more goes.
    """
    _examine(deps, deps.vendors)


def examine_due(deps: WorkerDeps) -> None:
    """As `examine_all`, for the accounts without a report of the last ten minutes.

    One that could not be asked yet, as while everything starts, is asked soon again.
    """
    with reading(deps.engine) as db:
        recent = {report.crm for report in reports(db) if deps.clock() - report.at < EVERY}
    _examine(deps, {crm: of for crm, of in deps.vendors.items() if crm not in recent})


def _examine(deps: WorkerDeps, wanted: Mapping[str, str]) -> None:
    with reading(deps.engine) as db:
        found = policy_store.current(db)
    if found is None:
        return
    with writing(deps.engine) as db:
        forget_others(db, deps.vendors)
        surveys.forget_others(db, deps.vendors)
    for crm, vendor in wanted.items():
        try:
            report = examine(
                crm, vendor, deps.readers[crm], deps.writers.get(crm), found.policy, deps.clock()
            )
        except (CRMUnavailable, Rejected) as error:
            log.warning("a CRM could not be examined", crm=crm, error=str(error))
            continue
        with writing(deps.engine) as db:
            keep(db, report)
