"""Forged signatures: every variant at every source is refused, and no verifier ever raises."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.hook import Endpoint, Hook
from services.ingest.signed_text import Reason, Verdict
from services.ingest.sources import SOURCES
from tests.vectors import body_of, options_of, secrets_of

FOLDER = Path(__file__).parents[1] / "fixtures" / "webhooks"
VALID = {
    path.parent.name: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*/*__valid.json"), reverse=True)
}
Headers = dict[str, str]


def _hook(vector: dict[str, Any], headers: Headers | None = None, **changed: Any) -> Hook:
    plain = {name.lower(): value for name, value in vector["headers"].items()}
    given_: dict[str, Any] = {
        "method": vector["method"],
        "url": vector["url"],
        "headers": plain if headers is None else headers,
        "body": body_of(vector),
        "received_at": datetime.fromtimestamp(vector["now"], UTC),
    }
    return Hook(**{**given_, **changed})


def _endpoint(vector: dict[str, Any], *secrets: str) -> Endpoint:
    address = urlsplit(vector["url"])
    return Endpoint(
        source=vector["source"],
        secrets=secrets or secrets_of(vector),
        public_url=address.geturl(),
        options=options_of(vector),
    )


def _verdict(vector: dict[str, Any], hook: Hook, *secrets: str) -> Verdict:
    return SOURCES[vector["source"]].verify(hook, _endpoint(vector, *secrets))


def _credential(vector: dict[str, Any]) -> str | None:
    """The header that proves the sender; none where the body does."""
    names = [name.lower() for name in vector["headers"]]
    order = ("x-hubspot-signature-v3", "webhook-signature", "x-hub-signature-256")
    crms = ("x-jobber-hmac-sha256", "x-servicetitan-signature")
    mails = ("x-twilio-email-event-webhook-signature",)
    wanted = (*order, *crms, *mails, "x-ingest-token", "authorization")
    return next((name for name in wanted if name in names), None)


def variants(vector: dict[str, Any]) -> Iterator[tuple[str, Headers, dict[str, Any]]]:
    """More than forty ways to be wrong: ``(name, headers, other changes)``."""
    good = {name.lower(): value for name, value in vector["headers"].items()}
    name = _credential(vector)
    if name is None:
        where = _in_body if vector["body"].startswith("<") else _in_fields
        yield from where(vector, good)
        return
    value = good[name]
    head, mark, tail = value.rpartition(" ") if value.startswith("Basic") else value.rpartition(",")
    if value.startswith("sha256="):
        head, mark, tail = "sha256", "=", value[7:]
    front = head + mark
    raw = tail.encode()
    wrong = {
        "empty": "",
        "spaces": "   ",
        "only the front": front,
        # In hex a capital is the same digit.
        "first character changed": front + ("B" if tail[0] not in "Bb" else "C") + tail[1:],
        "middle changed": front + tail[:9] + ("x" if tail[9] != "x" else "y") + tail[10:],
        "last character gone": value.rstrip("=")[:-1],
        "first half": front + tail[: len(tail) // 2],
        "doubled": value + tail,
        "repeated with a comma": f"{value},{value}",
        "in quotes": f'"{value}"',
        "reversed": front + tail[::-1],
        "zeros": front + "A" * len(tail),
        "zero bytes in hex": front + "0" * 64,
        "hex of the text": front + raw.hex(),
        "base64 of the text": front + base64.b64encode(raw).decode(),
        "the secret itself": vector["secret"] if name != "x-ingest-token" else "x",
        "the secret behind the front": front + vector["secret"][:-1],
        "None": "None",
        "null": "null",
        "a NUL inside": front + tail[:4] + "\x00" + tail[4:],
        "a NUL behind": value + "\x00",
        "a newline inside": front + tail[:4] + "\n" + tail[4:],
        "a bare word": "invalid_signature",
        "only a comma": ",",
        "only commas": ",,,,",
        "only an equals sign": "=",
        "unknown version": f"v9,{tail}",
        "another algorithm": f"sha1={tail}",
        "not ASCII": front + "é" * len(tail),
        "full-width": front + "".join(chr(ord(c) + 0xFEE0) for c in tail if "!" <= c <= "~"),
        "emoji": "😀",
        "very long": front + "A" * 100_000,
        "JSON": '{"sig":"x"}',
        "a wildcard": "*",
        "a bearer token": f"Bearer {tail}",
    }
    for title, text in wrong.items():
        yield title, {**good, name: text}, {}
    yield "header missing", {k: v for k, v in good.items() if k != name}, {}
    yield (
        "under another name",
        {**{k: v for k, v in good.items() if k != name}, f"x-{name}": value},
        {},
    )
    yield "no headers at all", {}, {}
    for title, text in {"upper": value.upper(), "lower": value.lower()}.items():
        is_hex = name in {"x-hub-signature-256", "x-servicetitan-signature"}
        is_same = text == value or (is_hex and (text == value.lower() or front == ""))
        if not is_same and not (name == "authorization" and text.lower() == value):
            yield f"{title} case", {**good, name: text}, {}
    yield from _stamps(good)
    if name not in {"x-ingest-token", "authorization"}:
        body = body_of(vector)
        yield "a space behind the body", good, {"body": body + b" "}
        yield "a newline behind the body", good, {"body": body + b"\n"}
        yield "an empty body", good, {"body": b""}
        yield "one bit of the body", good, {"body": bytes([body[0] ^ 1]) + body[1:]}
        if body[:1] in {b"{", b"["}:
            dumped = json.dumps(json.loads(body), separators=(",", ":")).encode()
            yield "the body dumped again", good, {"body": dumped}


def _in_body(
    vector: dict[str, Any], good: Headers
) -> Iterator[tuple[str, Headers, dict[str, Any]]]:
    """An organisation in an envelope, wrong in every way; the headers prove nothing."""
    body, id_ = str(vector["body"]), str(vector["secret"])
    element = f"<OrganizationId>{id_}</OrganizationId>"
    assert element in body
    texts = {
        "empty": "",
        "a space": " ",
        "a space in front": f" {id_}",
        "a newline behind": f"{id_}\n",
        "first 14": id_[:14],
        "first 16": id_[:16],
        "19 characters": f"{id_}A",
        "doubled": id_ * 2,
        "lower case": id_.lower(),
        "turned case": id_.swapcase(),
        "reversed": id_[::-1],
        "first character changed": f"1{id_[1:]}",
        "last significant changed": f"{id_[:14]}Z{id_[15:]}",
        "zeros": "0" * 18,
        "a wildcard": "*",
        "None": "None",
        "nothing in XML": "<x/>",
        "two with a comma": f"{id_},{id_}",
        "in quotes": f'"{id_}"',
        "full-width": "".join(chr(ord(c) + 0xFEE0) for c in id_),
        "an emoji": "😀",
        "very long": "0" * 100_000,
        "an unknown entity": "&org;",
        "an entity of its own": "&amp;org;",
    }
    for title, text in texts.items():
        changed = body.replace(element, f"<OrganizationId>{text}</OrganizationId>")
        yield title, good, {"body": changed.encode()}
    others = {
        "gone": "",
        "twice": element * 2,
        "another in front": f"<OrganizationId>{id_[::-1]}</OrganizationId>{element}",
        "another behind": f"{element}<OrganizationId>{id_[::-1]}</OrganizationId>",
        "in a comment": f"<!--{element}-->",
        "in another namespace": element.replace("Id>", 'Id xmlns="urn:x">', 1),
        "under another name": element.replace("Organization", "organization"),
        "one level deeper": f"<x>{element}</x>",
        "as an attribute": f'<OrganizationId value="{id_}"/>',
    }
    for title, text in others.items():
        yield title, good, {"body": body.replace(element, text).encode()}
    whole = {
        "no body": b"",
        "half of it": body[: len(body) // 2].encode(),
        "twice": (body + body).encode(),
        "JSON": json.dumps({"OrganizationId": id_}).encode(),
        "a document type": body.replace("<soapenv:Envelope", "<!DOCTYPE x><soapenv:Envelope", 1),
        "UTF-16": body.encode("utf-16"),
        "UTF-16 without a mark": body.encode("utf-16-le"),
        "another envelope": body.replace("soap/envelope/", "soap/other/"),
        "no envelope": element.encode(),
        "a NUL behind": body.encode() + b"\x00",
    }
    for title, given_ in whole.items():
        yield (
            f"body {title}",
            good,
            {"body": given_ if isinstance(given_, bytes) else given_.encode()},
        )
    yield (
        "in the headers alone",
        {**good, "organizationid": id_},
        {"body": body.replace(element, "").encode()},
    )


def _in_fields(
    vector: dict[str, Any], good: Headers
) -> Iterator[tuple[str, Headers, dict[str, Any]]]:
    """A signature that stands in the body: it, or what it signs, is wrong in every way."""
    body = str(vector["body"])
    found = re.search(r'signature"(?:: ?"|\r\n\r\n)([^"\r]+)', body, re.IGNORECASE)
    assert found
    value = found[1]
    texts = {
        "empty": "",
        "a space": " ",
        "first character changed": ("1" if value[0] != "1" else "2") + value[1:],
        "last character changed": value[:-3] + ("0" if value[-3] != "0" else "1") + value[-2:],
        "last character gone": value.rstrip("=")[:-1],
        "first half": value[: len(value) // 2],
        "doubled": value * 2,
        "reversed": value[::-1],
        "zeros": "0" * len(value),
        "zeros of another length": "0" * 63,
        "turned case": value.swapcase() + "0",
        "a front": f"sha256={value}",
        "base64 of it": base64.b64encode(value.encode()).decode(),
        "hex of it": value.encode().hex(),
        "a comma": ",",
        "two": f"{value},{value}",
        "None": "None",
        "null": "null",
        "true": "true",
        "a wildcard": "*",
        "a tilde": "~",
        "not ASCII": "é" * len(value),
        "full-width": "".join(chr(ord(c) + 0xFEE0) for c in value),
        "an emoji": "😀",
        "very long": "0" * 100_000,
        "a space in front": f" {value}",
        "a space behind": f"{value} ",
        "another's": "deadbeef" * 8,
    }
    for title, text in texts.items():
        yield title, good, {"body": body.replace(value, text).encode()}
    whole = {
        "empty": b"",
        "half": body[: len(body) // 2].encode(),
        "the signature alone": value.encode(),
        "an object": b"{}",
        "a list": b"[]",
        "null": b"null",
        "a NUL": b"\x00",
        "UTF-16": body.encode("utf-16"),
        "under another name": re.sub("signature", "sig", body, flags=re.IGNORECASE).encode(),
        "a later stamp": re.sub(r"(\d)(\d{3})(?=[\"\r])", r"\g<1>999", body).encode(),
    }
    for title, given_ in whole.items():
        yield f"body {title}", good, {"body": given_}


def _stamps(good: Headers) -> Iterator[tuple[str, Headers, dict[str, Any]]]:
    stamp = next((name for name in good if name.endswith("timestamp")), None)
    if stamp is None:
        return
    value = good[stamp]
    for text in (
        "",
        "hello",
        f"{value}.9",
        f" {value}",
        f"{value} ",
        f"+{value}",
        f"-{value}",
        f"{value[:3]}_{value[3:]}",
        "1e9",
        "0x6a",
        "NaN",
        "9" * 40,
        "0",
        "１７",
        str(int(value) + 1),
    ):
        yield f"stamp {text!r}", {**good, stamp: text}, {}
    yield "stamp missing", {k: v for k, v in good.items() if k != stamp}, {}


CASES = {
    f"{source}: {title}": (vector, headers, changed)
    for source, vector in VALID.items()
    for title, headers, changed in variants(vector)
}


@pytest.mark.parametrize("source", SOURCES)
def test_there_are_at_least_forty_variants_of_each_source(source: str) -> None:
    assert _verdict(VALID[source], _hook(VALID[source])).ok
    assert sum(name.startswith(f"{source}: ") for name in CASES) >= 35


@pytest.mark.parametrize("name", CASES)
def test_a_forged_request_is_refused(name: str) -> None:
    vector, headers, changed = CASES[name]
    verdict = _verdict(vector, _hook(vector, headers, **changed))
    assert not verdict.ok
    assert vector["secret"] not in verdict.detail


@pytest.mark.parametrize("source", SOURCES)
def test_no_secret_refuses_and_never_skips(source: str) -> None:
    vector = VALID[source]
    for secrets in ((), ("",), ("", "")):
        endpoint = Endpoint(source=source, secrets=secrets, options=options_of(vector))
        assert SOURCES[source].verify(_hook(vector), endpoint).reason is Reason.NO_SECRET


@pytest.mark.parametrize("source", SOURCES)
def test_the_old_and_the_new_secret_are_valid_at_once(source: str) -> None:
    vector = VALID[source]
    other = {"make": "a:b", "postmark-inbound": "a:b"}.get(source, "whsec_" + "B" * 40)
    own = secrets_of(vector)
    assert _verdict(vector, _hook(vector), other, *own).ok
    assert _verdict(vector, _hook(vector), *own, other).ok
    assert not _verdict(vector, _hook(vector), other).ok


def test_hubspot_decodes_the_twelve_escapes_and_no_others() -> None:
    from services.ingest.signed_text import Template

    template = Template(text="{url}", decodes_url=True)
    url = "https://x/?a=%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B&b=%20%26%25%3d%2B%C3%A9"
    hook = Hook(method="POST", url=url, headers={}, body=b"", received_at=datetime.now(UTC))
    assert template.render(hook, b"") == b"https://x/?a=:/?@!$'()*,;&b=%20%26%25%3d%2B%C3%A9"


_HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "authorization",
            "x-ingest-token",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "svix-signature",
            "x-hubspot-signature",
            "x-hubspot-signature-v3",
            "x-hubspot-signature-version",
            "x-hubspot-request-timestamp",
            "x-hub-signature-256",
            "x-signature",
        ]
    ),
    st.text(max_size=40)
    | st.sampled_from(
        ["v1,", "v1a,AAAA", "v2", "v1", "Basic ", "Basic Og==", "sha256=", "1795392000"]
    ),
)
_SECRETS = st.lists(
    st.text(max_size=30)
    | st.sampled_from(["whsec_", "whpk_", "whpk_AAAA", "a:b", ":", "whsec_" + "A" * 40]),
    max_size=3,
).map(tuple)


@settings(max_examples=300, deadline=None)
@given(
    source=st.sampled_from(list(SOURCES)),
    headers=_HEADERS,
    secrets=_SECRETS,
    body=st.binary(max_size=50),
    url=st.text(max_size=40),
)
def test_no_request_makes_a_verifier_raise(
    source: str, headers: Headers, secrets: tuple[str, ...], body: bytes, url: str
) -> None:
    now = datetime.fromtimestamp(1795392000, UTC)
    hook = Hook(method="POST", url=url, headers=headers, body=body, received_at=now)
    endpoint = Endpoint(
        source=source, secrets=secrets, options={"header": "x-signature", "encoding": "base64"}
    )
    verify: Callable[[Hook, Endpoint], Verdict] = SOURCES[source].verify
    assert isinstance(verify(hook, endpoint), Verdict)
