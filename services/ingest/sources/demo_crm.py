"""The built-in demo CRM's own events: Standard Webhooks that tell which record changed and how."""

from __future__ import annotations

from services.ingest.bodies import as_text
from services.ingest.forms import kind_of, moment
from services.ingest.hook import Hook
from services.ingest.signatures import Verify
from services.ingest.source import Description, Identity, Raw, Setup, Source
from services.ingest.sources import standard_webhooks
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import BadPayload

CRM = "demo"
VERIFY: Verify = standard_webhooks.VERIFY


def identify(raw: Raw, hook: Hook) -> Identity:
    return Identity(
        dedup_key=standard_webhooks.message_id(hook),
        type=kind_of(raw, "unknown"),
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(raw.get("timestamp")),
        record=_record(raw),
    )


def _record(raw: Raw) -> RecordRef:
    data = raw.get("data")
    if not isinstance(data, dict):
        raise BadPayload("data must be an object")
    object_, id_ = data.get("object"), data.get("id")
    if not isinstance(object_, str) or not isinstance(id_, str | int) or not object_:
        raise BadPayload("data names no record")
    plural = object_ if object_.endswith("s") else f"{object_}s"
    return RecordRef(crm=CRM, type=plural[:100], id=as_text(id_)[:100])


def describe(raw: Raw, hook: Hook) -> Description:
    """New values as changes; who made them, and by which change of ours, as facts."""
    data = raw["data"]
    facts = {
        name: as_text(data[name])
        for name in ("version", "change_id", "changed_by")
        if isinstance(data.get(name), str | int)
    }
    facts["message_id"] = standard_webhooks.message_id(hook)
    action = kind_of(raw, "unknown").rpartition(".")[2]
    if action in {"created", "updated"}:
        facts["change"] = action
    return Description(changes=_changes(data.get("changes")), facts=facts)


def _changes(given: object) -> dict[str, Scalar]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadPayload("changes must be an object")
    values: dict[str, Scalar] = {}
    for name, change in given.items():
        new = change.get("new") if isinstance(change, dict) else change
        if isinstance(new, dict | list):
            raise BadPayload("a changed value must be a scalar")
        values[name] = new
    return values


SOURCE = Source(
    name="demo-crm",
    title="Demo CRM",
    verify=VERIFY,
    split=standard_webhooks.split,
    identify=identify,
    describe=describe,
    handled=frozenset({"contact.created", "contact.updated", "deal.created", "deal.updated"}),
    ignored=frozenset({"note.created", "draft.created", "draft.promoted", "draft.discarded"}),
    kept_headers=standard_webhooks.KEPT_HEADERS,
    setup=Setup(
        screen="set up by itself at the first start",
        credential="a signing secret (whsec_…), made at the first start",
        form="whsec_ and base64",
    ),
)
