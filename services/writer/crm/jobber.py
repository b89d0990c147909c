"""The write side of Jobber: chosen fields of clients and requests, notes, and new clients.

https://developer.getjobber.com/docs/using_jobbers_api/api_queries_and_mutations
Jobber knows neither a conditional write nor an idempotent create. What we make carries its change
id in a custom field of clients: that is one with the client itself, where a note would be a second
call that may never come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Self

from services.writer.crm.jobber_inputs import OPEN, client_edit, new_client, request_edit
from services.writer.crm.jobber_operations import Operations
from services.writer.crm.sending import confirm
from shared.crm.accounts import Account
from shared.crm.jobber import CHANGE_FIELD, MARK
from shared.crm.jobber_api import Connection
from shared.crm.oauth import claims
from shared.crm.transport import path_of, understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, now, rfc3339
from shared.errors import CRMUnavailable, NotFound, Rejected

# By object type: the question for its notes, the node that holds them, and what adds one.
_NOTES: Final = {
    "clients": ("notesOfClient", "client", "clientCreateNote", "clientNote"),
    "requests": ("notesOfRequest", "request", "requestCreateNote", "requestNote"),
    "jobs": ("notesOfJob", "job", "jobCreateNote", "jobNote"),
}
# By question: the list in its answer, and what helps where that is too long.
_LISTS: Final = {"recentClients": ("clients", ": lower find_days"), "tasks": ("tasks", "")}
_MOST_PAGES: Final = 40
# How far back a client of ours is looked for: longer than any change waits for its second try.
FIND_DAYS: Final = 7.0


class JobberWriter:
    """Writes with a grant of its own. ``timeout`` is in seconds, for a whole exchange.

    Every write raises `Rejected` (`NotFound`) where Jobber refused it, `CRMUnavailable` where it
    certainly had no effect and may be tried again, and `OutcomeUnknown` where nobody can say.
    """

    is_conditional = False
    marks_updates = False

    def __init__(
        self, account: Account, *, timeout: float = 10.0, clock: Callable[[], datetime] = now
    ) -> None:
        self.crm = account.name
        self._connection = Connection.of(account, timeout)
        self._sender = Operations(self._connection, timeout=timeout)
        self._change_field = account.options.get("change_field", CHANGE_FIELD)
        self._makes_requests = account.options.get("lead_request") == "yes"
        self._since = timedelta(days=account.number("find_days", FIND_DAYS))
        self._clock = clock

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(account)

    @property
    def problem(self) -> str | None:
        """What Jobber says of the version of its API that we ask for, where that needs care."""
        return self._connection.versioning.problem

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,  # noqa: ARG002 - Jobber has no place for it on an update.
        version: str | None = None,  # noqa: ARG002 - and no condition.
    ) -> None:
        """Set these fields; ``None`` empties one, except an address or number: no delete exists."""
        self._require(ref, OPEN)
        if closed := sorted(name for name in fields if not OPEN[ref.type](name)):
            raise Rejected(f"never written to {ref.type} of Jobber: {', '.join(closed)}")
        if ref.type == "requests":
            name, made = "requestEdit", request_edit(fields)
        else:
            name, made = "clientEdit", client_edit(fields, lambda: self._client(ref))
        payload = self._sender.change(name, {"id": ref.id, "input": made})
        confirm(lambda: payload[ref.type.removesuffix("s")]["id"], ref.id)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """A note with our mark, unless one of the newest hundred carries it already."""
        if self.note(ref, change_id=change_id) is not None:
            return
        _, _, act, made = _NOTES[ref.type]
        message = marked(text, change_id)
        payload = self._sender.change(act, {"id": ref.id, "input": {"message": message}})
        confirm(lambda: bool(payload[made]["id"]), expected=True)

    @understood()
    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change, among the newest hundred."""
        self._require(ref, _NOTES)
        question, node, _, _ = _NOTES[ref.type]
        found = self._sender.ask(question, {"id": ref.id})[node]
        if found is None:
            raise NotFound(f"Jobber has no {ref}")
        texts = (unmarked(one.get("message", ""), change_id) for one in found["notes"]["nodes"])
        return next((text for text in texts if text is not None), None)

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """A task of the client whose instructions carry our mark, unless there is one already."""
        if self.task(ref, change_id=change_id) is not None:
            return
        made = {"title": subject, "instructions": marked("", change_id), **_when(due)}
        payload = self._sender.change("taskCreate", {"id": ref.id, "input": made})
        confirm(lambda: bool(payload["task"]["id"]), expected=True)

    @understood()
    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """Jobber finds no tasks by their client, so all of them are looked through."""
        self._require(ref, {"clients": OPEN})
        for node in self._pages("tasks", {}):
            is_its = (node["client"] or {}).get("id") == ref.id
            if is_its and unmarked(node["instructions"] or "", change_id) is not None:
                start = node["startAt"]
                return {"subject": node["title"], "due": start[:10] if start else None}
        return None

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new client, and the request where the account wants one; what is there stays one."""
        client = self._made_client(change_id)
        if client is None:
            carrier = self._change_field_id()
            made = new_client(fields, carrier=carrier, change_id=change_id)
            payload = self._sender.change("clientCreate", {"input": made})
            confirm(lambda: bool(payload["client"]["id"]), expected=True)
            client = str(payload["client"]["id"])
        if self._makes_requests and not self._has_request(client, change_id):
            self._request(client, change_id)
        return self._ref(client)

    def find(self, change_id: str) -> RecordRef | None:
        """The client that this change has made, with its request where one belongs to it."""
        client = self._made_client(change_id)
        if client is None or (self._makes_requests and not self._has_request(client, change_id)):
            return None
        return self._ref(client)

    def scopes(self) -> tuple[str, ...]:
        """What the access token says of itself; none where it says nothing."""
        token = self._connection.authorization.headers()["Authorization"].removeprefix("Bearer ")
        return tuple(str(claims(token).get("scope", "")).split())

    def _require(self, ref: RecordRef, known: Mapping[str, object]) -> None:
        if ref.crm != self.crm or ref.type not in known:
            raise NotFound(f"nothing is written to {ref.crm}/{ref.type}")
        path_of("{id}", id=ref.id)

    def _ref(self, client: str) -> RecordRef:
        return RecordRef(crm=self.crm, type="clients", id=client)

    @understood()
    def _client(self, ref: RecordRef) -> dict[str, Any]:
        """What an edit of lists must know: ids of addresses, numbers and custom fields."""
        data = self._sender.ask("clientForEdit", {"id": ref.id})
        if data["client"] is None:
            raise NotFound(f"Jobber has no {ref}")
        nodes = data["customFieldConfigurations"]["nodes"]
        # The field of our own marks is not to be edited by anybody.
        configurations = [row for row in nodes if row.get("name") != self._change_field]
        return {**data["client"], "configurations": configurations}

    @understood()
    def _change_field_id(self) -> str:
        data = self._sender.ask("customFieldsOfClients", {})
        for row in data["customFieldConfigurations"]["nodes"]:
            if row.get("name") == self._change_field and row["valueType"] == "TEXT":
                return str(row["id"])
        raise Rejected(
            f"Jobber has no text field “{self._change_field}” for clients: make it under "
            "Settings → Custom Fields, so that what is made can be found again"
        )

    @understood()
    def _made_client(self, change_id: str) -> str | None:
        since = rfc3339(self._clock() - self._since)
        for node in self._pages("recentClients", {"since": since}):
            for field in node["customFields"]:
                if (field.get("label"), field.get("valueText")) == (self._change_field, change_id):
                    return str(node["id"])
        return None

    def _pages(self, name: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every node of a list. Raises `CRMUnavailable` for one that does not end."""
        after, list_, advice = None, *_LISTS[name]
        for _ in range(_MOST_PAGES):
            page = self._sender.ask(name, {**asked, "after": after})[list_]
            yield from page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]
        raise CRMUnavailable(f"too many {list_} to look through{advice}")

    @understood()
    def _has_request(self, client: str, change_id: str) -> bool:
        nodes = self._sender.ask("requestsOfClient", {"id": client})["requests"]["nodes"]
        return any(_title(change_id) == node["title"] for node in nodes)

    def _request(self, client: str, change_id: str) -> None:
        item = {"label": "Change", "answerText": change_id}
        form = {"sections": [{"label": "Countersign", "items": [item]}]}
        made = {"clientId": client, "title": _title(change_id), "requestDetails": {"form": form}}
        payload = self._sender.change("requestCreate", {"input": made})
        confirm(lambda: bool(payload["request"]["id"]), expected=True)


def marked(text: str, change_id: str) -> str:
    """``text`` with the change below it; what looks like a mark of ours above is none."""
    return f"{MARK.sub('', text)}\n\n[countersign {change_id}]"


def unmarked(text: str, change_id: str) -> str | None:
    """What stands above the mark of this change; ``None`` where there is no such mark."""
    head, mark, rest = text.rstrip().rpartition(f"[countersign {change_id}]")
    return head.removesuffix("\n\n") if mark and not rest else None


def _when(due: str | None) -> dict[str, str]:
    """An hour at noon, which is on the same day from Hawaii to New Zealand's winter."""
    return {} if due is None else {"startAt": f"{due}T12:00:00Z", "endAt": f"{due}T13:00:00Z"}


def _title(change_id: str) -> str:
    return f"New lead [countersign {change_id}]"
