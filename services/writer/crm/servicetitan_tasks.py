"""ServiceTitan's tasks: what each one needs beside its subject, and how one of ours is found again.

https://developer.servicetitan.io/docs (Task Management v2): a closed body without any key against
repetition; a task is linked to a customer or a job and to nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from services.writer.crm.sending import confirm
from shared.crm.accounts import Account
from shared.crm.servicetitan_history import instant
from shared.crm.transport import understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, rfc3339
from shared.errors import Rejected

TASKS_PATH: Final = "/taskmanagement/v2/tenant/{tenant}"
TASKS: Final = TASKS_PATH + "/tasks"
LISTS: Final = TASKS_PATH + "/data"
# By object type the member that links a task to its record; the list is filtered by it too.
LINKS: Final[Mapping[str, str]] = {"customers": "customerId", "jobs": "jobId"}
# ServiceTitan wants a time: noon is on the same day nearly everywhere.
_DUE: Final = "T12:00:00.000Z"
_MOST_NAMED: Final = 10

Rows = Callable[[str, Mapping[str, str]], Iterable[Mapping[str, Any]]]
Write = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]
Ask = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An ``option`` of the account, the ``member`` of the body that it gives, and the list of the
    CRM that holds what it may be, each row with its id as ``key``.
    """

    option: str
    member: str
    list: str
    key: str = "id"

    def choices(self, lists: Mapping[str, Any]) -> dict[int, str]:
        """Names by id of all that are in use."""
        rows = lists[self.list]
        return {int(row[self.key]): str(row["name"]) for row in rows if row.get("active", True)}


SETTINGS: Final = (
    Setting(option="task_reported_by", member="reportedById", list="employees"),
    Setting(option="task_assigned_to", member="assignedToId", list="employees"),
    Setting(
        option="task_business_unit", member="businessUnitId", list="businessUnits", key="value"
    ),
    Setting(option="task_type", member="employeeTaskTypeId", list="taskTypes"),
    Setting(option="task_source", member="employeeTaskSourceId", list="taskSources"),
)


class Tasks:
    """Tasks of one tenant. ``rows`` reads a whole list, ``write`` and ``ask`` are one call each.

    ``mark`` is what stands in the description of the one task of a change.
    """

    def __init__(self, account: Account, *, rows: Rows, write: Write, ask: Ask) -> None:
        self._crm = account.name
        self._given = {one.option: account.digits(one.option) for one in SETTINGS}
        self._rows = rows
        self._write = write
        self._ask = ask

    def add(
        self, ref: RecordRef, subject: str, due: str | None, *, mark: str, at: datetime
    ) -> None:
        """An open task, reported ``at`` this time. Raises as every write, `Rejected` without the
        options.
        """
        body = {
            **self._settings(),
            link_of(ref): int(ref.id),
            "name": subject,
            "description": mark,
            "isClosed": False,
            "priority": "Normal",
            "reportedDate": rfc3339(at),
            **({} if due is None else {"completeBy": f"{due}{_DUE}"}),
        }
        row = self._write("POST", TASKS, body)
        confirm(lambda: (mark in row["description"], bool(row["id"])), (True, True))

    def find(self, ref: RecordRef, *, mark: str, since: datetime) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task with this mark, made since then, open or not."""
        asked = {
            link_of(ref): ref.id,
            "createdOnOrAfter": rfc3339(since),
            # A task that somebody has put away meanwhile was made all the same.
            "active": "Any",
            "sort": "-Id",
        }
        with understood():
            for row in self._rows(TASKS, asked):
                if mark in (row.get("description") or ""):
                    return {"subject": row["name"], "due": _day(row.get("completeBy"))}
        return None

    def setup(self) -> str:
        """What every task gets, in the CRM's own names.

        Raises `Rejected` naming each option that is missing or wrong, `CRMUnavailable`.
        """
        said, wrong = [], []
        lists = self._ask(LISTS)
        with understood():
            for one in SETTINGS:
                given, choices = self._given[one.option], one.choices(lists)
                if given and int(given) in choices:
                    said.append(f"{one.option} is {choices[int(given)]}")
                else:
                    wrong.append(f"{one.option} {_why(given, choices)}")
        if wrong:
            raise Rejected("; ".join(wrong))
        return ", ".join(said)

    def _settings(self) -> dict[str, int]:
        if missing := [option for option, given in self._given.items() if not given]:
            raise Rejected(
                f"tasks need these options of the write account [{self._crm}]: {', '.join(missing)}"
            )
        return {one.member: int(self._given[one.option]) for one in SETTINGS}


def link_of(ref: RecordRef) -> str:
    """The member that names the record. Raises `Rejected` for what no task can be linked to."""
    if ref.type not in LINKS:
        raise Rejected(f"ServiceTitan links a task to a customer or a job, not to {ref}")
    return LINKS[ref.type]


def _day(text: str | None) -> str | None:
    return None if text is None else instant(text).date().isoformat()


def _why(given: str, choices: Mapping[int, str]) -> str:
    """What is wrong with an id, and what it may be."""
    named = [f"{id_} ({name})" for id_, name in islice(choices.items(), _MOST_NAMED)]
    more = [f"{len(choices) - _MOST_NAMED} more"] if len(choices) > _MOST_NAMED else []
    problem = f"is {given}, which is none in use" if given else "is missing"
    return f"{problem}: there are {', '.join([*named, *more]) or 'none'}"
