"""The raw bytes of an event: whether they are still there, and a download that the log notes."""

from __future__ import annotations

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue

from services.ingest.deps import WebDeps
from services.ingest.raw import raw_bytes, raw_state
from shared.access import current_person, role
from shared.domain import ids
from shared.domain.topics import Topic
from shared.errors import NotFound


def raw_blueprint(deps: WebDeps) -> Blueprint:
    blueprint = Blueprint("raw", __name__, template_folder="templates")

    @blueprint.get("/raw/<id_>")
    @role("approver", "admin")
    def raw(id_: str) -> ResponseReturnValue:
        return _download(deps, id_)

    @blueprint.get("/fragment/raw/<id_>")
    @role("approver", "admin", "auditor")
    def fragment(id_: str) -> str:
        """What a card says of its raw input: where to get it, or that it is gone."""
        try:
            raw = raw_state(deps.engine, id_)
        except NotFound:
            raw = None  # What a person asked for came in through no source.
        return render_template("ingest/raw.html", id=id_, raw=raw)

    return blueprint


def _download(deps: WebDeps, id_: str) -> Response:
    """The bytes as they came. Who looked at what is in the log before they leave."""
    content, sha256, _ = raw_bytes(deps.engine, deps.files, id_)
    person = current_person()
    with deps.unit_of_work.begin() as unit:
        unit.publish(
            Topic.RECORD_UNMASKED,
            {"what": f"raw/{sha256}", "reason": "opened the raw request"},
            subject=f"event/{id_}",
            chain=id_,
            actor=f"person:{person.id}",
            key=ids.fresh(),
        )
    try:
        content.decode("utf-8")
        media_type = "text/plain; charset=utf-8"
    except UnicodeDecodeError:
        media_type = "application/octet-stream"
    response = Response(content, content_type=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{sha256[:16]}.txt"'
    response.headers["Content-Digest"] = f"sha-256={sha256}"
    return response
