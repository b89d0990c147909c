"""The approver's pages. Each form posts to the same act as the API, with the same schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from services.writer import acts, asking, cards, queries, schemas, settling
from services.writer.service import WebDeps
from shared.access import bound_to, current_person, flash, role
from shared.domain.decision import Reason

# Support reads the log, where values are masked; cards show them open.
VIEWERS = ("approver", "admin", "auditor")
DECIDERS = ("approver", "admin")
TABS = (
    ("needs_you", "Needs you"),
    ("waiting", "Waiting for others"),
    ("decided", "Decided"),
    ("expired", "Expired"),
)
REASONS = {
    Reason.WRONG_VALUE: "The value is wrong",
    Reason.WRONG_CUSTOMER: "It is the wrong customer",
    Reason.NOT_ASKED_FOR: "Nobody asked for this",
    Reason.ALREADY_DONE: "It has been done already",
    Reason.SUSPICIOUS: "It looks like an attempt to deceive",
    Reason.OTHER: "Something else",
}


def pages(deps: WebDeps) -> Blueprint:
    """All pages under one blueprint; the API lives in `services.writer.routes`."""
    blueprint = Blueprint("writer", __name__, template_folder="templates")
    _queue_pages(blueprint, deps)
    _card_pages(blueprint, deps)
    _card_acts(blueprint, deps)
    _hand_off_pages(blueprint, deps)
    _worklist_pages(blueprint, deps)
    _draft_pages(blueprint, deps)
    _ask_pages(blueprint, deps)
    _switch_pages(blueprint, deps)
    return blueprint


def _queue_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/queue")
    @role(*VIEWERS)
    def queue() -> str:
        return _queue("needs_you")

    @blueprint.get("/decided")
    @role(*VIEWERS)
    def decided() -> str:
        return _queue("decided")

    def _queue(tab: str) -> str:
        filters = schemas.read_query(schemas.CardFiltersSchema, {"tab": tab, **request.args})
        return render_template(
            "writer/queue.html",
            page=queries.cards(deps, current_person(), filters),
            totals=queries.counts(deps, current_person()),
            filters=filters,
            tabs=TABS,
            stop=queries.stop_state(deps),
        )


def _card_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/cards/<card_id>")
    @role(*VIEWERS)
    def card(card_id: str) -> str:
        found = cards.card(deps, current_person(), card_id)
        # Without script the live values are read on request; with it the page asks by itself.
        now = cards.now(deps, card_id) if request.args.get("live") else None
        return _render_card(found, now)

    @blueprint.get("/fragment/cards/<card_id>/now")
    @role(*VIEWERS)
    def now(card_id: str) -> str:
        found = cards.card(deps, current_person(), card_id)
        return render_template(
            "writer/fields.html", card=found, now=cards.now(deps, card_id), live=True
        )

    @blueprint.get("/fragment/cards/<card_id>/change")
    @role(*VIEWERS)
    def change(card_id: str) -> str:
        found = cards.card(deps, current_person(), card_id)
        return render_template("writer/change.html", card=found)

    def _render_card(found: Any, now: Any) -> str:
        return render_template(
            "writer/card.html",
            card=found,
            now=now,
            live=now is not None,
            reasons=REASONS,
            stop=queries.stop_state(deps),
            next_card=_next_card(deps, found.row.id),
        )


def _next_card(deps: WebDeps, current: str) -> str | None:
    """The card after this one in the queue, or the first, so that deciding leads on."""
    filters = schemas.CardFilters(tab="needs_you")
    cards_ = [row.id for row in queries.cards(deps, current_person(), filters).rows]
    after = cards_[cards_.index(current) + 1 :] if current in cards_ else []
    return next((card for card in [*after, *cards_] if card != current), None)


Act = Callable[[WebDeps, str], str]


def _approve(deps: WebDeps, card_id: str) -> str:
    form = schemas.read_act(schemas.ApproveSchema, request)
    bound_to(card_id)
    return acts.approve(deps, current_person(), card_id, form).message


def _reject(deps: WebDeps, card_id: str) -> str:
    form = schemas.read_act(schemas.RejectSchema, request)
    bound_to(card_id)
    return acts.reject(deps, current_person(), card_id, form).message


def _again(deps: WebDeps, card_id: str) -> str:
    form = schemas.read_act(schemas.AgainSchema, request)
    acts.again(deps, current_person(), card_id, form)
    return "Sent back with your note. A new proposal follows."


def _assign(deps: WebDeps, card_id: str) -> str:
    form = schemas.read_act(schemas.AssignSchema, request)
    acts.assign_card(deps, current_person(), card_id, form)
    return "Assigned."


def _claim(deps: WebDeps, card_id: str) -> str:
    acts.claim(deps, current_person(), card_id)
    return "You are on this card."


def _release(deps: WebDeps, card_id: str) -> str:
    acts.release(deps, current_person(), card_id)
    return "Released for others."


ACTS: dict[str, Act] = {
    "approve": _approve,
    "reject": _reject,
    "again": _again,
    "assign": _assign,
    "claim": _claim,
    "release": _release,
}


def _card_acts(blueprint: Blueprint, deps: WebDeps) -> None:
    def act(name: str, run: Act) -> None:
        @blueprint.post(f"/cards/<card_id>/{name}", endpoint=f"act_{name}")
        @role(*DECIDERS)
        def post(card_id: str) -> ResponseReturnValue:
            flash(run(deps, card_id), "ok")
            return redirect(url_for("writer.card", card_id=card_id), 303)

    for name, run in ACTS.items():
        act(name, run)

    @blueprint.post("/cards/<card_id>/reread")
    @role(*DECIDERS)
    def reread(card_id: str) -> ResponseReturnValue:
        fresh = acts.reread(deps, current_person(), card_id)
        flash("Read again. This card shows the values of now.", "ok")
        return redirect(url_for("writer.card", card_id=fresh), 303)

    @blueprint.post("/cards/<card_id>/opened")
    @role(*DECIDERS)
    def opened(card_id: str) -> ResponseReturnValue:
        form = schemas.read_act(schemas.OpenedSchema, request)
        acts.opened(deps, current_person(), card_id, form)
        return "", 204

    @blueprint.post("/changes/<change_id>/undo")
    @role(*DECIDERS)
    def undo(change_id: str) -> ResponseReturnValue:
        fresh = acts.undo(deps, current_person(), change_id)
        flash("The old value is proposed back. It needs an approval like any other.", "ok")
        return redirect(url_for("writer.card", card_id=fresh), 303)


def _hand_off_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.post("/changes/<change_id>/settle")
    @role(*DECIDERS)
    def settle(change_id: str) -> ResponseReturnValue:
        form = schemas.read_act(schemas.SettleSchema, request)
        settling.settle(deps, current_person(), change_id, form)
        flash("Noted, with your name and the time.", "ok")
        return redirect(url_for("writer.decided"), 303)


def _worklist_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/look")
    @role(*VIEWERS)
    def look() -> str:
        state = request.args.get("state", "open")
        rows = queries.worklist(deps, state=state)
        return render_template(
            "writer/look.html",
            rows=rows,
            state=state,
            totals=queries.counts(deps, current_person()),
        )

    @blueprint.get("/look/<event_id>")
    @role(*VIEWERS)
    def look_at(event_id: str) -> str:
        return render_template("writer/item.html", item=cards.work_item(deps, event_id))

    @blueprint.post("/look/<event_id>")
    @role(*DECIDERS)
    def work(event_id: str) -> ResponseReturnValue:
        form = schemas.read_act(schemas.WorkSchema, request)
        acts.work(deps, current_person(), event_id, form)
        flash({"done": "Done.", "assigned": "Assigned."}.get(form.action, "Open again."), "ok")
        return redirect(url_for("writer.look"), 303)


def _draft_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/drafts")
    @role(*VIEWERS)
    def drafts() -> str:
        state = request.args.get("state", "open")
        return render_template(
            "writer/drafts.html", rows=queries.drafts(deps, state=state), state=state
        )

    @blueprint.get("/drafts/<change_id>")
    @role(*VIEWERS)
    def draft(change_id: str) -> str:
        row = next(row for row in queries.drafts(deps, state="all") if row.change_id == change_id)
        found = cards.card(deps, current_person(), row.proposal_id)
        return render_template(
            "writer/draft.html",
            row=row,
            card=found,
            likely=cards.duplicates(deps, change_id),
            handed=queries.hand_off(deps, change_id),
        )

    @blueprint.post("/drafts/<change_id>/promote")
    @role(*DECIDERS)
    def promote(change_id: str) -> ResponseReturnValue:
        acts.promote(deps, current_person(), change_id)
        flash("Promoted. The new record is made in a moment.", "ok")
        return redirect(url_for("writer.drafts"), 303)

    @blueprint.post("/drafts/<change_id>/discard")
    @role(*DECIDERS)
    def discard(change_id: str) -> ResponseReturnValue:
        form = schemas.read_act(schemas.DiscardSchema, request)
        acts.discard(deps, current_person(), change_id, form)
        flash("Discarded. The draft stays in the log, not in the CRM.", "ok")
        return redirect(url_for("writer.drafts"), 303)


def _ask_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/ask")
    @role(*VIEWERS)
    def ask() -> str:
        text, record = request.args.get("q", "").strip(), request.args.get("record")
        return render_template(
            "writer/ask.html",
            text=text,
            record=record,
            found=cards.search_records(deps, text) if text else None,
            latest=asking.latest(deps, current_person()),
        )

    @blueprint.post("/ask")
    @role(*DECIDERS)
    def send_ask() -> ResponseReturnValue:
        form = schemas.read_act(schemas.AskSchema, request)
        id_ = asking.ask(deps, current_person(), form)
        return redirect(url_for("writer.asked", ask_id=id_), 303)

    @blueprint.get("/ask/<ask_id>")
    @role(*VIEWERS)
    def asked(ask_id: str) -> str:
        return render_template("writer/asked.html", asked=asking.answer_to(deps, ask_id))

    @blueprint.get("/fragment/ask/<ask_id>")
    @role(*VIEWERS)
    def answer(ask_id: str) -> str:
        return render_template("writer/answer.html", asked=asking.answer_to(deps, ask_id))


def _switch_pages(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.get("/policy")
    @role(*VIEWERS)
    def policy() -> str:
        return render_template("writer/policy.html", policy=queries.policy(deps))

    @blueprint.get("/crms")
    @role(*VIEWERS)
    def crms() -> str:
        return render_template("writer/crms.html", crms=queries.crms(deps))

    @blueprint.get("/crms/<crm>/survey")
    @role("admin")
    def survey(crm: str) -> str:
        return render_template("writer/survey.html", crm=crm, survey=queries.survey(deps, crm))

    @blueprint.get("/fragment/writing")
    @role("approver", "support", "admin", "auditor")
    def writing() -> str:
        return render_template("writer/writing.html", stop=queries.stop_state(deps))

    @blueprint.post("/writing/stop")
    @role(*DECIDERS)
    def stop() -> ResponseReturnValue:
        acts.stop(deps, current_person(), schemas.read_act(schemas.StopSchema, request))
        flash("Writing is stopped. Nothing is written and no clock runs.", "warn")
        return redirect("/status", 303)

    @blueprint.post("/writing/resume")
    @role(*DECIDERS)
    def resume() -> ResponseReturnValue:
        acts.resume(deps, current_person(), schemas.read_act(schemas.StopSchema, request))
        flash("Writing goes on.", "ok")
        return redirect("/status", 303)
