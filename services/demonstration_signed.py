"""The demonstration's requests of mail services and generic senders, signed as each of them signs.

Where a vendor signs with a private key, each run makes one of its own and enters its public half
at the endpoint ``demo``: nobody holds it afterwards.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from services.demonstration_crms import JSON, Post, Secrets, as_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from services.ingest.endpoints import Endpoints

DEMO = "demo"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:inbound-mail"
BOUNDARY = "xYzZY"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
_AWAY = "I am out of the office until 7 December.\n"


@dataclass(frozen=True, kw_only=True)
class Vendors:
    """The private keys of this run's vendors."""

    sendgrid: EllipticCurvePrivateKey
    sns: RSAPrivateKey


def vendors(endpoints: Endpoints) -> Vendors:
    """Fresh keys, their public halves entered at the endpoints. Raises `NotFound`."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    sendgrid, sns = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    der = sendgrid.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for source in ("sendgrid-inbound", "sendgrid-event"):
        endpoints.rotate(source, DEMO, secret=base64.b64encode(der).decode())
    endpoints.rotate("aws-sns", DEMO, secret=TOPIC)
    known = {"certificate": _certificate(sns)}
    endpoints.configure("aws-sns", DEMO, options=known, public_url=None)
    return Vendors(sendgrid=sendgrid, sns=sns)


def signed_posts(secrets: Secrets, keys: Vendors, run: str) -> list[Post]:
    """One of each source that `demonstration.posts` leaves out. ``run`` makes their ids new."""
    return [
        _sendgrid_inbound(keys, run),
        _sendgrid_event(keys, run),
        _mailgun_routes(secrets["mailgun-routes"], run),
        _mailgun_webhook(secrets["mailgun-webhook"], run),
        _aws_sns(keys, run),
        _standard("standard-webhooks", secrets, run, "A shop tells of a rating"),
        _standard("zapier-connection", secrets, run, "Zapier's signed delivery of a rating"),
        _generic(secrets["generic-hmac"], run),
        _demo_crm(secrets, run),
        _hand_off(secrets, run),
    ]


def _sendgrid_inbound(keys: Vendors, run: str) -> Post:
    """Inbound Parse: twilio.com/docs/sendgrid, Securing your Inbound Parse Webhooks."""
    body = _form(
        {
            "headers": f"Message-ID: <sendgrid-{run}@mail.example>\nAuto-Submitted: auto-replied\n",
            "from": "Peter Novak <peter.novak@example.net>",
            "to": "office@inbound.example.com",
            "subject": "Automatic reply: Your offer",
            "text": _AWAY,
            "envelope": '{"to":["office@inbound.example.com"],"from":"peter.novak@example.net"}',
            "charsets": '{"text":"UTF-8"}',
        }
    )
    return _by_sendgrid("An automatic reply through SendGrid", "sendgrid-inbound", keys, body)


def _sendgrid_event(keys: Vendors, run: str) -> Post:
    event = {
        "email": "grace.whitfield@example.org",
        "timestamp": int(time.time()),
        "event": "delivered",
        "sg_event_id": f"sg-{run}",
    }
    return _by_sendgrid("SendGrid delivered a mail", "sendgrid-event", keys, as_json([event]))


def _by_sendgrid(what: str, source: str, keys: Vendors, body: bytes) -> Post:
    """ECDSA over time stamp and body: twilio.com/docs/sendgrid, event webhook security."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    stamp = str(int(time.time()))
    signature = keys.sendgrid.sign(stamp.encode() + body, ECDSA(SHA256()))
    headers = {
        **(MULTIPART if source == "sendgrid-inbound" else JSON),
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }
    return Post(what=what, source=source, body=body, headers=headers)


def _mailgun_routes(secret: str, run: str) -> Post:
    """The mail as a form: documentation.mailgun.com, Receive HTTP and Securing webhooks."""
    mail = {
        "recipient": "office@inbound.example.com",
        "sender": "peter.novak@example.net",
        "from": "Peter Novak <peter.novak@example.net>",
        "subject": "Automatic reply: Your offer",
        "body-plain": _AWAY,
        "message-headers": f'[["Message-Id","<mailgun-{run}@mail.example>"],'
        '["Auto-Submitted","auto-replied"]]',
    }
    return Post(
        what="An automatic reply through Mailgun",
        source="mailgun-routes",
        body=urlencode({**mail, **_mailgun(secret, f"r{run}")}).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )


def _mailgun_webhook(secret: str, run: str) -> Post:
    data = {"event": "delivered", "id": run, "recipient": "grace.whitfield@example.org"}
    body = as_json({"signature": _mailgun(secret, f"w{run}"), "event-data": data})
    what, source = "Mailgun delivered a mail", "mailgun-webhook"
    return Post(what=what, source=source, body=body, headers=JSON)


def _mailgun(secret: str, run: str) -> dict[str, str]:
    stamp, token = str(int(time.time())), run.ljust(50, "0")
    mac = hmac.digest(secret.encode(), f"{stamp}{token}".encode(), "sha256")
    return {"timestamp": stamp, "token": token, "signature": mac.hex()}


def _aws_sns(keys: Vendors, run: str) -> Post:
    """Signature version 2: docs.aws.amazon.com/sns, Verifying the signatures of messages."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    message = {
        "Message": as_json(_ses_mail()).decode(),
        "MessageId": f"sns-{run}",
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "TopicArn": TOPIC,
        "Type": "Notification",
    }
    text = "".join(f"{name}\n{value}\n" for name, value in message.items())
    signature = base64.b64encode(keys.sns.sign(text.encode(), PKCS1v15(), SHA256())).decode()
    outer = {
        "SignatureVersion": "2",
        "Signature": signature,
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-demo.pem",
    }
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": "Notification",
    }
    body, what = as_json({**message, **outer}), "An automatic reply through Amazon SES and SNS"
    return Post(what=what, source="aws-sns", body=body, headers=headers)


def _ses_mail() -> Mapping[str, Any]:
    sender = "Peter Novak <peter.novak@example.net>"
    named = {"From": sender, "Subject": "Automatic reply", "Auto-Submitted": "auto-replied"}
    return {
        "notificationType": "Received",
        "mail": {
            "source": "peter.novak@example.net",
            "destination": ["office@inbound.example.com"],
            "headers": [{"name": name, "value": value} for name, value in named.items()],
            "commonHeaders": {"from": [sender], "subject": "Automatic reply"},
        },
        "receipt": {
            "recipients": ["office@inbound.example.com"],
            "dmarcVerdict": {"status": "PASS"},
        },
    }


def _certificate(key: RSAPrivateKey) -> str:
    """PEM, issued for SNS by itself, for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM).decode()


def _standard(source: str, secrets: Secrets, run: str, what: str) -> Post:
    """Standard Webhooks v1: the specification at github.com/standard-webhooks."""
    rating = {"type": "rating.given", "data": {"id": run, "stars": 5}}
    body = as_json(rating)
    return Post(what=what, source=source, body=body, headers=_v1(secrets[source], run, body))


def _demo_crm(secrets: Secrets, run: str) -> Post:
    """As the demo CRM tells of what a person changed there; the record is none of its samples."""
    change = {"job_title": {"old": None, "new": "Head of Operations"}}
    data = {"object": "contacts", "id": "9999", "changes": change, "changed_by": "A person"}
    body = as_json(
        {"type": "contact.updated", "timestamp": datetime.now(UTC).isoformat(), "data": data}
    )
    return Post(
        what="A person changed a contact in the demo CRM",
        source="demo-crm",
        endpoint="",
        body=body,
        headers=_v1(secrets["demo-crm"], run, body),
    )


def _hand_off(secrets: Secrets, run: str) -> Post:
    """A flow tells how handing over ended, of a lead that nobody handed over."""
    body = as_json({"type": "lead.done", "data": {"change_id": f"demo-{run}"}})
    return Post(
        what="A flow tells that a lead was entered",
        source="hand-off",
        body=body,
        headers=_v1(secrets["hand-off"], run, body),
    )


def _v1(secret: str, run: str, body: bytes) -> dict[str, str]:
    id_, stamp = f"msg_{run}", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{id_}.{stamp}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(mac).decode()}"
    named = {"webhook-id": id_, "webhook-timestamp": stamp, "webhook-signature": signature}
    return {**JSON, **named}


def _generic(secret: str, run: str) -> Post:
    """Any sender that signs its body: a hex HMAC in the default header."""
    body = as_json({"id": run, "type": "rating.given", "stars": 4})
    signature = hmac.digest(secret.encode(), body, "sha256").hex()
    headers = {**JSON, "X-Signature": signature}
    return Post(
        what="A signed webhook of a survey", source="generic-hmac", body=body, headers=headers
    )


def _form(fields: Mapping[str, str]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode()
