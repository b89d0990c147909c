"""Any sender that signs the body with an HMAC in one header; the endpoint's options say how."""

from __future__ import annotations

import functools

from services.ingest.forms import FORM_HEADERS, describe_form, identify_signed_form, one_form
from services.ingest.hook import Endpoint, Hook
from services.ingest.signatures import Hmac
from services.ingest.signed_text import Reason, Template, Verdict, prefixed
from services.ingest.source import Setup, Source

ALGORITHMS = ("sha256", "sha512", "sha384", "sha1")
ENCODINGS = ("hex", "base64", "base64url")


def verify(hook: Hook, endpoint: Endpoint) -> Verdict:
    """``header`` (default ``x-signature``), ``algorithm``, ``encoding`` and ``prefix``."""
    options = endpoint.options
    scheme = _scheme(
        options.get("header", "x-signature").lower(),
        options.get("algorithm", "sha256").lower(),
        options.get("encoding", "hex").lower(),
        options.get("prefix", ""),
    )
    if scheme is None:
        return Verdict(Reason.NO_SECRET, "the endpoint's options name no known scheme")
    return scheme(hook, endpoint)


@functools.lru_cache(maxsize=256)
def _scheme(header: str, algorithm: str, encoding: str, prefix: str) -> Hmac | None:
    if algorithm not in ALGORITHMS or encoding not in ENCODINGS:
        return None
    return Hmac(
        header=header,
        template=Template(text="{body}"),
        algorithm=algorithm,
        encoding=encoding,
        candidates=prefixed(prefix),
    )


SOURCE = Source(
    name="generic-hmac",
    title="Any signed webhook (HMAC)",
    verify=verify,
    split=one_form,
    identify=identify_signed_form,
    describe=describe_form,
    kept_headers=FORM_HEADERS,
    setup=Setup(
        screen="the sender's webhook settings",
        credential="a shared secret; the signature goes into the header named below",
        options={
            "header": "name of the signature header (x-signature)",
            "algorithm": "sha256, sha512, sha384 or sha1 (sha256)",
            "encoding": "hex, base64 or base64url (hex)",
            "prefix": "fixed text before the signature, such as sha256= (none)",
        },
    ),
)
