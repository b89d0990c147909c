"""The page and API of dead letters: an admin sends them on their way again, or drops them.

Nothing is done here: each decision is a message to the worker whose dead letter it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import RAISE, Schema, fields, validate

from services.status import StatusDeps
from shared.access import current_person, flash, role, wants_json
from shared.bus.letters import UNKNOWN, Letter, first_letters
from shared.bus.topology import work_queues
from shared.dead_letters import decision
from shared.domain import ids
from shared.domain.topics import Topic
from shared.errors import BadPayload, BrokerUnavailable, NotFound
from shared.forms import posted

MOST = 500
REASON = validate.Length(max=500)
TEXT = validate.Length(max=200)


@dataclass(frozen=True, kw_only=True)
class LetterLine:
    """One dead letter without its content. ``at`` is when it was first sent, if it says so."""

    message_id: str
    queue: str
    topic: str
    chain: str | None
    at: str | None
    reason: str


class Which(Schema):
    """One by its id, all of a queue or a topic, or everything. ``dry_run`` changes nothing."""

    class Meta:
        unknown = RAISE

    message_id = fields.String(load_default="", validate=TEXT)
    queue = fields.String(load_default="", validate=validate.OneOf(["", *work_queues()]))
    topic = fields.String(load_default="", validate=TEXT)
    everything = fields.Boolean(load_default=False)
    dry_run = fields.Boolean(load_default=False)
    reason = fields.String(load_default="", validate=REASON)


def dead_letters(deps: StatusDeps) -> Blueprint:
    """``/status/dead`` and ``/api/dead``, for admins."""
    blueprint = Blueprint("dead", __name__, template_folder="templates", static_folder=None)

    @blueprint.get("/status/dead")
    @role("admin")
    def page() -> str:
        try:
            found, is_away = _letters(deps, _asked()), False
        except BrokerUnavailable:
            found, is_away = [], True
        return _page(found, _asked(), is_away=is_away)

    @blueprint.get("/api/dead")
    @role("admin")
    def listing() -> ResponseReturnValue:
        found = _letters(deps, _asked())
        return jsonify({"letters": [asdict(line) for line in found], "most": MOST})

    @blueprint.post("/status/dead/replay")
    @blueprint.post("/api/dead/replay", endpoint="api_replay")
    @role("admin")
    def replay() -> ResponseReturnValue:
        words = "sent back to their queues within ten seconds"
        return _decide(deps, Topic.MESSAGE_REPLAYED, words)

    @blueprint.post("/status/dead/drop")
    @blueprint.post("/api/dead/drop", endpoint="api_drop")
    @role("admin")
    def drop() -> ResponseReturnValue:
        return _decide(deps, Topic.MESSAGE_DROPPED, "dropped")

    return blueprint


def _asked() -> dict[str, Any]:
    """The filter in the address."""
    return {name: request.args.get(name, "") for name in ("message_id", "queue", "topic")}


def _letters(deps: StatusDeps, which: Mapping[str, Any]) -> list[LetterLine]:
    """The first of those that match. Raises `BrokerUnavailable`."""
    if not deps.place.broker_url:
        return []

    def is_wanted(letter: Letter) -> bool:
        return which["message_id"] in {"", letter.message_id} and (
            which["topic"] in {"", letter.topic}
        )

    found = first_letters(deps.place.broker_url, MOST, queue=which["queue"], wanted=is_wanted)
    return [
        LetterLine(
            message_id=letter.message_id,
            queue=letter.queue,
            topic=letter.topic,
            chain=None if letter.chain == UNKNOWN else letter.chain,
            at=None if letter.at == UNKNOWN else letter.at,
            reason=letter.reason,
        )
        for letter in found
    ]


def _decide(deps: StatusDeps, topic: Topic, words: str) -> ResponseReturnValue:
    """Tell the workers, and with that the log; once more on the same letter changes nothing."""
    which = posted(Which)
    reason = which["reason"].strip()
    if not (which["message_id"] or which["queue"] or which["topic"] or which["everything"]):
        raise BadPayload("Say which: one by its id, a queue, a topic, or everything.")
    if topic is Topic.MESSAGE_DROPPED and not reason and not which["dry_run"]:
        raise BadPayload("Say why nobody needs it: the log keeps the reason.")
    chosen = _letters(deps, which)
    if which["message_id"] and not chosen:
        raise NotFound("There is no such dead letter: it may have been sent again already.")
    if not which["dry_run"]:
        _tell(deps, topic, chosen, reason or "sent again by hand")
    if wants_json():
        told = [asdict(line) for line in chosen]
        return jsonify({"letters": told, "dry_run": which["dry_run"]})
    if which["dry_run"]:
        return _page(chosen, which, would=(words, chosen))
    flash(f"{len(chosen)} {'message is' if len(chosen) == 1 else 'messages are'} {words}.")
    return redirect(url_for("dead.page"), 303)


def _tell(deps: StatusDeps, topic: Topic, chosen: Sequence[LetterLine], reason: str) -> None:
    actor = f"person:{current_person().id}"
    with deps.audit.unit_of_work.begin() as unit:
        for line in chosen:
            subject = f"message/{line.message_id}"
            unit.publish(
                topic,
                decision(line, reason),
                subject=subject,
                chain=line.chain or subject,
                actor=actor,
                key=ids.fresh(),
            )


def _page(
    found: Sequence[LetterLine],
    which: dict[str, Any],
    *,
    is_away: bool = False,
    would: tuple[str, Sequence[LetterLine]] | None = None,
) -> str:
    return render_template(
        "dead.html",
        letters=found,
        most=MOST,
        which=which,
        queues=work_queues(),
        topics=sorted({line.topic for line in found} | {which["topic"]} - {""}),
        is_away=is_away,
        would=would,
    )
