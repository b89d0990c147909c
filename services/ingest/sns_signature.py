"""The signature inside an Amazon SNS message: a certificate by URL, and topics that are ours.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.ingest.bodies import json_object
from services.ingest.certificates import Certificates
from services.ingest.forms import moment
from services.ingest.hook import Endpoint, Hook
from services.ingest.signed_text import VERIFIED, Reason, Verdict, decoded, judge_age
from shared.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# In byte order; each that is there is signed with its name.
SIGNED = (
    "Message",
    "MessageId",
    "Subject",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
NEEDED = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
OUTER = ("Signature", "SignatureVersion", "SigningCertURL")
NOTIFICATION = "Notification"
CONFIRMATIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
HEADERS = {
    "x-amz-sns-message-type": "Type",
    "x-amz-sns-message-id": "MessageId",
    "x-amz-sns-topic-arn": "TopicArn",
}
TYPE_HEADER = "x-amz-sns-message-type"
# A delivery is tried for 3,600 s; one minute more for clocks.
PAST, FUTURE = 3660, 60

# A region, since a bucket named “sns” answers at sns.s3-us-west-2.amazonaws.com.
_HOST = r"sns\.[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL = re.compile(rf"https://{_HOST}/[A-Za-z0-9_-]{{1,200}}\.pem\Z")
_CONFIRM_URL = re.compile(rf"https://{_HOST}/\?Action=ConfirmSubscription&[!-~]{{1,2000}}\Z")
_ISSUED_FOR = re.compile(r"sns\.(?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?\Z")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SnsSignature:
    """The endpoint's secrets are the topics that are ours: SNS signs for everybody.

    The option ``certificate`` (PEM) stands in for what would be fetched. Raises `Unavailable` where
    the certificate cannot be had, since SNS ends its tries for good at any 4xx.
    """

    certificates: Certificates = field(default_factory=Certificates)

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        topics = [topic for topic in endpoint.secrets if topic]
        if not topics:
            return Verdict(Reason.NO_SECRET, "this endpoint names no topic")
        try:
            message = json_object(hook)
        except Rejected as error:
            return Verdict(Reason.MALFORMED, str(error))
        problem = _incomplete(message) or _contradiction(message, hook) or _untimely(message, hook)
        if problem:
            return problem
        if not _CERTIFICATE_URL.match(message["SigningCertURL"]):
            return Verdict(Reason.POLICY, "SigningCertURL is not an address of SNS")
        return self._judge(message, topics, endpoint, hook.received_at)

    def _judge(
        self, message: Mapping[str, Any], topics: list[str], endpoint: Endpoint, now: datetime
    ) -> Verdict:
        """A topic of somebody else makes us fetch nothing."""
        foreign = Verdict(Reason.POLICY, "TopicArn is not one of this endpoint's topics")
        is_ours = message["TopicArn"] in topics
        pinned = endpoint.options.get("certificate", "")
        url = message["SigningCertURL"]
        pem = pinned.encode() or self.certificates.at_hand(url)
        if pem is None and not is_ours:
            return foreign
        certificate = _certificate(pem if pem is not None else self.certificates.find(url))
        if certificate is None:
            if pinned:
                return Verdict(Reason.NO_SECRET, "the endpoint's certificate cannot be read")
            self.certificates.forget(url)
            raise Unavailable("what SigningCertURL gave is no certificate")
        verdict = _signed_by(certificate, message, now)
        return verdict if is_ours or not verdict.ok else foreign


def confirmation_url(message: Mapping[str, Any]) -> str | None:
    """Where a subscription is confirmed, if that is an address of SNS."""
    url = message.get("SubscribeURL")
    return url if isinstance(url, str) and _CONFIRM_URL.match(url) else None


def _incomplete(message: Mapping[str, Any]) -> Verdict | None:
    for name in (*NEEDED, *OUTER):
        if not message.get(name):
            return Verdict(Reason.MISSING, f"{name} is missing")
    for name in (*SIGNED, *OUTER):
        if not isinstance(message.get(name, ""), str | None):
            return Verdict(Reason.MALFORMED, f"{name} is not a text")
    if message["Type"] not in (NOTIFICATION, *CONFIRMATIONS):
        return Verdict(Reason.MALFORMED, "Type is not known")
    if message["SignatureVersion"] not in ("1", "2"):
        return Verdict(Reason.MALFORMED, "SignatureVersion is not known")
    return None


def _contradiction(message: Mapping[str, Any], hook: Hook) -> Verdict | None:
    """SNS repeats three fields as headers; which kind of message it is must be among them."""
    if not hook.headers.get(TYPE_HEADER):
        return Verdict(Reason.MISSING, f"header {TYPE_HEADER} is missing")
    for header, name in HEADERS.items():
        if header in hook.headers and hook.headers[header] != message[name]:
            return Verdict(Reason.MISMATCH, f"header {header} and {name} disagree")
    return None


def _untimely(message: Mapping[str, Any], hook: Hook) -> Verdict | None:
    stamp = message["Timestamp"]
    at = moment(stamp) if _STAMP.match(stamp) else None
    if at is None:
        return Verdict(Reason.MALFORMED, "Timestamp is not a time")
    age = (hook.received_at - at).total_seconds()
    verdict = judge_age(age, "Timestamp", past=PAST, future=FUTURE)
    return None if verdict.ok else verdict


def _certificate(pem: bytes) -> Certificate | None:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _signed_by(certificate: Certificate, message: Mapping[str, Any], now: datetime) -> Verdict:
    """Issued for SNS, valid now, and its key signed this message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    if not any(_ISSUED_FOR.match(name) for name in _names(certificate)):
        return Verdict(Reason.MISMATCH, "the certificate is another's, not that of SNS")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return Verdict(Reason.STALE, "the certificate is expired or not valid yet")
    signature = decoded(message["Signature"], "base64")
    key = certificate.public_key()
    if not signature or not isinstance(key, RSAPublicKey):
        return Verdict(Reason.MALFORMED, "Signature is not base64, or the key is not RSA")
    # SHA-1 is what SNS signs with where nobody asked for version 2.
    algorithm = SHA256() if message["SignatureVersion"] == "2" else SHA1()  # noqa: S303
    try:
        key.verify(signature, _signed_text(message), PKCS1v15(), algorithm)
    except InvalidSignature:
        return Verdict(Reason.MISMATCH, "the signature belongs to another message or another key")
    return VERIFIED


def _names(certificate: Certificate) -> list[str]:
    """The hosts it was issued for; the common name only where it lists none."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        named = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(attribute.value) for attribute in named]


def _signed_text(message: Mapping[str, Any]) -> bytes:
    present = [(name, message[name]) for name in SIGNED if message.get(name) is not None]
    return "".join(f"{name}\n{value}\n" for name, value in present).encode("utf-8", "replace")
