"""Everything that can ever be asked of Jobber with the write grant: whole documents, by name.

GraphQL has one path for all, so the table is of operations. A document is a constant here, and of
the input of a mutation only the listed keys may be sent: none that deletes, converts, archives,
or touches owners and money is among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.writer.crm import OutcomeUnknown
from services.writer.crm.sending import Sender
from shared.crm.jobber_api import PATH, TROUBLE, Connection, codes, errors, is_throttled, throttled
from shared.crm.jobber_documents import CUSTOM_FIELDS
from shared.crm.transport import Answer
from shared.errors import CRMUnavailable, Rejected


@dataclass(frozen=True, kw_only=True)
class Operation:
    """``inputs`` are the only keys of its variable ``input``; a question has none."""

    document: str
    inputs: frozenset[str] = frozenset()

    @property
    def is_change(self) -> bool:
        return bool(self.inputs)


def _note(name: str, of: str, note: str, input_type: str) -> Operation:
    """``name`` adds a ``note`` to an ``of``."""
    return Operation(
        document=(
            f"mutation {name}($id: EncodedId!, $input: {input_type}!) {{ "
            f"{name}({of}Id: $id, input: $input) {{ "
            f"{note} {{ id }} userErrors {{ message path }} }} }}"
        ),
        inputs=frozenset({"message"}),
    )


def _notes(name: str, of: str, note: str) -> Operation:
    """The newest notes of an ``of``, to find one of ours again."""
    newest = "first: 100, sort: [{ key: CREATED_AT, direction: DESCENDING }]"
    return Operation(
        document=(
            f"query {name}($id: EncodedId!) {{ {of}(id: $id) {{ "
            f"notes({newest}) {{ nodes {{ ... on {note} {{ id message }} }} }} }} }}"
        )
    )


OPERATIONS: Final[Mapping[str, Operation]] = {
    "clientForEdit": Operation(
        document="""
query clientForEdit($id: EncodedId!) {
  client(id: $id) {
    id
    emails { id address primary }
    phones { id number primary }
    billingAddress { street1 street2 city province postalCode country }
    customFields { ...customFields }
  }
  customFieldConfigurations(filter: { appliesTo: ALL_CLIENTS }, first: 100) {
    nodes { ... on CustomFieldConfigurationInterface { id name readOnly valueType } }
  }
}
"""
        + CUSTOM_FIELDS
    ),
    "customFieldsOfClients": Operation(
        document="""
query customFieldsOfClients {
  customFieldConfigurations(filter: { appliesTo: ALL_CLIENTS }, first: 100) {
    nodes { ... on CustomFieldConfigurationInterface { id name readOnly valueType } }
  }
}
"""
    ),
    "recentClients": Operation(
        document="""
query recentClients($since: ISO8601DateTime!, $after: String) {
  clients(filter: { createdAt: { after: $since } }, first: 50, after: $after) {
    nodes { id customFields { ... on CustomFieldText { label valueText } } }
    pageInfo { endCursor hasNextPage }
  }
}
"""
    ),
    "tasks": Operation(
        document="""
query tasks($after: String) {
  tasks(first: 50, after: $after) {
    nodes { id title instructions startAt client { id } }
    pageInfo { endCursor hasNextPage }
  }
}
"""
    ),
    "requestsOfClient": Operation(
        document="""
query requestsOfClient($id: EncodedId!) {
  requests(filter: { clientId: $id }, first: 50) { nodes { id title } }
}
"""
    ),
    "notesOfClient": _notes("notesOfClient", "client", "ClientNote"),
    "notesOfRequest": _notes("notesOfRequest", "request", "RequestNote"),
    "notesOfJob": _notes("notesOfJob", "job", "JobNote"),
    "clientEdit": Operation(
        document="""
mutation clientEdit($id: EncodedId!, $input: ClientEditInput!) {
  clientEdit(clientId: $id, input: $input) { client { id } userErrors { message path } }
}
""",
        inputs=frozenset(
            {
                "title",
                "firstName",
                "lastName",
                "companyName",
                "emailsToAdd",
                "emailsToEdit",
                "phonesToAdd",
                "phonesToEdit",
                "billingAddress",
                "customFields",
            }
        ),
    ),
    "requestEdit": Operation(
        document="""
mutation requestEdit($id: EncodedId!, $input: RequestEditInput!) {
  requestEdit(requestId: $id, input: $input) { request { id } userErrors { message path } }
}
""",
        inputs=frozenset({"title"}),
    ),
    "clientCreate": Operation(
        document="""
mutation clientCreate($input: ClientCreateInput!) {
  clientCreate(input: $input) { client { id } userErrors { message path } }
}
""",
        inputs=frozenset(
            {
                "firstName",
                "lastName",
                "companyName",
                "emails",
                "phones",
                "billingAddress",
                "customFields",
            }
        ),
    ),
    "requestCreate": Operation(
        document="""
mutation requestCreate($input: RequestCreateInput!) {
  requestCreate(input: $input) { request { id } userErrors { message path } }
}
""",
        inputs=frozenset({"clientId", "title", "requestDetails"}),
    ),
    "taskCreate": Operation(
        document="""
mutation taskCreate($id: EncodedId!, $input: TaskCreateInput!) {
  taskCreate(clientId: $id, input: $input) { task { id } userErrors { message path } }
}
""",
        inputs=frozenset({"title", "instructions", "startAt", "endAt"}),
    ),
    "clientCreateNote": _note("clientCreateNote", "client", "clientNote", "ClientCreateNoteInput"),
    "requestCreateNote": _note(
        "requestCreateNote", "request", "requestNote", "RequestCreateNoteInput"
    ),
    "jobCreateNote": _note("jobCreateNote", "job", "jobNote", "JobCreateNoteInput"),
}
# As the sender's table wants it: the part behind "#" stays here, Jobber sees the path alone.
ALLOWED: Final = frozenset(("POST", f"{PATH}#{name}") for name in OPERATIONS)


class Operations(Sender):
    """A `Sender` of the documents of the table, and of nothing else."""

    def __init__(self, connection: Connection, *, timeout: float) -> None:
        super().__init__(
            connection.base_url,
            connection.authorization,
            ALLOWED,
            timeout=timeout,
            pace=connection.pace,
            judge=judged,
            heed=connection.heed,
            headers=connection.headers,
        )

    def ask(self, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The data that answers a question. Raises `CRMUnavailable` or `Rejected`."""
        answer = self.read("POST", f"{PATH}#{name}", body=_body(name, variables))
        data = answer.data.get("data") if isinstance(answer.data, dict) else None
        if not isinstance(data, dict):
            raise CRMUnavailable("Jobber answered 200 without data")
        return data

    def change(self, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What a mutation says it did; sent once. Raises as `Sender.write`."""
        answer = self.write("POST", f"{PATH}#{name}", _body(name, variables))
        try:
            payload = answer.data["data"][name]
        except (TypeError, KeyError) as error:
            raise OutcomeUnknown(answer.reason) from error
        if not isinstance(payload, dict):
            raise OutcomeUnknown(answer.reason)
        return payload

    def _require_allowed(self, method: str, template: str, body: Any) -> None:
        super()._require_allowed(method, template, body)
        _require_listed(template.partition("#")[2], body)


def _body(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "query": OPERATIONS[name].document,
        "operationName": name,
        "variables": dict(variables),
    }


def _require_listed(name: str, body: Any) -> None:
    """The last look before anything is sent, whoever made the body. Raises `Rejected`."""
    operation = OPERATIONS.get(name)
    if operation is None or not isinstance(body, dict) or body.get("query") != operation.document:
        raise Rejected(f"{name or 'this'} is not among the operations of this product")
    given = set(body["variables"].get("input", {}))
    if given - operation.inputs:
        raise Rejected(f"{name} may not be given {', '.join(sorted(given - operation.inputs))}")


def judged(answer: Answer) -> Rejected | CRMUnavailable | OutcomeUnknown | None:
    """A 200 may be a refusal, and an error after the work has begun says nothing certain."""
    if not errors(answer):
        return _user_errors(answer)
    if is_throttled(answer):
        return throttled(answer)
    # Without ``data`` nothing was carried out: https://spec.graphql.org/October2021/#sec-Errors
    is_trouble = codes(errors(answer)) & TROUBLE
    if answer.status < 500 and "data" not in answer.data and not is_trouble:
        return Rejected(answer.reason)
    return OutcomeUnknown(answer.reason)


def _user_errors(answer: Answer) -> Rejected | None:
    data = answer.data.get("data") if isinstance(answer.data, dict) else None
    if not answer.is_success or not isinstance(data, dict):
        return None
    for payload in data.values():
        found = payload.get("userErrors") if isinstance(payload, dict) else None
        if found:
            return Rejected(f"Jobber refused: {_said(found)}")
    return None


def _said(found: Any) -> str:
    try:
        return "; ".join(f"{one['message']} ({'.'.join(one['path'])})" for one in found)[:200]
    except (TypeError, KeyError):
        return str(found)[:200]
