"""Pipedrive webhooks v2 and v1: unsigned, so Basic authentication, which Pipedrive asks for.

https://pipedrive.readme.io/docs/guide-for-webhooks-v2
https://pipedrive.readme.io/docs/guide-for-webhooks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.bodies import as_text, json_object
from services.ingest.forms import LONGEST_ID, moment
from services.ingest.hook import Hook
from services.ingest.signatures import Basic
from services.ingest.source import (
    NUMBER,
    WITH_BASIC,
    Answer,
    Description,
    Identity,
    Option,
    Outcome,
    Raw,
    Setup,
    Source,
)
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import BadPayload

CRM = "pipedrive"
# The names of Pipedrive's API.
PLURALS = {
    "deal": "deals",
    "lead": "leads",
    "person": "persons",
    "organization": "organizations",
    "activity": "activities",
    "note": "notes",
}
ASIDE = (
    "activityType",
    "board",
    "deal_installment",
    "deal_product",
    "phase",
    "pipeline",
    "product",
    "project",
    "stage",
    "task",
    "user",
)
V2 = {"create": "created", "change": "updated"}
V1 = {"added": "created", "updated": "updated", "merged": "merged"}
DELETED = ("delete", "deleted")
CHANGES = {**V2, **V1}
FACTS = {
    "change_source": "change_source",
    "user_id": "changed_by",
    "company_id": "company_id",
    "correlation_id": "correlation_id",
    "merged_to_id": "merged_to_id",
    "merged_from_id": "merged_from_id",
}


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """v2 has an id of the event, v1 has none; both repeat ``meta`` but for the attempt's number."""
    meta = _meta(raw)
    is_v2 = "entity" in meta
    action, entity = _word(meta, "action"), _word(meta, "entity" if is_v2 else "object")
    id_ = _word(meta, "entity_id" if is_v2 else "id")
    at = meta.get("timestamp")
    return Identity(
        dedup_key=_key(meta, action, entity, id_) if not is_v2 else _key_v2(meta),
        type=f"{action}.{entity}",
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(at),
        record=_record(entity, id_),
    )


def _meta(raw: Raw) -> Mapping[str, Any]:
    meta = raw.get("meta")
    if not isinstance(meta, dict):
        raise BadPayload("the body has no meta")
    return meta


def _word(meta: Mapping[str, Any], name: str) -> str:
    value = meta.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise BadPayload(f"meta has no {name}")
    if not 0 < len(as_text(value)) <= LONGEST_ID // 2:
        raise BadPayload(f"{name} in meta is empty or too long")
    return as_text(value)


def _key_v2(meta: Mapping[str, Any]) -> str:
    return f"{_word(meta, 'id')}#{_word(meta, 'webhook_id')}"


def _key(meta: Mapping[str, Any], action: str, entity: str, id_: str) -> str:
    stamp = _word(meta, "timestamp_micro" if "timestamp_micro" in meta else "timestamp")
    return ":".join((_word(meta, "webhook_id"), entity, action, id_, stamp))


def _record(entity: str, id_: str) -> RecordRef | None:
    plural = PLURALS.get(entity)
    return RecordRef(crm=CRM, type=plural, id=id_) if plural else None


def describe(raw: Raw, hook: Hook) -> Description:
    """The new values of what changed. ``user_id`` is who made the change; made through the API by
    the user that the endpoint's option names, it is our own.
    """
    meta = _meta(raw)
    facts = {
        ours: as_text(meta[theirs])
        for theirs, ours in FACTS.items()
        if isinstance(meta.get(theirs), str | int)
    }
    if change := CHANGES.get(_word(meta, "action")):
        # v2 tells a merge as a change of what stays and a deletion of what goes.
        facts["change"] = "merged" if "merged_from_id" in facts else change
    own = hook.options.get("own_user")
    if own and facts.get("changed_by") == own and facts.get("change_source") == "api":
        facts["own_write"] = "true"
    values = _fields(raw.get("data" if "entity" in meta else "current"))
    if facts.get("change") != "created":
        values = _changed(values, _fields(raw.get("previous")))
    return Description(changes=values, facts=facts)


def _fields(values: Any) -> dict[str, Scalar]:
    """Own fields lie in ``custom_fields`` in v2, beside the others in v1; either way by name."""
    if not isinstance(values, dict):
        return {}
    own = values.get("custom_fields")
    found = {**values, **(own if isinstance(own, dict) else {})}
    for name in ("id", "custom_fields"):
        found.pop(name, None)
    return {name: _scalar(value) for name, value in found.items() if _is_value(value)}


def _is_value(value: Any) -> bool:
    if isinstance(value, dict):
        return "value" in value and isinstance(value["value"], str | int | None)
    if isinstance(value, list):
        return all(not isinstance(item, list | dict) or _is_value(item) for item in value)
    return True


def _scalar(value: Any) -> Scalar:
    """Of e-mails and phones the primary one, of money the amount, of choices all."""
    if isinstance(value, dict):
        inner: Scalar = value["value"]
        return inner
    if not isinstance(value, list):
        plain: Scalar = value
        return plain
    marked = [item for item in value if isinstance(item, dict) and item.get("primary") is True]
    if marked or (value and isinstance(value[0], dict)):
        return _scalar((marked or value)[0])
    return ", ".join(as_text(item) for item in value if not isinstance(item, list | dict))


def _changed(after: Mapping[str, Scalar], before: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What differs from the values before; v2 sends only these, v1 all."""
    return {name: after[name] for name in before if name in after and after[name] != before[name]}


def _each(actions: Sequence[str], entities: Sequence[str]) -> frozenset[str]:
    return frozenset(f"{action}.{entity}" for action in actions for entity in entities)


# v1 knows no leads, and merges only these three.
V1_ENTITIES = tuple(name for name in PLURALS if name != "lead")
HANDLED = (
    _each(tuple(V2), tuple(PLURALS))
    | _each(("added", "updated"), V1_ENTITIES)
    | _each(("merged",), ("deal", "person", "organization"))
)
SOURCE = Source(
    name="pipedrive",
    title="Pipedrive",
    verify=Basic(),
    split=split,
    identify=identify,
    describe=describe,
    handled=HANDLED,
    ignored=_each(DELETED, (*PLURALS, *ASIDE)) | _each((*V2, *V1), ASIDE),
    # Ten failed first tries ban a webhook and lose its events, and what cannot be read stays so.
    answers={
        **WITH_BASIC,
        Outcome.NOT_JSON: Answer(status=200),
        Outcome.BAD_PAYLOAD: Answer(status=200),
    },
    setup=Setup(
        screen="Settings → Tools and apps → Webhooks → Create new webhook → Endpoint URL",
        credential="HTTP Auth username and HTTP Auth password: this user and password",
        form="user:password",
        options={
            "own_user": Option(
                hint="id of the Pipedrive user that writes for us",
                form=NUMBER,
            )
        },
    ),
)
