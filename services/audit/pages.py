"""The support staff's pages: search, the story of one chain, one entry with its proof, status."""

from __future__ import annotations

import structlog
from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from services.audit import finding, proof, story, unmasking
from services.audit.balance import balance
from services.audit.checkpoints import last_checkpoint
from services.audit.deps import WebDeps
from shared.access import current_person, flash, role
from shared.db import reading
from shared.errors import BadPayload, NotFound, StoreUnavailable

log = structlog.get_logger()
VIEWERS = ("support", "approver", "admin", "auditor")


def pages(deps: WebDeps) -> Blueprint:
    """Search → story → entry, and how the log stands."""
    blueprint = Blueprint("audit", __name__, template_folder="templates")
    _search_page(blueprint, deps)
    _story_pages(blueprint, deps)
    _log_pages(blueprint, deps)
    return blueprint


def _search_page(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/search")
    @role(*VIEWERS)
    def search() -> str:
        text = request.args.get("q", "").strip()
        chosen = {name: request.args.get(name, "") for name in finding.FILTERS}
        problem, found, query, is_away = None, None, None, False
        if text or any(chosen.values()):
            try:
                query = finding.parse(text, chosen)
                found = _find(query)
            except BadPayload as error:
                problem = str(error)
            except StoreUnavailable as error:
                log.warning("search waits", error=str(error))
                is_away = True
        return render_template(
            "audit/search.html",
            text=text,
            chosen=chosen,
            filters=finding.FILTERS,
            query=query,
            found=found,
            problem=problem,
            is_away=is_away,
        )

    def _find(query: finding.Query) -> finding.Found:
        person = current_person()
        before = request.args.get("from", type=int)
        page = finding.Page(before=before, size=50)
        found = finding.find(deps, query, viewer=person.id, page=page)
        finding.record_search(deps, query, found, person=person.id)
        return found


def _story_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/stories/<chain>")
    @role(*VIEWERS)
    def told(chain: str) -> str:
        return render_template(
            "audit/story.html", story=story.tell(deps, chain, viewer=current_person().id)
        )

    @blueprint.post("/stories/<chain>/unmask")
    @role("support", "admin", "auditor")
    def unmask(chain: str) -> ResponseReturnValue:
        reason = request.form.get("reason", "")
        unmasking.unmask(deps, chain, person=current_person().id, reason=reason)
        flash("Shown for 15 minutes. That you looked, and why, is in the log.", "warn")
        return redirect(url_for("audit.told", chain=chain), 303)

    @blueprint.get("/entries/<int:seq>")
    @role(*VIEWERS)
    def entry(seq: int) -> str:
        proved = proof.prove(deps, seq)
        try:
            told = story.tell(deps, proved.entry.chain, viewer=current_person().id)
        except NotFound:
            told = None
        line = next((line for line in told.timeline if line.seq == seq), None) if told else None
        return render_template("audit/entry.html", proof=proved, line=line)


def _log_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/log")
    @role("admin", "auditor", "support")
    def log() -> str:
        with reading(deps.engine) as connection:
            checkpoint = last_checkpoint(connection)
        return render_template("audit/log.html", checkpoint=checkpoint, balance=balance(deps))
