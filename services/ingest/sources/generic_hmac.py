"""Any sender that signs the body with an HMAC in one header; the endpoint's options say how."""

from __future__ import annotations

import functools

from services.ingest.forms import FORM_HEADERS, describe_form, identify_signed_form, one_form
from services.ingest.hook import Endpoint, Hook
from services.ingest.signatures import Hmac
from services.ingest.signed_text import Reason, Template, Verdict, prefixed
from services.ingest.source import HEADER_NAME, Option, Setup, Source

ALGORITHMS = ("sha256", "sha512", "sha384", "sha1")
ENCODINGS = ("hex", "base64", "base64url")
OPTIONS = {
    "header": Option(hint="name of the signature header", default="x-signature", form=HEADER_NAME),
    "algorithm": Option(hint="hash of the HMAC", default="sha256", choices=ALGORITHMS),
    "encoding": Option(hint="how the signature is written", default="hex", choices=ENCODINGS),
    "prefix": Option(hint="fixed text before the signature, such as sha256="),
}


def verify(hook: Hook, endpoint: Endpoint) -> Verdict:
    """As the endpoint's options say."""
    set_ = {name: endpoint.options.get(name, one.default) for name, one in OPTIONS.items()}
    scheme = _scheme(
        set_["header"].lower(), set_["algorithm"].lower(), set_["encoding"].lower(), set_["prefix"]
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
        options=OPTIONS,
    ),
)
