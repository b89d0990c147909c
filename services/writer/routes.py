"""The JSON API of the writer: one table of operations, from which routes and OpenAPI are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from marshmallow import Schema

from services.writer import acts, asking, cards, queries, schemas, settling, views
from services.writer.approving import Decided
from services.writer.crm_reports import CrmsView
from services.writer.deps import WebDeps
from shared.access import current_person, role
from shared.domain.schema import rfc3339

# Support reads the log, where values are masked; cards show them open.
VIEWERS = ("approver", "admin", "auditor")
DECIDERS = ("approver", "admin")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call. ``run`` gets the path's argument ("" without one) and the loaded body or query.

    ``answer`` is the view it returns, a tuple of one type for a list, or ``None``.
    """

    method: str
    path: str
    name: str
    summary: str
    run: Callable[[WebDeps, str, Any], Any]
    roles: tuple[str, ...] = VIEWERS
    body: type[Schema] | None = None
    query: type[Schema] | None = None
    answer: Any = None


def _get(path: str, name: str, summary: str, answer: Any, run: Any, **more: Any) -> Operation:
    return Operation(
        method="GET", path=path, name=name, summary=summary, answer=answer, run=run, **more
    )


def _post(
    path: str, name: str, summary: str, run: Any, body: type[Schema] | None = None, **more: Any
) -> Operation:
    return Operation(
        method="POST",
        path=path,
        name=name,
        summary=summary,
        run=run,
        body=body,
        roles=DECIDERS,
        **more,
    )


def _me() -> Any:
    return current_person()


def _list(items: tuple[Any, ...]) -> dict[str, Any]:
    return {"items": items}


def _id(fresh: str) -> dict[str, str]:
    return {"id": fresh}


READS: tuple[Operation, ...] = (
    _get(
        "/cards",
        "cards",
        "The queue, filtered and page by page",
        views.Page,
        lambda deps, _, filters: queries.cards(deps, _me(), filters),
        query=schemas.CardFiltersSchema,
    ),
    _get(
        "/cards/counts",
        "counts",
        "How many cards are in each tab",
        views.Counts,
        lambda deps, *_: queries.counts(deps, _me()),
    ),
    _get(
        "/cards/<id>",
        "card",
        "One card with everything but the live values",
        views.Card,
        lambda deps, card, _: cards.card(deps, _me(), card),
    ),
    _get(
        "/cards/<id>/now",
        "now",
        "The live values of the card's fields",
        views.NowView,
        lambda deps, card, _: cards.now(deps, card),
    ),
    _get(
        "/worklist",
        "worklist",
        "Events that a person must look at",
        (views.WorkRow,),
        lambda deps, _, query: _list(queries.worklist(deps, query["state"], query["assignee"])),
        query=schemas.WorkQuerySchema,
    ),
    _get(
        "/worklist/<id>",
        "work_item",
        "One event of the worklist",
        views.WorkItem,
        lambda deps, event, _: cards.work_item(deps, event),
    ),
    _get(
        "/drafts",
        "drafts",
        "New records that wait to be promoted",
        (views.DraftRow,),
        lambda deps, _, query: _list(queries.drafts(deps, query["state"])),
        query=schemas.DraftQuerySchema,
    ),
    _get(
        "/drafts/<id>/duplicates",
        "duplicates",
        "Records that a draft might repeat",
        (views.CandidateView,),
        lambda deps, change, _: _list(cards.duplicates(deps, change)),
    ),
    _get(
        "/records",
        "records",
        "Records by e-mail, phone or number",
        (views.CandidateView,),
        lambda deps, _, query: _list(cards.search_records(deps, query["q"])),
        query=schemas.RecordQuerySchema,
    ),
    _get(
        "/asks",
        "asks",
        "Your last questions about records",
        (asking.AskRow,),
        lambda deps, *_: _list(asking.latest(deps, _me())),
    ),
    _get(
        "/asks/<id>",
        "asked",
        "One question with its answer, where it has come",
        asking.AskView,
        lambda deps, ask, _: asking.answer_to(deps, ask),
    ),
    _get(
        "/stop",
        "stop_state",
        "Whether writing is stopped",
        views.StopView,
        lambda deps, *_: queries.stop_state(deps),
    ),
    _get(
        "/policy",
        "policy",
        "The policy in force",
        views.PolicyView,
        lambda deps, *_: queries.policy(deps),
    ),
    _get(
        "/crms",
        "crms",
        "What each CRM guarantees, and what our credentials can do in it",
        CrmsView,
        lambda deps, *_: queries.crms(deps),
    ),
)

ACTS: tuple[Operation, ...] = (
    _post(
        "/cards/<id>/approve",
        "approve",
        "Approve exactly what was shown, with a verdict per field",
        lambda deps, card, form: acts.approve(deps, _me(), card, form),
        schemas.ApproveSchema,
        answer=Decided,
    ),
    _post(
        "/cards/<id>/reject",
        "reject",
        "Reject a card with a reason",
        lambda deps, card, form: acts.reject(deps, _me(), card, form),
        schemas.RejectSchema,
        answer=Decided,
    ),
    _post(
        "/cards/<id>/again",
        "again",
        "Send the event back with a note",
        lambda deps, card, form: acts.again(deps, _me(), card, form),
        schemas.AgainSchema,
    ),
    _post(
        "/cards/<id>/reread",
        "reread",
        "A new card over what the record holds now",
        lambda deps, card, _: _id(acts.reread(deps, _me(), card)),
    ),
    _post(
        "/cards/<id>/claim",
        "claim",
        "Say that you are on this card",
        lambda deps, card, _: acts.claim(deps, _me(), card),
    ),
    _post(
        "/cards/<id>/release",
        "release",
        "Leave a card to others",
        lambda deps, card, _: acts.release(deps, _me(), card),
    ),
    _post(
        "/cards/<id>/assign",
        "assign",
        "Ask one person to decide",
        lambda deps, card, form: acts.assign_card(deps, _me(), card, form),
        schemas.AssignSchema,
    ),
    _post(
        "/cards/<id>/snooze",
        "snooze",
        "Put a card aside for some hours",
        lambda deps, card, form: acts.snooze(deps, _me(), card, form),
        schemas.SnoozeSchema,
    ),
    _post(
        "/cards/<id>/opened",
        "opened",
        "Record what was shown",
        lambda deps, card, form: acts.opened(deps, _me(), card, form),
        schemas.OpenedSchema,
    ),
    _post(
        "/changes/<id>/undo",
        "undo",
        "Propose the old value back",
        lambda deps, change, _: _id(acts.undo(deps, _me(), change)),
    ),
    _post(
        "/changes/<id>/settle",
        "settle",
        "Say how a change ended that was done in a CRM without an API",
        lambda deps, change, form: settling.settle(deps, _me(), change, form),
        schemas.SettleSchema,
    ),
    _post(
        "/worklist/<id>",
        "work",
        "Deal with an event that needs a person",
        lambda deps, event, form: acts.work(deps, _me(), event, form),
        schemas.WorkSchema,
    ),
    _post(
        "/drafts/<id>/promote",
        "promote",
        "Make a draft a live record",
        lambda deps, change, _: acts.promote(deps, _me(), change),
    ),
    _post(
        "/drafts/<id>/discard",
        "discard",
        "Close a draft for good",
        lambda deps, change, form: acts.discard(deps, _me(), change, form),
        schemas.DiscardSchema,
    ),
    _post(
        "/asks",
        "ask",
        "Ask for a summary, a reply draft or next steps for one record",
        lambda deps, _, form: _id(asking.ask(deps, _me(), form)),
        schemas.AskSchema,
    ),
    _post(
        "/stop",
        "stop",
        "Stop all writing",
        lambda deps, _, form: acts.stop(deps, _me(), form),
        schemas.StopSchema,
    ),
    _post(
        "/resume",
        "resume",
        "Let writing go on",
        lambda deps, _, form: acts.resume(deps, _me(), form),
        schemas.StopSchema,
    ),
)
OPERATIONS = (*READS, *ACTS)


def api(deps: WebDeps) -> Blueprint:
    """Every operation under ``/api``, and the description of them all."""
    blueprint = Blueprint("writer_api", __name__, url_prefix="/api")
    for operation in OPERATIONS:
        blueprint.add_url_rule(
            operation.path,
            operation.name,
            _view(operation, deps),
            methods=[operation.method],
        )

    @blueprint.get("/openapi.json")
    @role(*VIEWERS)
    def openapi() -> ResponseReturnValue:
        from services.writer.openapi import describe

        return jsonify(describe(OPERATIONS))

    return blueprint


def _view(operation: Operation, deps: WebDeps) -> Callable[..., ResponseReturnValue]:
    @role(*operation.roles)
    def view(id: str = "") -> ResponseReturnValue:  # noqa: A002 - the name in the path.
        given: Any = None
        if operation.query is not None:
            given = schemas.read_query(operation.query, request.args)
        elif operation.body is not None:
            given = schemas.read_act(operation.body, request)
        result = operation.run(deps, id, given)
        return jsonify(plain(result) if result is not None else {"done": True})

    return view


def plain(value: Any) -> Any:
    """A view as JSON data: times in UTC, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
