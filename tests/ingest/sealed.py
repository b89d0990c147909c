"""Requests of the mail services and of Zapier, signed as each of them signs, with keys of our own.

`seal` takes what a source's body is made of and gives the request's body and headers:

- ``sendgrid-event``, ``mailgun-webhook``, ``zapier-connection``: any JSON value;
- ``aws-sns``: the message inside the envelope, any JSON value;
- ``sendgrid-inbound``, ``mailgun-routes``: the form, ``{field: text}``.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SOURCES = (
    "zapier-connection",
    "sendgrid-inbound",
    "sendgrid-event",
    "mailgun-routes",
    "mailgun-webhook",
    "aws-sns",
)
TOPIC = "arn:aws:sns:us-east-1:111111111111:SES_Inbound"
MAILGUN_KEY = "key-for-tests-of-mailgun"
ZAPIER_KEY = b"k" * 32
BOUNDARY = "xYzZY"
Sealed = tuple[bytes, dict[str, str]]


def secret_of(source: str) -> str:
    """What an admin enters."""
    if source.startswith("sendgrid"):
        der = _sendgrid_key().public_key().public_bytes
        return base64.b64encode(der(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    if source.startswith("mailgun"):
        return MAILGUN_KEY
    return TOPIC if source == "aws-sns" else "whsec_" + base64.b64encode(ZAPIER_KEY).decode()


def options_of(source: str) -> dict[str, str]:
    return {"certificate": certificate()} if source == "aws-sns" else {}


def seal(source: str, content: Any, number: int, now: int) -> Sealed:
    """``number`` makes the request's id new; ``now`` is in seconds."""
    if source == "zapier-connection":
        return _zapier(_json(content), number, now)
    if source == "sendgrid-event":
        return _sendgrid(_json(content), "application/json", now)
    if source == "sendgrid-inbound":
        return _sendgrid(_form(content), f"multipart/form-data; boundary={BOUNDARY}", now)
    if source == "mailgun-webhook":
        block = {"signature": _mailgun(number, now), "event-data": content}
        return _json(block), {"Content-Type": "application/json"}
    if source == "mailgun-routes":
        form = _form({**content, **_mailgun(number, now)})
        return form, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return _sns(content, number, now)


def _zapier(body: bytes, number: int, now: int) -> Sealed:
    mac = hmac.digest(ZAPIER_KEY, f"msg_{number}.{now}.".encode() + body, "sha256")
    return body, {
        "Content-Type": "application/json",
        "webhook-id": f"msg_{number}",
        "webhook-timestamp": str(now),
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }


def _sendgrid(body: bytes, media_type: str, now: int) -> Sealed:
    signature = _sendgrid_key().sign(str(now).encode() + body, ec.ECDSA(SHA256()))
    return body, {
        "Content-Type": media_type,
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": str(now),
    }


def _mailgun(number: int, now: int) -> dict[str, str]:
    token = f"{number:050d}"
    mac = hmac.digest(MAILGUN_KEY.encode(), f"{now}{token}".encode(), "sha256")
    return {"timestamp": str(now), "token": token, "signature": mac.hex()}


def _sns(content: Any, number: int, now: int) -> Sealed:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    message = {
        "Message": content if isinstance(content, str) else _json(content).decode(),
        "MessageId": f"00000000-0000-4000-8000-{number:012d}",
        "Timestamp": stamp,
        "TopicArn": TOPIC,
        "Type": "Notification",
    }
    text = "".join(f"{name}\n{value}\n" for name, value in message.items())
    signature = _sns_key().sign(text.encode("utf-8", "replace"), PKCS1v15(), SHA256())
    message["SignatureVersion"] = "2"
    message["Signature"] = base64.b64encode(signature).decode()
    message["SigningCertURL"] = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService.pem"
    return _json(message), {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": message["MessageId"],
        "x-amz-sns-topic-arn": TOPIC,
    }


@functools.cache
def certificate() -> str:
    """PEM, issued for SNS by itself, from the start of 2026 for twenty years."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_sns_key().public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=7300))
        .sign(_sns_key(), SHA256())
    )
    return built.public_bytes(Encoding.PEM).decode()


@functools.cache
def _sns_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def _sendgrid_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _form(fields: dict[str, str]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode()
