"""Every document and every variable of the connector, held to the contract of the API version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from graphql import (
    FieldNode,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_variable_values,
    parse,
    validate,
    visit,
)

from services.writer.crm.jobber_operations import OPERATIONS
from shared.crm import jobber_documents as documents
from shared.crm.jobber_fields import STAGES, TABLE, TITLES
from shared.domain.record import RecordRef
from shared.errors import Rejected
from tests.fakes.jobber import contract, first_field, gid, operation_of, whole_schema
from tests.fakes.jobber_fixtures import Running, running_jobber

QUESTIONS = {
    **{f"read {name}": text for name, text in documents.READ.items()},
    "history": documents.HISTORY,
    "search": documents.SEARCH,
    "search phone": documents.SEARCH_PHONE,
    "configurations": documents.CONFIGURATIONS,
    "changed": documents.CHANGED,
    **{f"sample {name}": text for name, text in documents.SAMPLE.items()},
}
# What the contract file does not hold; known from the vendor's pages alone.
BEYOND = {"notesOfRequest", "notesOfJob", "jobCreateNote", "tasks"}
ALL = {**QUESTIONS, **{name: one.document for name, one in OPERATIONS.items()}}


def schema_for(name: str) -> GraphQLSchema:
    return whole_schema() if name in BEYOND else contract()


@pytest.mark.parametrize("name", ALL)
def test_a_document_is_valid_under_the_contract(name: str) -> None:
    assert validate(schema_for(name), parse(ALL[name])) == []


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_what_the_contract_does_not_hold_is_named_as_such(name: str) -> None:
    assert validate(contract(), parse(ALL[name])), "the contract holds it now: prove it there"


@pytest.mark.parametrize("name", ALL)
def test_a_document_is_one_operation_of_the_right_kind(name: str) -> None:
    operation = operation_of(ALL[name])
    is_change = name in OPERATIONS and OPERATIONS[name].is_change
    assert operation.operation is (OperationType.MUTATION if is_change else OperationType.QUERY)
    if is_change:
        assert len(operation.selection_set.selections) == 1
        assert first_field(operation) == name


@pytest.mark.parametrize("name", ALL)
def test_every_list_of_a_document_says_how_many(name: str) -> None:
    unbounded: list[str] = []
    info = TypeInfo(schema_for(name))

    class Lists(Visitor):
        def enter_field(self, node: FieldNode, *_: Any) -> None:
            field = info.get_field_def()
            given = {argument.name.value for argument in node.arguments or ()}
            if field and "first" in set(field.args) - given:
                unbounded.append(node.name.value)

    visit(parse(ALL[name]), TypeInfoVisitor(info, Lists()))
    assert unbounded == []


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if one.is_change])
def test_the_listed_inputs_are_inputs_of_the_contract_and_delete_nothing(name: str) -> None:
    type_ = operation_of(OPERATIONS[name].document).variable_definitions[-1].type
    input_type = schema_for(name).type_map[type_.type.name.value]  # type: ignore[union-attr]
    assert isinstance(input_type, GraphQLInputObjectType)
    assert set(input_type.fields) >= OPERATIONS[name].inputs
    forbidden = ("delete", "archive", "salesperson", "assigned", "receives", "tax", "discount")
    assert not [key for key in OPERATIONS[name].inputs if any(w in key.lower() for w in forbidden)]


# A wrong value for one listed key of each mutation: the contract itself refuses it.
CANARIES: dict[str, dict[str, Any]] = {
    "clientEdit": {"emailsToEdit": [{"address": "no-id@example.com"}]},
    "requestEdit": {"title": ["a", "list"]},
    "clientCreate": {"emails": [{"description": "HOME", "address": "x"}]},
    "requestCreate": {"title": "without a client"},
    "clientCreateNote": {"message": {"text": "x"}},
    "requestCreateNote": {"message": ["x"]},
    "jobCreateNote": {"message": 5},
    "taskCreate": {"instructions": "without a title"},
}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with running_jobber(tmp_path) as running:
        yield running


def test_there_is_a_canary_for_each_mutation() -> None:
    assert set(CANARIES) == {name for name, one in OPERATIONS.items() if one.is_change}


@pytest.mark.parametrize("name", CANARIES)
def test_a_wrong_body_is_refused_by_the_contract_and_has_no_effect(
    running: Running, name: str
) -> None:
    with pytest.raises(Rejected):
        running.writer()._sender.change(
            name, {"id": running.dana.id, "input": CANARIES[name]}
            if "$id" in OPERATIONS[name].document else {"input": CANARIES[name]}
        )  # fmt: skip
    assert running.fake.writes(), "it was sent, and the contract refused it"
    assert running.jobber.done == 0


WRONG = {
    "removed": "clientNoteCreate(input: {}) { userErrors { message } }",
    "not in the input": 'clientEdit(clientId: $id, input: {email: "x"}) { userErrors { path } }',
    "not writable": (
        "requestEdit(requestId: $id, input: {requestStatus: new}) { userErrors { path } }"
    ),
    "without a title": 'taskCreate(input: {instructions: "x"}) { userErrors { path } }',
    "archiving": "clientArchive(clientId: $id) { userErrors { path } }",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_the_contract_refuses_the_double_refuses_too(running: Running, wrong: str) -> None:
    declared = "($id: EncodedId!)" if "$id" in WRONG[wrong] else ""
    document = f"mutation m{declared} {{ {WRONG[wrong]} }}"

    token = running.jobber.write_app._pair()["access_token"]
    answer = requests.post(
        f"{running.url}/api/graphql",
        json={"query": document, "variables": {"id": running.dana.id}},
        headers={"Authorization": f"Bearer {token}", "X-JOBBER-GRAPHQL-VERSION": "2025-04-16"},
        timeout=5,
    ).json()
    assert "data" not in answer
    assert answer["errors"]
    assert running.jobber.done == 0


def test_everything_that_is_sent_fits_the_contract(running: Running) -> None:
    """The whole of both sides once; every variable is coerced as the vendor's server would."""
    reader, writer = running.reader(), running.writer(lead_request="yes")
    roof = running.jobber.configuration("Roof", "TEXT")
    running.jobber.row(running.dana)["custom"][roof] = "Slate"
    owned = {"clientId": running.dana.id}
    job = running.jobber.add("jobs", title="J", jobNumber=1, jobStatus="late", total=1.0, **owned)
    request = running.jobber.add("requests", title="R", requestStatus="new", source="Web", **owned)
    values = {
        "firstName": "A",
        "companyName": None,
        "title": "DR",
        "email": "a@example.com",
        "phone": "+12025550111",
        "billingAddress.city": None,
        "customFields.Roof": "Flat",
    }
    writer.update(running.dana, values, change_id="c")
    writer.update(request, {"title": "New"}, change_id="c")
    for ref in (running.dana, request, job):
        writer.add_note(ref, "Called.", change_id="c")
        reader.read(ref)
        reader.history(ref)
    writer.add_task(running.dana, "Call.", "2026-12-01", change_id="c")
    writer.add_task(running.dana, "Call again.", None, change_id="c2")
    lead = {name: "5550100" if name == "phone" else "x" for name in reader.names}
    writer.create({**lead, "email": "x@example.com"}, change_id="change-1")
    reader.search(email="a@example.com", phone="+12025550111")
    reader.changes_by_us(datetime.now(UTC) - timedelta(hours=1))
    reader.fields("clients")
    reader.sample("clients")
    reader.sample("requests")
    told = list(zip(running.jobber.documents, running.jobber.log, strict=True))
    assert {name for document, (_, name, _) in told} >= set(CANARIES)
    for document, (_, name, variables) in told:
        operation = operation_of(document)
        coerced = get_variable_values(
            whole_schema(), list(operation.variable_definitions or ()), variables
        )
        assert not isinstance(coerced, list), (name, coerced)
        assert document in ALL.values(), "only the constants are sent"
    assert running.jobber.deletes == 0


def test_the_tables_of_fields_and_states_are_those_of_the_contract() -> None:
    schema = contract()
    for object_type, kind in (("clients", "Client"), ("requests", "Request"), ("jobs", "Job")):
        node = schema.type_map[kind]
        assert isinstance(node, GraphQLObjectType)
        edit = schema.type_map.get(f"{kind}EditInput")
        inputs = set(edit.fields) if isinstance(edit, GraphQLInputObjectType) else set()
        inputs |= {"email"} if "emailsToEdit" in inputs else set()
        inputs |= {"phone"} if "phonesToEdit" in inputs else set()
        for name, _, class_ in TABLE[object_type]:
            first = name.partition(".")[0]
            assert first in node.fields or first in {"contact_id", "salespersonId"}, name
            if class_ is None:
                assert first in inputs, f"{name} is open, and no edit takes it"
    for object_type, enum in (
        ("requests", "RequestStatusTypeEnum"),
        ("jobs", "JobStatusTypeEnum"),
    ):
        assert set(STAGES[object_type]) == set(schema.type_map[enum].values)  # type: ignore[attr-defined]
    assert set(TITLES) == set(schema.type_map["ClientTitle"].values)  # type: ignore[attr-defined]


def test_a_removed_or_unknown_record_is_an_answer_of_the_contract(running: Running) -> None:
    ref = RecordRef(crm="jobber", type="clients", id=gid("Client", 999))
    with pytest.raises(Rejected):
        running.writer().update(ref, {"firstName": "x"}, change_id="c")
    _, name, variables = running.jobber.log[-1]
    assert (name, variables["id"]) == ("clientEdit", ref.id)
    assert running.jobber.done == 0
