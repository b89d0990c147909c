"""Requests with sound signatures at every source, and more than forty forgeries of each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.ingest.endpoints import Endpoints
from services.ingest.hook import Endpoint
from services.ingest.sources import SOURCES
from tests.ingest import sealed
from tests.ingest.test_hostile import CONTENTS, headers_for, secret_for
from tests.ingest.test_signatures import VALID, variants

ENDPOINT = "hostile"
# The header of a generic endpoint is its owner's choice.
HUB_SIGNATURE = "x-hub-signature-256"
# What HubSpot signs begins with the address; the others do not look at it.
PUBLIC_URL = "https://hooks.example.com/hooks/hubspot"


@dataclass(frozen=True, kw_only=True)
class Request:
    """``path`` and what is sent there."""

    path: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)


# By what the vendor itself knows a happening again: how the sample has it, and how another has it.
OWN_IDS = {
    "hubspot": ('"eventId": 100', '"eventId": {}'),
    "pipedrive": ('"timestamp_micro": 1795391999384700', '"timestamp_micro": 1795391{:09}'),
    "jobber": ("Z2lkOi8vSm9iYmVyL0NsaWVudC83NzE=", "Z2lkOi8v{}"),
    "salesforce-outbound-message": ("04l24000002nrC0AAI", "04l24{:010}AAI"),
    "postmark-inbound": ("b1c1040e-db1c-4e18-ac79-bc5f64c7ce01", "b1c1040e-db1c-4e18-ac79-{:012}"),
    "sendgrid-inbound": ("<1@example.com>", "<{}@example.com>"),
    "sendgrid-event": ('"sg_event_id": "1"', '"sg_event_id": "{}"'),
}


def open_endpoints(endpoints: Endpoints) -> None:
    """One endpoint of each source, whose secrets we hold."""
    for source in SOURCES:
        options = {"header": HUB_SIGNATURE} if source == "generic-hmac" else {}
        endpoints.add(
            source,
            ENDPOINT,
            secrets=(secret_for(source),),
            public_url=PUBLIC_URL if source == "hubspot" else None,
            options=options or sealed.options_of(source),
        )


def signed(source: str, number: int, now: int) -> Request:
    """A sound request; ``number`` makes it another happening than all others, ``now`` is in seconds."""
    if source in sealed.SOURCES:
        content = json.loads(_numbered(source, json.dumps(CONTENTS[source]), number))
        body, headers = sealed.seal(source, marked(content, number), number, now)
        return _at(source, body, headers)
    good = _numbered(source, VALID[source]["body"], number)
    if good.startswith("<"):
        return of_bytes(source, f"{good}<!--{number}-->".encode(), number, now)
    start = json.loads(good) if good[:1] in "[{" else {"email": "a@example.com"}
    return of_bytes(source, json.dumps(marked(start, number)).encode(), number, now)


def _numbered(source: str, sample: str, number: int) -> str:
    own, another = OWN_IDS.get(source, ("", ""))
    assert own in sample, source
    return sample.replace(own, another.format(number)) if own else sample


def of_bytes(source: str, body: bytes, number: int, now: int) -> Request:
    """These very bytes, soundly signed; for the sources that sign the body as it stands."""
    headers = headers_for(source, body, number, now)
    if source == "generic-hmac":
        headers[HUB_SIGNATURE] = headers.pop("X-Signature")
    return _at(source, body, headers)


def marked(value: Any, number: int) -> Any:
    target = value[0] if isinstance(value, list) else value
    target["reference"] = f"number-{number}"
    return value


def forged(source: str, number: int, now: int) -> Iterator[tuple[str, Request]]:
    """``(what is wrong, request)``: the variants of the unit tests as far as HTTP can carry them.

    Space around a header's value is not part of it (RFC 9110 §5.5), so that is no forgery here.
    """
    sound = signed(source, number, now)
    vector = {
        "headers": sound.headers,
        "body_base64": base64.b64encode(sound.body).decode(),
        "body": sound.body.decode(),
        "secret": secret_for(source),
    }
    good = _carried(sound.headers)
    for what, headers, changes in variants(vector):
        body = changes.pop("body", sound.body)
        if not changes and (_carried(headers) != good or body != sound.body):
            yield what, Request(path=sound.path, body=body, headers=dict(headers))


def _carried(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value.strip(" \t") for name, value in headers.items()}


def _at(source: str, body: bytes, headers: dict[str, str]) -> Request:
    path = Endpoint(source=source, name=ENDPOINT).path
    return Request(path=path, body=body, headers=headers)
