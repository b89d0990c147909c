"""Lists for pages and API: the queue, the worklist, drafts, the switch and the policy."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, func, or_, select, tuple_

from services.writer import crm_reports, hand_offs, policy_store, survey_views, switch
from services.writer.crm_reports import CrmsView
from services.writer.deps import WebDeps
from services.writer.drafts import ref_of
from services.writer.rows import card_rows
from services.writer.schemas import CardFilters
from services.writer.survey_views import SurveyView
from services.writer.tables import (
    changes,
    classifications,
    decisions,
    proposal_fields,
    proposals,
)
from services.writer.tables import (
    drafts as drafts_table,
)
from services.writer.tables import (
    worklist as worklist_table,
)
from services.writer.views import (
    Counts,
    DraftRow,
    Page,
    PolicyRow,
    PolicyView,
    StopView,
    WorkRow,
)
from shared.access import Person
from shared.db import reading
from shared.domain.schema import parse_instant, rfc3339
from shared.errors import BadPayload, NotFound
from shared.policy import Stage

OVER = ("approved", "rejected", "superseded")


def cards(deps: WebDeps, person: Person, filters: CardFilters) -> Page:
    """One page of a tab: what waits oldest first, what is over newest first."""
    now = deps.clock()
    is_over = filters.tab in {"decided", "expired", "all"}
    moment = proposals.c.decided_at if filters.tab in {"decided", "expired"} else None
    order = (moment if moment is not None else proposals.c.created_at, proposals.c.id)
    with reading(deps.engine) as db:
        base = _filtered(select(proposals), person, filters, now)
        total = db.scalar(select(func.count()).select_from(base.subquery())) or 0
        query = base if filters.after is None else base.where(_beyond(order, filters, is_over))
        query = query.order_by(*(column.desc() if is_over else column for column in order))
        rows = db.execute(query.limit(filters.limit + 1)).all()
        shown = rows[: filters.limit]
        last = db.scalar(select(func.max(proposals.c.created_at)))
        return Page(
            rows=card_rows(db, shown, now),
            total=total,
            next=_cursor(shown[-1], order) if len(rows) > filters.limit else None,
            last_came_at=parse_instant(last) if last else None,
        )


def _filtered(
    query: Select[Any], person: Person, filters: CardFilters, now: datetime
) -> Select[Any]:
    query = query.where(_in_tab(filters.tab, person, now))
    for column, wanted in (
        (proposals.c.source, filters.source),
        (proposals.c.risk, filters.risk),
        (proposals.c.prompt_version, filters.prompt_version),
        (proposals.c.assignee, filters.assignee),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if filters.record is not None:
        by_title = proposals.c.title.icontains(filters.record, autoescape=True)
        query = query.where(or_(proposals.c.record == filters.record, by_title))
    if filters.field is not None:
        query = query.where(
            exists().where(
                proposal_fields.c.proposal_id == proposals.c.id,
                proposal_fields.c.field == filters.field,
            )
        )
    if filters.older_than_minutes is not None:
        limit = now - timedelta(minutes=filters.older_than_minutes)
        query = query.where(proposals.c.created_at <= rfc3339(limit))
    return query


def _in_tab(tab: str, person: Person, now: datetime) -> Any:
    if tab == "all":
        return proposals.c.id.isnot(None)
    if tab == "decided":
        return proposals.c.state.in_(OVER)
    if tab == "expired":
        return proposals.c.state == "expired"
    decided_by_me = exists().where(
        decisions.c.proposal_id == proposals.c.id, decisions.c.approver == person.id
    )
    for_others = or_(
        decided_by_me,
        and_(proposals.c.assignee.isnot(None), proposals.c.assignee != person.id),
        proposals.c.snoozed_until > rfc3339(now),
    )
    is_pending = proposals.c.state == "pending"
    # A comparison with an empty column is neither true nor false.
    mine = func.coalesce(for_others, False)
    return and_(is_pending, mine if tab == "waiting" else ~mine)


def _beyond(order: tuple[Any, Any], filters: CardFilters, is_over: bool) -> Any:
    moment, _, id_ = (filters.after or "").partition("~")
    if not id_:
        raise BadPayload("after: use the value of next of the page before")
    place = tuple_(*order)
    return place < (moment, id_) if is_over else place > (moment, id_)


def _cursor(row: Row[Any], order: tuple[Any, Any]) -> str:
    return f"{getattr(row, order[0].name)}~{row.id}"


def counts(deps: WebDeps, person: Person) -> Counts:
    """How many are in each tab, counted in the store."""
    now = deps.clock()

    def count(db: Connection, table: Any, condition: Any) -> int:
        return db.scalar(select(func.count()).select_from(table).where(condition)) or 0

    with reading(deps.engine) as db:
        tabs = {
            tab: count(db, proposals, _in_tab(tab, person, now))
            for tab in ("needs_you", "waiting", "decided", "expired")
        }
        return Counts(
            needs_you=tabs["needs_you"],
            waiting_for_others=tabs["waiting"],
            decided=tabs["decided"],
            expired=tabs["expired"],
            worklist=count(db, worklist_table, worklist_table.c.state != "done"),
            drafts=count(db, drafts_table, drafts_table.c.state == "open"),
        )


def worklist(
    deps: WebDeps, state: str = "open", assignee: str | None = None
) -> tuple[WorkRow, ...]:
    """Events a person must look at: urgent first, then the oldest."""
    with reading(deps.engine) as db:
        query = work_query()
        if state != "all":
            query = query.where(worklist_table.c.state == state)
        if assignee is not None:
            query = query.where(worklist_table.c.assignee == assignee)
        is_urgent = worklist_table.c.urgency == "high"
        query = query.order_by(is_urgent.desc(), worklist_table.c.created_at).limit(500)
        return tuple(work_row(row) for row in db.execute(query))


def work_query() -> Select[Any]:
    join = worklist_table.outerjoin(
        classifications, classifications.c.event_id == worklist_table.c.event_id
    )
    kept = classifications.c
    return select(worklist_table, kept.source, kept.subject, kept.sender, kept.flags).select_from(
        join
    )


def work_row(row: Row[Any]) -> WorkRow:
    return WorkRow(
        event_id=row.event_id,
        state=row.state,
        reason=row.reason,
        route=row.route,
        urgency=row.urgency,
        source=row.source or "support",
        subject=row.subject,
        sender=row.sender,
        created_at=parse_instant(row.created_at),
        assignee=row.assignee,
        note=row.note,
        done_by=row.done_by,
        done_at=parse_instant(row.done_at) if row.done_at else None,
        flags=tuple(json.loads(row.flags or "[]")),
    )


def drafts(deps: WebDeps, state: str = "open") -> tuple[DraftRow, ...]:
    """New records in the CRM's space for drafts, newest first."""
    join = drafts_table.join(changes, changes.c.id == drafts_table.c.change_id)
    query = select(drafts_table, changes.c.proposal_id).select_from(join)
    if state != "all":
        query = query.where(drafts_table.c.state == state)
    with reading(deps.engine) as db:
        rows = db.execute(query.order_by(drafts_table.c.created_at.desc()).limit(500)).all()
    return tuple(_draft_row(row) for row in rows)


def _draft_row(row: Row[Any]) -> DraftRow:
    ref = ref_of(row.draft)
    return DraftRow(
        change_id=row.change_id,
        crm=ref.crm,
        type=ref.type,
        id=ref.id,
        title=row.title,
        state=row.state,
        created_at=parse_instant(row.created_at),
        proposal_id=row.proposal_id,
        record=row.record,
        decided_by=row.decided_by,
        decided_at=parse_instant(row.decided_at) if row.decided_at else None,
        refused=row.refused,
    )


def hand_off(deps: WebDeps, change_id: str) -> hand_offs.HandOffView | None:
    """How the draft of this change was handed over, where its CRM has no API."""
    with reading(deps.engine) as db:
        return hand_offs.view_of(db, change_id)


def stop_state(deps: WebDeps) -> StopView:
    """The stop switch, and whether the policy file stops writing."""
    with reading(deps.engine) as db:
        found = policy_store.current(db)
        problem = found.problem if found else "no policy has been loaded yet"
        return switch.state(db, problem)


def policy(deps: WebDeps) -> PolicyView:
    """The policy in force, field by field."""
    with reading(deps.engine) as db:
        found = policy_store.in_force(db)
    rows = tuple(
        PolicyRow(
            crm=rule.crm,
            object=rule.object,
            field=rule.name,
            mode=str(rule.mode),
            stage=str(rule.stage),
            type=str(rule.type),
            reason=rule.reason,
            roles=rule.roles,
            expires_hours=rule.expiry_hours,
            per_hour=rule.per_hour,
            per_day=rule.per_day,
            sandbox=deps.sandboxes.get(rule.crm) if rule.stage is Stage.SANDBOX else None,
        )
        for _, rule in sorted(found.policy.fields.items())
    )
    return PolicyView(
        hash=found.policy.version,
        since=found.since,
        problem=found.problem,
        rows=rows,
        text=found.policy.text,
    )


def survey(deps: WebDeps, crm: str) -> SurveyView | None:
    """The last survey of a CRM account, by the policy in force. Raises `NotFound` without one."""
    if crm not in deps.readers:
        raise NotFound(f"there is no CRM account {crm}")
    with reading(deps.engine) as db:
        return survey_views.view(db, crm, policy_store.in_force(db).policy, deps.sandboxes)


def crms(deps: WebDeps) -> CrmsView:
    """The last examination of every CRM account."""
    with reading(deps.engine) as db:
        return CrmsView(rows=crm_reports.reports(db))
