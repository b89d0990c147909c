"""Amazon SNS, and mail that Amazon SES receives and hands on through a topic.

https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html
https://docs.aws.amazon.com/ses/latest/dg/receiving-email-notifications-contents.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.ingest.addresses import address_of
from services.ingest.bodies import flat, json_object
from services.ingest.forms import moment
from services.ingest.hook import Hook
from services.ingest.json_gate import parse_json
from services.ingest.mail import LONGEST_FACT, Mail, date_of, describe_mail
from services.ingest.mime import Headers, decode_words, read_mime
from services.ingest.sns_signature import CONFIRMATIONS, SnsSignature, confirmation_url
from services.ingest.source import (
    MEBIBYTE,
    PLAIN,
    Answer,
    Description,
    Form,
    Handshake,
    Identity,
    Option,
    Outcome,
    Raw,
    Setup,
    Source,
)
from shared.domain.event import EventKind, Sender
from shared.errors import BadPayload, NotJson

MAX_HEADERS = 300
MAIL = "mail.received"
MESSAGE = "notification"
# SES names these three in two ways: for receipts, and for what became of mails we sent.
VERDICTS = {"PASS": "pass", "FAIL": "fail"}
HANDLED = frozenset({MAIL, MESSAGE, "bounce", "complaint", "reject", "rendering failure"})
IGNORED = frozenset({"click", "delivery", "deliverydelay", "open", "send", "subscription"})
# SNS, message delivery retries: 200 to 4xx end it for good, so all that may get better is a 5xx.
ANSWERS = {
    **PLAIN,
    Outcome.REFUSED: Answer(status=403, body="The sender could not be verified."),
    Outcome.CUT_OFF: Answer(status=503, body="The body ended early. Please send it again."),
    Outcome.NOT_JSON: Answer(status=200),
    Outcome.BAD_PAYLOAD: Answer(status=200),
}


def handshake(hook: Hook) -> Handshake | None:
    """A subscription is confirmed by an admin's click; by then the topic is known to be ours."""
    message = json_object(hook)
    if message["Type"] not in CONFIRMATIONS:
        return None
    is_new = message["Type"] == CONFIRMATIONS[0]
    words = (
        "the topic asks to be confirmed: open the link once"
        if is_new
        else "the subscription was ended: open the link to restore it"
    )
    return Handshake(detail=words, url=confirmation_url(message))


def split(hook: Hook) -> Sequence[Raw]:
    """The message is a text; JSON in it is read, and stands under ``content``."""
    envelope = json_object(hook)
    return ({"envelope": envelope, "content": _content(envelope["Message"])},)


def _content(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text.encode("utf-8", "replace"))
    except NotJson:
        return {}
    return value if isinstance(value, dict) else {}


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """``MessageId`` is the same on every retry, and signed."""
    envelope, type_ = raw["envelope"], _type(raw["content"])
    common = _object(_object(raw["content"], "mail"), "commonHeaders")
    is_mail = type_ == MAIL
    return Identity(
        dedup_key=envelope["MessageId"][:200],
        type=type_,
        kind=EventKind.MAIL if is_mail else EventKind.MESSAGE,
        occurred_at=(date_of(_text(common, "date")) if is_mail else None)
        or moment(envelope["Timestamp"]),
        subject=(_text(common, "subject") or _text(envelope, "Subject"))[:500] or None,
    )


def _type(content: Raw) -> str:
    """SES says what it is in ``notificationType``, or ``eventType`` in the newer form."""
    said = _text(content, "notificationType") or _text(content, "eventType")
    if said == "Received":
        return MAIL
    return said.lower()[:100] if said and "mail" in content else MESSAGE


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    envelope, content = raw["envelope"], raw["content"]
    facts = {"topic_arn": envelope["TopicArn"][:LONGEST_FACT]}
    type_ = _type(content)
    if type_ == MAIL:
        said = _mail(content)
        return replace(said, facts={**said.facts, **_verdicts(content), **facts})
    if type_ != MESSAGE:
        return _about_sent_mail(content, facts)
    parts = flat(content) if content else {"message": envelope["Message"]}
    return Description(parts=parts, facts=facts)


def _mail(content: Raw) -> Description:
    """The mail itself where the SNS action sent it along; else its headers, and where it lies."""
    mail, receipt = _object(content, "mail"), _object(content, "receipt")
    recipients = receipt.get("recipients")
    recipient = ", ".join(_texts(recipients) or _texts(mail.get("destination")))
    headers = _headers(mail.get("headers"))
    sender = _sender(mail, headers, _object(receipt, "dmarcVerdict"))
    whole = _text(content, "content")
    if whole:
        action = _object(receipt, "action")
        read = read_mime(_bytes(whole, _text(action, "encoding")), recipient=recipient)
        found = replace(read, sender=sender)
    else:
        common = _object(mail, "commonHeaders")
        found = Mail(
            subject=_text(common, "subject"),
            text="",
            html="",
            sender=sender,
            headers=headers,
            recipient=recipient,
        )
    said = describe_mail(found.received_from(_text(mail, "source")))
    return said if whole else replace(said, facts={**said.facts, **_place(receipt)})


def _sender(mail: Raw, headers: Headers, dmarc: Raw) -> Sender:
    """DMARC alone is about ``From``; SPF and DKIM may have passed for any other domain."""
    first = dict(reversed(headers))
    named = _texts(_object(mail, "commonHeaders").get("from"))
    name, address = address_of(first.get("from", "") or (named[0] if named else ""))
    verdict = VERDICTS.get(_text(dmarc, "status").upper(), "unverified")
    return Sender(name=name, email=address, verified=verdict)


def _place(receipt: Raw) -> dict[str, str]:
    """Where the S3 action put the mail; nothing of ours fetches it."""
    action = _object(receipt, "action")
    bucket, key = _text(action, "bucketName"), _text(action, "objectKey")
    return {"stored_at": f"s3://{bucket}/{key}"[:LONGEST_FACT]} if bucket and key else {}


def _verdicts(content: Raw) -> dict[str, str]:
    receipt = _object(content, "receipt")
    found = {
        f"{name}_verdict": _text(_object(receipt, f"{name}Verdict"), "status").lower()
        for name in ("spam", "virus")
    }
    return {name: text[:100] for name, text in found.items() if text}


def _about_sent_mail(content: Raw, facts: dict[str, str]) -> Description:
    """The sender is the person the mail went to: it is that record the news is about."""
    people = _texts(_object(content, "mail").get("destination"))
    return Description(
        parts=flat(content),
        sender=Sender(email=people[0]) if len(people) == 1 else None,
        facts=facts,
    )


def _bytes(text: str, encoding: str) -> bytes:
    """The raw mail. Raises `BadPayload`."""
    if encoding.upper() != "BASE64":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPayload("the mail is not base64") from error


def _headers(given: Any) -> Headers:
    if not isinstance(given, list):
        return ()
    items = [item for item in given[:MAX_HEADERS] if isinstance(item, dict)]
    return tuple((_text(i, "name").lower(), decode_words(_text(i, "value"))) for i in items)


def _object(raw: Raw, name: str) -> dict[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def _text(raw: Raw, name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


SOURCE = Source(
    name="aws-sns",
    title="Amazon SNS and SES inbound mail",
    verify=SnsSignature(),
    handshake=handshake,
    split=split,
    identify=identify,
    describe=describe,
    handled=HANDLED,
    ignored=IGNORED,
    answers=ANSWERS,
    max_bytes=MEBIBYTE,
    keep_days=30,
    kept_headers=("content-type",),
    setup=Setup(
        screen="SNS → your topic → Create subscription → HTTPS → Endpoint; then open the link that "
        "the status page shows",
        credential="nothing to enter there; copy the topic's ARN to here: SNS signs for everybody, "
        "so only the topics named here get in",
        made_by="vendor",
        form="the ARN of the topic, as arn:aws:sns:eu-west-1:123456789012:inbound-mail",
        options={
            "certificate": Option(
                hint="signing certificate (PEM), where ingest may not fetch it itself",
                form=Form(
                    pattern=r"-----BEGIN CERTIFICATE-----.{1,8000}-----END CERTIFICATE-----",
                    words="a certificate from BEGIN CERTIFICATE to END CERTIFICATE",
                ),
                is_long=True,
            )
        },
    ),
)
