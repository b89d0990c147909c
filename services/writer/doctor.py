"""What the credentials of a CRM can really do, held against what the policy needs.

Only questions are asked; nothing is ever tried that could delete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from services.writer import policy_store, surveys
from services.writer.crm_reports import Finding, Level, Report, forget_others, keep, reports
from services.writer.deps import ReadsRecords, WorkerDeps, WritesRecords
from services.writer.places import Linked, rehearsal
from services.writer.policy_watch import described
from shared.crm.rights import RIGHTS, Rights
from shared.db import reading, writing
from shared.domain.proposal import APPENDED, ProposalKind
from shared.domain.record import DRAFTS
from shared.errors import CRMUnavailable, Rejected
from shared.policy import Policy, Stage, check_classes
from shared.policy_file import APPENDED_FIELDS

log = structlog.get_logger()
# What a connector says where the CRM does not tell: nothing, or everything its user may do.
HIDDEN = frozenset({"unknown", "*"})
EVERY = timedelta(minutes=10)


def examine(
    crm: str,
    vendor: str,
    reader: ReadsRecords,
    writer: WritesRecords | None,
    policy: Policy,
    now: datetime,
    *,
    sandbox_of: str | None = None,
) -> Report:
    """``policy`` is that of this very account. Raises `CRMUnavailable` while it cannot be asked.

    Where an account only stands in for another, too many rights are worth a word and no more.
    """
    rights = RIGHTS[vendor]
    too_much = Level.BAD if sandbox_of is None else Level.NOTE
    findings = [
        *_of_sandbox(sandbox_of),
        *_of_reader(reader, rights, policy, crm, too_much),
        *_of_writer(writer, rights, policy, crm, too_much),
        *_of_appended(writer, rights, policy, crm),
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
        sandbox_of=sandbox_of,
    )


def examine_account(crm: str, linked: Linked, policy: Policy, now: datetime) -> Report:
    """One account of this installation, by the part of the policy that is meant for it."""
    of = next((live for live, sandbox in linked.sandboxes.items() if sandbox == crm), None)
    return examine(
        crm,
        linked.vendors[crm],
        linked.readers[crm],
        linked.writers.get(crm),
        policy if of is None else _as_tried(policy, of, crm, linked),
        now,
        sandbox_of=of,
    )


def _as_tried(policy: Policy, live: str, sandbox: str, linked: Linked) -> Policy:
    """The fields at stage sandbox, as they are called in the account that stands in."""
    fields = {}
    for rule in policy.fields.values():
        if rule.crm != live or not rule.is_open or rule.stage is not Stage.SANDBOX:
            continue
        try:
            place = rehearsal(live, rule.object, sandbox, linked)
            key = (sandbox, place.type, place.name_of(rule.name))
            known = place.reader.fields(place.type).get(key[2]) if rule.object == DRAFTS else None
            if known is not None and known.read_only:
                continue  # A part that the CRM composes is given when a person is made.
        except (CRMUnavailable, Rejected):
            continue  # The check of the policy says so.
        fields[key] = replace(rule, crm=sandbox, object=key[1], name=key[2])
    return replace(policy, fields=fields)


def _of_sandbox(live: str | None) -> Iterator[Finding]:
    if live is not None:
        yield Finding(
            level=Level.NOTE, text=f"a sandbox: it stands in for {live}, for trials alone"
        )


def _of_reader(
    reader: ReadsRecords, rights: Rights, policy: Policy, crm: str, too_much: Level
) -> Iterator[Finding]:
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
            level=too_much,
            text=f"the read credential can write ({', '.join(changing)}): take these scopes away",
        )
    wanted = _wanted(rights, rights.read, policy, crm)
    yield from _too_little("read", wanted - scopes)
    if not changing and wanted <= scopes:
        yield Finding(level=Level.OK, text="the read credential reads and cannot write")


def _of_writer(
    writer: WritesRecords | None, rights: Rights, policy: Policy, crm: str, too_much: Level
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
    appended = _objects(policy, crm) & APPENDED_FIELDS.keys()
    wanted = _wanted(rights, rights.write, policy, crm)
    wanted |= {scope for one in appended for scope in rights.appends.get(one, ())}
    untold = {scope for one in appended for scope in able if _may_be(rights, one, scope)}
    if beyond := sorted(able - wanted - rights.beside - untold):
        yield Finding(
            level=too_much,
            text=f"the write credential can do more than the policy needs "
            f"({', '.join(beyond)}): take these scopes away, or list fields of these objects",
        )
    yield from _too_little("write", wanted - scopes)
    if not beyond and wanted <= scopes:
        yield Finding(level=Level.OK, text="the write credential can do what the policy needs")
    if rights.carries and able:
        yield Finding(level=Level.NOTE, text=rights.carries)


def _may_be(rights: Rights, appended: str, scope: str) -> bool:
    untold = rights.untold.get(appended)
    return untold is not None and untold.search(scope) is not None


def _of_appended(
    writer: WritesRecords | None, rights: Rights, policy: Policy, crm: str
) -> Iterator[Finding]:
    """What notes and tasks cannot do there, and what the account gives every task."""
    objects = _objects(policy, crm)
    for one in sorted(objects & rights.limits.keys()):
        yield from (Finding(level=Level.NOTE, text=text) for text in rights.limits[one])
    if writer is None or APPENDED[ProposalKind.TASK] not in objects:
        return
    try:
        said = writer.task_setup()
    except Rejected as error:
        yield Finding(level=Level.BAD, text=f"no task can be made: {error}")
        return
    if said is not None:
        yield Finding(level=Level.OK, text=f"each task gets what its account says: {said}")


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
    """The scopes that the open fields of records need; drafts of our own space need none."""
    objects = {one for one in _objects(policy, crm) if one != DRAFTS or rights.keeps_drafts}
    objects -= APPENDED_FIELDS.keys()
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
    _examine(deps, [crm for crm in deps.vendors if crm not in recent])


def _examine(deps: WorkerDeps, wanted: Iterable[str]) -> None:
    with reading(deps.engine) as db:
        found = policy_store.current(db)
    if found is None:
        return
    with writing(deps.engine) as db:
        forget_others(db, deps.vendors)
        surveys.forget_others(db, deps.vendors)
    for crm in wanted:
        try:
            report = examine_account(crm, deps, found.policy, deps.clock())
        except (CRMUnavailable, Rejected) as error:
            log.warning("a CRM could not be examined", crm=crm, error=str(error))
            continue
        with writing(deps.engine) as db:
            keep(db, report)
