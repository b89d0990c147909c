"""SendGrid Event Webhook: what became of the mails we sent, in signed batches.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

from __future__ import annotations

from collections.abc import Sequence

from services.ingest.bodies import as_text, flat
from services.ingest.forms import LONGEST_ID, moment
from services.ingest.hook import Hook
from services.ingest.json_gate import parse_json
from services.ingest.public_keys import ecdsa_p256_key
from services.ingest.signatures import PublicKey
from services.ingest.signed_text import Freshness, Template
from services.ingest.source import MEBIBYTE, Description, Identity, Raw, Setup, Source
from shared.canonical import canonical, sha256_hex
from shared.domain.event import EventKind, Sender
from shared.errors import BadPayload

SIGNATURE = "x-twilio-email-event-webhook-signature"
STAMP = "x-twilio-email-event-webhook-timestamp"
# It keeps trying for three days and does not say whether it signs each try anew.
FOUR_DAYS = 4 * 24 * 3600
VERIFY = PublicKey(
    header=SIGNATURE,
    template=Template(text=f"{{header:{STAMP}}}{{body}}"),
    read_key=ecdsa_p256_key,
    freshness=Freshness(header=STAMP, past=FOUR_DAYS),
)
KEY_FORM = "the verification key as SendGrid shows it: base64, one line"
MAX_BATCH = 10_000


def split(hook: Hook) -> Sequence[Raw]:
    """A JSON array of events; a retry repeats the array as a whole."""
    value = parse_json(hook.body)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadPayload("the body must be a JSON array of objects")
    if len(value) > MAX_BATCH:
        raise BadPayload(f"more than {MAX_BATCH} events in one request")
    return value


def identify(raw: Raw, hook: Hook) -> Identity:  # noqa: ARG001 - the shape of all sources.
    """``sg_event_id`` is the vendor's own; without it the whole event is the key."""
    type_ = raw.get("event")
    if not isinstance(type_, str) or not 0 < len(type_) <= 100:
        raise BadPayload("an event has no kind")
    id_ = raw.get("sg_event_id")
    is_usable = isinstance(id_, str) and 0 < len(id_) <= LONGEST_ID
    return Identity(
        dedup_key=str(id_) if is_usable else sha256_hex(canonical(raw)),
        type=type_,
        kind=EventKind.MESSAGE,
        occurred_at=moment(raw.get("timestamp")),
    )


def describe(raw: Raw, hook: Hook) -> Description:  # noqa: ARG001 - the shape of all sources.
    """The sender is the person the mail went to: it is that record the news is about."""
    address = raw.get("email")
    return Description(
        parts=flat(raw),
        sender=Sender(email=address) if isinstance(address, str) and address else None,
        facts={
            ours: as_text(raw[theirs])
            for theirs, ours in {"smtp-id": "message_id", "sg_message_id": "sg_message_id"}.items()
            if isinstance(raw.get(theirs), str)
        },
    )


SOURCE = Source(
    name="sendgrid-event",
    title="SendGrid event webhook",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    handled=frozenset(
        {
            "bounce",
            "dropped",
            "group_resubscribe",
            "group_unsubscribe",
            "spamreport",
            "unsubscribe",
        }
    ),
    # A mail that arrives, is opened or clicked changes nothing that a person would approve.
    ignored=frozenset(
        {"account_status_change", "click", "deferred", "delivered", "open", "processed"}
    ),
    max_bytes=2 * MEBIBYTE,
    setup=Setup(
        screen="Settings → Mail Settings → Event Webhooks → Create new webhook → Post URL",
        credential="switch on “Signed Event Webhook”, save, and copy its verification key to here",
        made_by="vendor",
        form=KEY_FORM,
    ),
)
