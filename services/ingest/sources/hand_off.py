"""The call-back of a flow that was handed a new lead: signed as Standard Webhooks, one result each.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
The body: ``{"type": "lead.done" or "lead.failed", "data": {"change_id": "…", "note": "…"}}``.
"""

from __future__ import annotations

from services.ingest.bodies import as_text
from services.ingest.forms import LONGEST_ID, kind_of, moment
from services.ingest.hook import Hook
from services.ingest.source import Description, Identity, Option, Raw, Setup, Source
from services.ingest.sources import standard_webhooks
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.errors import BadPayload

LONGEST_NOTE = 500
DEFAULT_ACCOUNT = "handoff"


def identify(raw: Raw, hook: Hook) -> Identity:
    account = hook.options.get("account") or DEFAULT_ACCOUNT
    return Identity(
        dedup_key=standard_webhooks.message_id(hook),
        type=kind_of(raw, "unknown"),
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(raw.get("timestamp")),
        record=RecordRef(crm=account[:LONGEST_ID], type="leads", id=_change_id(raw)),
    )


def _change_id(raw: Raw) -> str:
    data = raw.get("data")
    id_ = data.get("change_id") if isinstance(data, dict) else None
    if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID:
        raise BadPayload("data names no change_id")
    return id_


def describe(raw: Raw, hook: Hook) -> Description:
    """The change is ours, so nothing is proposed from it; the note is text for a person."""
    note = raw["data"].get("note")
    parts = {"note": as_text(note)[:LONGEST_NOTE]} if isinstance(note, str) and note else {}
    facts = {"change_id": _change_id(raw), "message_id": standard_webhooks.message_id(hook)}
    return Description(parts=parts, facts=facts)


SOURCE = Source(
    name="hand-off",
    title="Hand-off call-back",
    verify=standard_webhooks.VERIFY,
    split=standard_webhooks.split,
    identify=identify,
    describe=describe,
    handled=frozenset({"lead.done", "lead.failed"}),
    kept_headers=standard_webhooks.KEPT_HEADERS,
    setup=Setup(
        screen="your flow in Zapier or Make → last step → POST to this address",
        credential="a signing secret (whsec_…) of its own, with which the last step signs",
        form="whsec_ and base64",
        options={
            "account": Option(
                hint="name of the CRM account in crms.write.toml", default=DEFAULT_ACCOUNT
            )
        },
    ),
)
