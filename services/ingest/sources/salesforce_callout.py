"""Callouts from a Salesforce flow or from Apex: a secret header, or an HMAC that Apex computes.

https://help.salesforce.com/s/articleView?id=platform.flow_http_callout_guidelines_authenticating.htm
https://developer.salesforce.com/docs/atlas.en-us.apexref.meta/apexref/apex_classes_restful_crypto.htm

A flow sends ``X-Ingest-Token``, kept in an external credential. Apex may instead send
``X-Ingest-Timestamp`` (unix seconds) and ``X-Ingest-Signature``, the hex HMAC-SHA256 over the time
stamp, a full stop and the body: ``Crypto.generateMac('hmacSHA256', …)``. The body is the record,
as ``JSON.serialize(record)`` writes it, or an object with ``object``, ``id`` and ``fields``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.ingest.bodies import json_object
from services.ingest.forms import FORM_TYPE, describe_form, identify_signed_form
from services.ingest.hook import Hook
from services.ingest.signatures import FirstPresent, Hmac, Token
from services.ingest.signed_text import Freshness, Template
from services.ingest.sobject import (
    OWN_USER,
    PLURALS,
    PREFIXES,
    changed_at,
    described,
    is_id,
    record_of,
)
from services.ingest.source import Description, Identity, Raw, Setup, Source
from shared.canonical import sha256_hex
from shared.domain.event import EventKind
from shared.domain.schema import Scalar
from shared.errors import BadPayload

STAMP = "x-ingest-timestamp"
SIGNED = Hmac(
    header="x-ingest-signature",
    template=Template(text=f"{{header:{STAMP}}}.{{body}}"),
    freshness=Freshness(header=STAMP),
)
TOKEN = Token(header="x-ingest-token")
# A signature alone decides: a wrong one is not saved by a token beside it.
VERIFY = FirstPresent(
    choices=(("x-ingest-signature", None, SIGNED), ("x-ingest-token", None, TOKEN))
)


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:
    """The record, when it was changed, and what was sent: two flows may tell of one change."""
    kind, id_ = _record(raw)
    if not id_:
        form = identify_signed_form(raw, hook)
        return Identity(
            dedup_key=form.dedup_key,
            type=FORM_TYPE,
            kind=EventKind.FORM,
            occurred_at=form.occurred_at,
        )
    at = changed_at(_fields(raw))
    stamp = f"{id_}:{int(at.timestamp())}" if at else id_
    return Identity(
        dedup_key=f"{stamp}#{sha256_hex(hook.body)}",
        type=kind,
        kind=EventKind.RECORD_CHANGE,
        occurred_at=at,
        record=record_of(kind, id_),
    )


def _record(raw: Raw) -> tuple[str, str]:
    """``(object, id)``; the object by name or by the id's prefix; no id where it is no record."""
    attributes = raw.get("attributes")
    named = attributes.get("type") if isinstance(attributes, dict) else raw.get("object")
    id_ = raw.get("Id", raw.get("id"))
    if not is_id(id_):
        return "", ""
    kind = named or PREFIXES.get(str(id_)[:3])
    if kind is None:
        return "", ""
    if not isinstance(kind, str) or not 0 < len(kind) <= 80:
        raise BadPayload("the name of the object is not a short text")
    return kind, str(id_)


def _fields(raw: Raw) -> dict[str, Scalar]:
    """The scalars of ``fields``, with the record's own beside them."""
    inner = raw.get("fields")
    found: dict[str, Any] = {**raw, **(inner if isinstance(inner, dict) else {})}
    return {
        name: value
        for name, value in found.items()
        if name not in {"object", "id"} and not isinstance(value, dict | list)
    }


def describe(raw: Raw, hook: Hook) -> Description:
    """The record's fields; without a record what a form says."""
    if not _record(raw)[1]:
        return describe_form(raw, hook)
    return described(_fields(raw), hook.options.get("own_user"))


SOURCE = Source(
    name="salesforce-callout",
    title="Salesforce flow or Apex callout",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset({*PLURALS, FORM_TYPE}),
    setup=Setup(
        screen="Setup → Named Credentials: URL; in a flow Action → HTTP Callout, POST, JSON",
        credential="in the External Credential a custom header X-Ingest-Token with the token; in "
        "Apex instead X-Ingest-Timestamp and X-Ingest-Signature, the hex HMAC-SHA256 of "
        "“timestamp.body”. Send the record's Id, SystemModstamp and LastModifiedById",
        options={"own_user": OWN_USER},
    ),
)
