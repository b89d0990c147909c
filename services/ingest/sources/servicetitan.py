"""ServiceTitan webhooks V2: one callback URL per event, signed with a key made per app.

https://developer-next.servicetitan.io/docs/webhooks

The vendor's page says that a keyed hash of the payload comes in a header, and no more that could
be read: the header's name, the digest's encoding and the shape of the body are settings of the
endpoint. Their defaults are what integrators report; compare them with the first real request.
The key is optional at ServiceTitan and required here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.bodies import as_text, json_object
from services.ingest.forms import LONGEST_ID, moment
from services.ingest.hook import Endpoint, Hook
from services.ingest.signatures import Hmac
from services.ingest.signed_text import Reason, Template, Verdict, prefixed
from services.ingest.source import (
    HEADER_NAME,
    Description,
    Form,
    Identity,
    Option,
    Raw,
    Setup,
    Source,
)
from shared.canonical import sha256_hex
from shared.domain.event import EventKind
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import BadPayload

CRM = "servicetitan"
PLURALS = {"booking": "bookings", "customer": "customers", "job": "jobs", "lead": "leads"}
# What happened beyond these two is a new state of the record.
CHANGES = ("created", "updated")
STATES = frozenset({"job.canceled", "job.completed"})
HANDLED = frozenset(f"{object_}.{action}" for object_ in PLURALS for action in CHANGES) | STATES
ENCODINGS = ("hex", "base64")
PATH = Form(pattern=r"\w{1,50}(\.\w{1,50}){0,9}", words="names with dots between them, as data.id")
OPTIONS = {
    "header": Option(
        hint="name of the signature header (not confirmed by the vendor)",
        default="x-servicetitan-signature",
        form=HEADER_NAME,
    ),
    "encoding": Option(
        hint="how the signature is written; either, told by its length, where not set",
        choices=ENCODINGS,
    ),
    "prefix": Option(hint="fixed text before the signature, such as sha256="),
    "event": Option(
        hint="the event this URL is for, such as job.completed; else what the body says"
    ),
    "event_path": Option(
        hint="where the body says which event it is (not confirmed)", default="eventType", form=PATH
    ),
    "id_path": Option(
        hint="where the body holds the record's id (not confirmed)", default="data.id", form=PATH
    ),
    "time_path": Option(
        hint="where the body says when it happened (not confirmed)",
        default="data.modifiedOn",
        form=PATH,
    ),
    "event_id_path": Option(
        hint="where the body holds an id of the event; a hash of the body where not set", form=PATH
    ),
}
_HEX = re.compile(r"[0-9A-Fa-f]{64}\Z")


def verify(hook: Hook, endpoint: Endpoint) -> Verdict:
    """HMAC-SHA256 over the raw body."""
    header, prefix = (
        _option(endpoint.options, "header").lower(),
        _option(endpoint.options, "prefix"),
    )
    encoding = _option(endpoint.options, "encoding").lower()
    if not encoding:
        # 32 bytes are 64 characters in hex and 44 in base64, so no text is both.
        signature = hook.headers.get(header, "")[len(prefix) :]
        encoding = "hex" if _HEX.match(signature) else "base64"
    if encoding not in ENCODINGS:
        return Verdict(Reason.NO_SECRET, "the endpoint's options name no known encoding")
    return _scheme(header, encoding, prefix)(hook, endpoint)


@functools.lru_cache(maxsize=256)
def _scheme(header: str, encoding: str, prefix: str) -> Hmac:
    return Hmac(
        header=header,
        template=Template(text="{body}"),
        encoding=encoding,
        candidates=prefixed(prefix),
    )


def _option(options: Mapping[str, str], name: str) -> str:
    return options.get(name) or OPTIONS[name].default


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:
    type_ = _type(raw, hook)
    id_ = _word(raw, _option(hook.options, "id_path"))
    path = hook.options.get("event_id_path")
    event_id = _word(raw, path) if path else ""
    if path and not event_id:
        raise BadPayload("the body has no id where the endpoint's option event_id_path says")
    return Identity(
        dedup_key=event_id or f"{type_}#{sha256_hex(hook.body)}",
        type=type_,
        kind=EventKind.RECORD_CHANGE,
        occurred_at=moment(_at(raw, _option(hook.options, "time_path"))),
        record=_record(type_, id_),
    )


def _type(raw: Raw, hook: Hook) -> str:
    named = hook.options.get("event") or _word(raw, _option(hook.options, "event_path"))
    if not named:
        raise BadPayload("the body does not say which event it is: set the option event")
    return named.lower()


def _at(raw: Raw, path: str) -> Any:
    value: Any = raw
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _word(raw: Raw, path: str) -> str:
    """A short text or number at the path, else nothing."""
    value = _at(raw, path)
    is_word = isinstance(value, str | int) and not isinstance(value, bool)
    return as_text(value)[:LONGEST_ID] if is_word else ""


def _record(type_: str, id_: str) -> RecordRef | None:
    plural = PLURALS.get(type_.partition(".")[0])
    return RecordRef(crm=CRM, type=plural, id=id_) if plural and id_ else None


def describe(raw: Raw, hook: Hook) -> Description:
    """The values beside the record's id. Who made the change is not known to be told."""
    id_path = _option(hook.options, "id_path")
    above, _, last = id_path.rpartition(".")
    values = _at(raw, above) if above else raw
    changes: dict[str, Scalar] = {}
    if isinstance(values, Mapping):
        changes = {
            name: value
            for name, value in values.items()
            if name != last and not isinstance(value, dict | list)
        }
    is_new = _type(raw, hook).endswith(".created")
    facts = {"change": "created" if is_new else "updated"}
    if tenant := _word(raw, "tenantId"):
        facts["tenant_id"] = tenant
    return Description(changes=changes, facts=facts)


SOURCE = Source(
    name="servicetitan",
    title="ServiceTitan V2",
    verify=verify,
    split=split,
    identify=identify,
    describe=describe,
    handled=HANDLED,
    ignored=frozenset(f"{object_}.deleted" for object_ in PLURALS),
    setup=Setup(
        screen="Developer Portal → My Apps → your app → Webhooks → the event → Callback URL",
        credential="as the app's webhook key this secret, or the key generated there, here; the "
        "vendor does not document its header and body: see the options",
        form="a key of 32 to 64 characters",
        options=OPTIONS,
    ),
)
