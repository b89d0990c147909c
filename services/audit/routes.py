"""The audit API: search, stories, entries with their proofs, unmasking, checkpoint, export."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from marshmallow import RAISE, Schema, fields

from services.audit import export, finding, proof, reader, story, unmasking
from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.deps import WebDeps
from shared.access import current_person, role
from shared.db import reading
from shared.domain.ledger import LedgerEntrySchema
from shared.domain.schema import dump
from shared.errors import BadPayload, NotFound
from shared.forms import posted

VIEWERS = ("support", "approver", "admin", "auditor")
LARGEST_PAGE = 200


class UnmaskSchema(Schema):
    """Why somebody has to see the values of a chain."""

    class Meta:
        unknown = RAISE

    chain = fields.String(required=True)
    reason = fields.String(required=True)


def api(deps: WebDeps) -> Blueprint:
    """Everything the pages show, as JSON under ``/api``."""
    blueprint = Blueprint("audit_api", __name__, url_prefix="/api")
    _searching(blueprint, deps)
    _telling(blueprint, deps)
    _log(blueprint, deps)
    return blueprint


def _searching(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/search")
    @role(*VIEWERS)
    def search() -> ResponseReturnValue:
        """Filters are parameters by name; ``from`` is the ``next_before`` of the page before."""
        person = current_person()
        filters = {name: request.args.get(name, "") for name in finding.FILTERS}
        query = finding.parse(request.args.get("q", ""), filters)
        if query.is_empty:
            raise BadPayload("nothing to search for: give a word or a filter")
        page = finding.Page(before=_whole("from"), size=_whole("size") or 50)
        found = finding.find(deps, query, viewer=person.id, page=page)
        finding.record_search(deps, query, found, person=person.id)
        return jsonify({**asdict(found), "filters": query.chips})

    @blueprint.get("/log/complete")
    @role(*VIEWERS)
    def complete() -> ResponseReturnValue:
        return jsonify(asdict(finding.completeness(deps)))


def _telling(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/chains/<chain>")
    @role(*VIEWERS)
    def chain_story(chain: str) -> ResponseReturnValue:
        return jsonify(asdict(story.tell(deps, chain, viewer=current_person().id)))

    @blueprint.get("/entries/<int:seq>")
    @role(*VIEWERS)
    def entry(seq: int) -> ResponseReturnValue:
        proved = proof.prove(deps, seq)
        told = story.tell(deps, proved.entry.chain, viewer=current_person().id)
        line = next(line for line in told.timeline if line.seq == seq)
        data: dict[str, Any] = {**vars(proved), "entry": dump(LedgerEntrySchema, proved.entry)}
        return jsonify({**data, "line": asdict(line)})

    @blueprint.post("/unmask")
    @role("support", "admin", "auditor")
    def unmask() -> ResponseReturnValue:
        form = posted(UnmaskSchema)
        chain = form["chain"]
        with reading(deps.engine) as db:
            if reader.newest_of(db, chain) < 0:
                raise NotFound("the log has no such chain")
        unmasking.unmask(deps, chain, person=current_person().id, reason=form["reason"])
        return jsonify({"chain": chain, "minutes": unmasking.MINUTES})


def _log(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/log/checkpoint")
    @role(*VIEWERS)
    def checkpoint() -> ResponseReturnValue:
        with reading(deps.engine) as db:
            last = last_checkpoint(db)
        if last is None:
            raise NotFound("the log has no checkpoint yet")
        return jsonify({**asdict(last), "vkey": deps.vkeys()[0].text()})

    @blueprint.get("/log/balance")
    @role("support", "admin", "auditor")
    def counted() -> ResponseReturnValue:
        found = balance(deps)
        return jsonify({**asdict(found), "difference": found.difference})

    @blueprint.get("/log/export")
    @role("admin", "auditor")
    def export_log() -> ResponseReturnValue:
        """A zip file for ``verify.py``."""
        headers = {"Content-Disposition": "attachment; filename=countersign-log.zip"}
        return Response(export.zip_stream(deps), mimetype="application/zip", headers=headers)


def _whole(name: str) -> int | None:
    text = request.args.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadPayload(f"{name} must be a whole number")
    return min(int(text), LARGEST_PAGE) if name == "size" else int(text)
