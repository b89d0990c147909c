"""Hostile bodies with valid signatures: any JSON in any place, and never a 500 or a stuck relay."""

from __future__ import annotations

import base64
import hmac
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from services.ingest.hook import Endpoint
from services.ingest.relay import relay
from services.ingest.sources import SOURCES
from shared.bus.envelope import decode
from shared.domain.topics import TOPICS, Topic
from tests.ingest import sealed
from tests.ingest.test_signatures import VALID
from tests.vectors import Store

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**53,
    10**30,
    1.5,
    "",
    " ",
    "x" * 3000,
    "\u202eabc",
    "😀",
    "\ufeff",
    "\x7f",
    "99999999999999999999",
    "2026-99-99T99:99:99Z",
    "../../etc/passwd",
    "{{7*7}}",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    ["x"] * 300,
]

_MAIL = {
    "headers": "From: a@example.com\r\nSubject: s\r\nMessage-ID: <1@example.com>\r\n",
    "from": "A <a@example.com>",
    "subject": "s",
    "text": "Hello",
    "envelope": '{"to":["b@example.com"],"from":"a@example.com"}',
    "charsets": '{"text":"UTF-8"}',
}
_SES = {
    "notificationType": "Received",
    "mail": {
        "source": "a@example.com",
        "destination": ["b@example.com"],
        "headers": [{"name": "From", "value": "A <a@example.com>"}],
        "commonHeaders": {"from": ["A <a@example.com>"], "subject": "s"},
    },
    "receipt": {"recipients": ["b@example.com"], "dmarcVerdict": {"status": "PASS"}},
}
CONTENTS: dict[str, Any] = {
    "zapier-connection": {"type": "lead.created", "data": {"id": "1", "email": "a@example.com"}},
    "sendgrid-inbound": _MAIL,
    "sendgrid-event": [{"event": "bounce", "sg_event_id": "1", "email": "a@example.com"}] * 2,
    "mailgun-routes": {"sender": "a@example.com", "subject": "s", "body-plain": "Hello"},
    "mailgun-webhook": {
        "event": "failed",
        "recipient": "a@example.com",
        "message": {"headers": {}},
    },
    "aws-sns": _SES,
}


def changed(value: Any, chance: random.Random) -> Any:
    """The value with odd things in a few places, some keys gone and some of them odd."""
    if chance.random() < 0.12:
        return chance.choice(ODD)
    if isinstance(value, dict):
        kept = {k: changed(v, chance) for k, v in value.items() if chance.random() > 0.08}
        if chance.random() < 0.1:
            kept[chance.choice(["", "type", "id", "data", "a.b", "😀", "x" * 500])] = 1
        return kept
    if isinstance(value, list):
        return [changed(item, chance) for item in value]
    return value


def bodies(source: str, count: int) -> Iterator[bytes]:
    vector = VALID[source]
    chance = random.Random(f"{source}-7")
    good = vector["body"]
    if good.startswith("<"):
        yield from (xml_body(good, chance) for _ in range(count))
        return
    start = json.loads(good) if good[:1] in "[{" else {"id": "1", "email": "a@example.com"}
    for _ in range(count):
        yield json.dumps(changed(start, chance), ensure_ascii=chance.random() < 0.5).encode()


def xml_body(good: str, chance: random.Random) -> bytes:
    """A sound envelope of the same organisation, with elements gone, doubled or filled oddly."""

    def odd(match: re.Match[str]) -> str:
        kind, fate = match[1], chance.random()
        if kind == "OrganizationId" or fate > 0.25:
            return match[0]
        if fate > 0.17:
            return match[0] * 2
        if fate > 0.08:
            return ""
        text = escape(str(chance.choice(ODD)).replace("\x7f", ""))
        return f"<{kind}>{text}</{kind}>"

    return re.sub(r"<([A-Za-z:]+)>([^<]*)</\1>", odd, good).encode()


def requests(source: str, count: int, now: int) -> Iterator[sealed.Sealed]:
    """Bodies with sound signatures, and their headers."""
    if source in sealed.SOURCES:
        content, chance = CONTENTS[source], random.Random(f"{source}-7")
        for number in range(count):
            yield sealed.seal(source, changed_inside(content, chance), number, now)
        return
    for number, body in enumerate(bodies(source, count)):
        yield body, headers_for(source, body, number, now)


def changed_inside(content: Any, chance: random.Random) -> Any:
    """Odd values in an object or a list, which itself stays one."""
    if isinstance(content, list):
        return [changed(item, chance) for item in content]
    return {key: changed(value, chance) for key, value in content.items()}


@pytest.mark.parametrize("source", SOURCES)
def test_no_signed_body_makes_the_door_or_the_relay_fail(source: str, store: Store) -> None:
    known, clock = SOURCES[source], store.web.clock()
    options = {"header": "x-signature"} if source == "generic-hmac" else sealed.options_of(source)
    store.web.endpoints.add(source, secrets=(secret_for(source),), options=options)
    client = store.app().test_client()
    path = Endpoint(source=source).path
    statuses = set()
    for body, headers in requests(source, 250, int(clock.timestamp())):
        answer = client.post(path, data=body, headers=headers)
        statuses.add(answer.status_code)
        assert answer.status_code in {200, 204, 400, 422}, (answer.status_code, body[:200])
    assert statuses & {200, 204}
    relay(store.worker)
    for message in store.published.messages:
        envelope = decode(message.text)
        assert envelope.topic is not Topic.EVENT_FAILED, envelope.body
        envelope.noun()
        assert TOPICS[envelope.topic].schema
    assert store.published.messages
    assert known.name == source


@pytest.mark.parametrize("text", json.loads((Path(__file__).parent / "naughty.json").read_text()))
def test_a_naughty_text_comes_out_as_it_came_in(text: str, store: Store) -> None:
    store.web.endpoints.add("zapier", secrets=("t",))
    client = store.app().test_client()
    body = json.dumps({"id": text, "message": text, text or "empty": "x"}).encode()
    answer = client.post("/hooks/zapier", data=body, headers={"X-Ingest-Token": "t"})
    assert answer.status_code == 200
    relay(store.worker)
    [message] = store.published.messages
    event = decode(message.text).noun()
    assert event.parts.get("message", "") == text


def secret_for(source: str) -> str:
    if source in sealed.SOURCES:
        return sealed.secret_of(source)
    if SOURCES[source].setup.form == "user:password":
        return "sender:a-long-password"
    if source == "salesforce-outbound-message":
        return str(VALID[source]["secret"])
    return "whsec_" + base64.b64encode(b"k" * 32).decode()


def headers_for(source: str, body: bytes, number: int, now: int) -> dict[str, str]:
    """Valid headers for whatever body this is."""
    json_type = {"Content-Type": "application/json"}
    secret = secret_for(source)
    if source == "salesforce-outbound-message":
        return {"Content-Type": "text/xml"}
    if SOURCES[source].setup.form == "user:password":
        return {**json_type, "Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    if source in {"zapier", "salesforce-callout"}:
        return {**json_type, "X-Ingest-Token": secret}
    if source == "jobber":
        mac = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
        return {**json_type, "X-Jobber-Hmac-SHA256": mac}
    if source == "servicetitan":
        mac = hmac.digest(secret.encode(), body, "sha256").hex()
        return {**json_type, "X-ServiceTitan-Signature": mac}
    if source == "generic-hmac":
        return {**json_type, "X-Signature": hmac.digest(secret.encode(), body, "sha256").hex()}
    if source == "hubspot":
        url = "https://hooks.example.com/hooks/hubspot"
        signed = f"POST{url}".encode() + body + f"{now}000".encode()
        mac = base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()
        return {
            **json_type,
            "X-HubSpot-Signature-v3": mac,
            "X-HubSpot-Request-Timestamp": f"{now}000",
        }
    signed = f"msg_{number}.{now}.".encode() + body
    mac = base64.b64encode(hmac.digest(b"k" * 32, signed, "sha256")).decode()
    return {
        **json_type,
        "webhook-id": f"msg_{number}",
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{mac}",
    }
