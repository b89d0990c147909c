"""ServiceTitan's tasks for its double: a closed body, ids that must be in use, no change, no delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.fakes.servicetitan_bodies import PRIORITY, Body, Problem, checked, now_text
from tests.fakes.servicetitan_rows import in_order

# The vendor's description of its API does not name the scope: this one stands for it.
SCOPE = "tn.some-area.tasks:w"
REPORTER, ASSIGNEE, UNIT, TYPE, SOURCE = 21, 22, 31, 41, 51
OPTIONS: Mapping[str, str] = {
    "task_reported_by": str(REPORTER),
    "task_assigned_to": str(ASSIGNEE),
    "task_business_unit": str(UNIT),
    "task_type": str(TYPE),
    "task_source": str(SOURCE),
}
STATUS = ("ToDo", "InProgress", "OnHold", "Canceled", "Completed")
TASK: Body = {
    "reportedById!": int,
    "assignedToId!": int,
    "isClosed!": bool,
    "status": STATUS,
    "name!": str,
    "businessUnitId!": int,
    "employeeTaskTypeId!": int,
    "employeeTaskSourceId!": int,
    "employeeTaskResolutionId": int,
    "reportedDate!": str,
    "completeBy": str,
    "startedOn": str,
    "involvedEmployeeIdList": list,
    "customerId": int,
    "jobId": int,
    "projectId": int,
    "description": str,
    "priority!": PRIORITY,
}
TIMES = ("reportedDate", "completeBy", "startedOn")
# What an answer to a question calls otherwise than the answer to a new task, or leaves out.
ONLY_WHEN_MADE = frozenset({"reportedDate", "startedOn"})
FILTERS = ("customerId", "jobId")


def _row(id_: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "name": name, "active": True, **more}


@dataclass
class Tasks:
    """``has_record`` says whether a customer or job is there; each list is one of the CRM's own."""

    has_record: Callable[[str, int], bool]
    employees: list[dict[str, Any]] = field(
        default_factory=lambda: [_row(REPORTER, "Kit Marten"), _row(ASSIGNEE, "Robin Sparrow")]
    )
    units: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "Plumbing", "value": UNIT}]
    )
    types: list[dict[str, Any]] = field(
        default_factory=lambda: [_row(TYPE, "Call back", excludedTaskResolutionIds=[])]
    )
    sources: list[dict[str, Any]] = field(default_factory=lambda: [_row(SOURCE, "Message")])
    rows: list[dict[str, Any]] = field(default_factory=list)

    def lists(self) -> dict[str, Any]:
        named = {"taskPriorities": PRIORITY, "taskStatuses": STATUS, "taskResolutionTypes": ()}
        return {
            "employees": self.employees,
            "businessUnits": self.units,
            "taskTypes": self.types,
            "taskSources": self.sources,
            "taskResolutions": [],
            **{name: [{"name": one} for one in words] for name, words in named.items()},
        }

    def make(self, body: Any) -> dict[str, Any]:
        given = checked(body, TASK)
        if errors := {name: ["is not valid"] for name in self._wrong(given)}:
            raise Problem(status=400, title="One or more validation errors.", errors=errors)
        stamp, number = now_text(), len(self.rows) + 1
        row = {**given, "id": 9000 + number, "taskNumber": number}
        row |= {"status": given.get("status", "ToDo"), "createdOn": stamp, "modifiedOn": stamp}
        self.rows.append({**row, "active": True})
        return row

    def find(self, query: Body) -> list[dict[str, Any]]:
        """Those in use alone, unless ``active`` says otherwise."""
        wanted = {"True": (True,), "False": (False,), "Any": (True, False)}
        if (active := query.get("active", "True")) not in wanted:
            raise Problem(status=400, title="Bad request", errors={"active": ["is not valid"]})
        rows = [row for row in self.rows if row["active"] in wanted[active]]
        rows = [row for row in rows if row["createdOn"] >= query.get("createdOnOrAfter", "")]
        for name in FILTERS:
            rows = [r for r in rows if name not in query or str(r.get(name)) == query[name]]
        return [_shown(row) for row in in_order(rows, query.get("sort", ""))]

    def _wrong(self, given: Mapping[str, Any]) -> list[str]:
        """Every id that names nothing in use, and every time that is none."""
        people = self._in_use(self.employees)
        known = {
            "reportedById": people,
            "assignedToId": people,
            "businessUnitId": {row["value"] for row in self.units},
            "employeeTaskTypeId": self._in_use(self.types),
            "employeeTaskSourceId": self._in_use(self.sources),
        }
        wrong = [name for name, ids in known.items() if given[name] not in ids]
        wrong += [n for n in FILTERS if n in given and not self.has_record(n[:-2], given[n])]
        return wrong + [name for name in TIMES if name in given and not _is_time(given[name])]

    def _in_use(self, rows: list[dict[str, Any]]) -> set[int]:
        return {row["id"] for row in rows if row["active"]}


def require_scope(method: str, path: str, scope: str) -> None:
    """Any right to write opens every write but one: tasks are an area of their own, even to read."""
    is_task = path.startswith("/taskmanagement/")
    if (SCOPE not in scope) if is_task else (method != "GET" and ":w" not in scope):
        raise Problem(status=403, title="Provided authentication is insufficient")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in ONLY_WHEN_MADE}
    more = {"employeeTaskResolutionId": 0, "reportedOn": row["reportedDate"], "comments": []}
    return {**more, **shown}


def _is_time(text: str) -> bool:
    try:
        return "T" in text and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
