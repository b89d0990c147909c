"""Standard Webhooks v1 (HMAC) and v1a (Ed25519): the generic signed source.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from collections.abc import Sequence

from services.ingest.bodies import flat, json_object
from services.ingest.forms import LONGEST_ID, kind_of, moment, sender_of
from services.ingest.hook import Hook
from services.ingest.public_keys import ed25519_key
from services.ingest.signatures import BySecret, FirstPresent, Hmac, PublicKey, Verify
from services.ingest.signed_text import Freshness, Template, versioned, whsec_secret
from services.ingest.source import Description, Identity, Raw, Setup, Source
from shared.domain.event import EventKind
from shared.errors import BadPayload

KEPT_HEADERS = ("content-type", "webhook-id", "webhook-signature", "svix-id")
# The reference libraries let exactly 300 s pass, in both directions.
TOLERANCE = 300


def _scheme(family: str) -> Verify:
    """Both versions under the header names ``<family>-id``, ``-timestamp``, ``-signature``."""
    header = f"{family}-signature"
    stamp = f"{family}-timestamp"
    template = Template(text=f"{{header:{family}-id}}.{{header:{stamp}}}.{{body}}")
    freshness = Freshness(header=stamp, past=TOLERANCE, future=TOLERANCE)
    symmetric = Hmac(
        header=header,
        template=template,
        encoding="base64",
        candidates=versioned("v1"),
        decode_secret=whsec_secret,
        freshness=freshness,
    )
    asymmetric = PublicKey(
        header=header,
        template=template,
        read_key=ed25519_key("whpk_"),
        candidates=versioned("v1a"),
        freshness=freshness,
    )
    return BySecret(schemes={"whpk_": asymmetric}, default=symmetric)


# Some senders keep the names of the hosted service that the standard grew out of.
VERIFY = FirstPresent(
    choices=(
        ("webhook-signature", None, _scheme("webhook")),
        ("svix-signature", None, _scheme("svix")),
        ("webhook-id", None, _scheme("webhook")),
    )
)


def message_id(hook: Hook) -> str:
    """The signed id; the same on every retry. Raises `BadPayload` for one that is too long."""
    family = "webhook" if "webhook-signature" in hook.headers else "svix"
    id_ = hook.headers.get(f"{family}-id", "")
    if len(id_) > LONGEST_ID:
        raise BadPayload(f"the id is longer than {LONGEST_ID} characters")
    return id_


def split(hook: Hook) -> Sequence[Raw]:
    return (json_object(hook),)


def identify(raw: Raw, hook: Hook) -> Identity:
    return Identity(
        dedup_key=message_id(hook),
        type=kind_of(raw, "message"),
        kind=EventKind.MESSAGE,
        occurred_at=moment(raw.get("timestamp")),
    )


def describe(raw: Raw, hook: Hook) -> Description:
    """The scalars of ``data``, or of the whole body where there is none, as text parts."""
    parts = flat(raw.get("data", raw))
    return Description(parts=parts, sender=sender_of(parts), facts={"message_id": message_id(hook)})


SETUP = Setup(
    screen="Webhooks → Add endpoint",
    credential="the signing secret (whsec_…), or the sender's public key (whpk_…)",
    made_by="vendor",
    form="whsec_ and base64, or whpk_ and base64",
)
SOURCE = Source(
    name="standard-webhooks",
    title="Standard Webhooks",
    verify=VERIFY,
    split=split,
    identify=identify,
    describe=describe,
    kept_headers=KEPT_HEADERS,
    setup=SETUP,
)
