"""The declarative ways to verify a sender: `Hmac`, `Basic`, `Token`, `PublicKey` over raw bytes.

A verifier is called with the hook and its endpoint, gives a `Verdict` and never raises.
`FirstPresent` and `BySecret` choose between schemes of one source; neither allows a downgrade.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.ingest.hook import Endpoint, Hook
from services.ingest.public_keys import ReadKey
from services.ingest.signed_text import (
    VERIFIED,
    Candidates,
    Freshness,
    Reason,
    SecretDecoder,
    Template,
    Verdict,
    as_bytes,
    decoded,
    prefixed,
    utf8_secret,
)

Verify = Callable[[Hook, Endpoint], Verdict]


@dataclass(frozen=True, kw_only=True)
class Hmac:
    """HMAC over the template, or the plain hash of it where ``is_keyed`` is false.

    ``encoding`` is ``hex``, ``base64`` or ``base64url``; ``algorithm`` a name of hashlib.
    """

    header: str
    template: Template
    algorithm: str = "sha256"
    encoding: str = "hex"
    is_keyed: bool = True
    candidates: Candidates = field(default=prefixed(""))
    decode_secret: SecretDecoder = utf8_secret
    freshness: Freshness | None = None

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        keys = [key for secret in endpoint.secrets if (key := self.decode_secret(secret))]
        if not keys:
            return Verdict(Reason.NO_SECRET, "this endpoint has no usable secret")
        problem = _incomplete(hook, self.header, self.template, self.freshness)
        if problem:
            return problem
        given = [as_bytes(text) for text in self.candidates(hook.headers[self.header]) if text]
        if not given:
            return Verdict(Reason.MALFORMED, f"header {self.header} holds no known signature")
        if self._any_matches(hook, keys, given):
            return VERIFIED
        if not any(decoded(text.decode(), self.encoding) for text in given):
            return Verdict(Reason.MALFORMED, f"header {self.header} is not {self.encoding}")
        return Verdict(Reason.MISMATCH, "the signature belongs to other bytes or another secret")

    def _any_matches(self, hook: Hook, keys: Sequence[bytes], given: Sequence[bytes]) -> bool:
        """Every pair is compared, in constant time each, so that timing names no secret."""
        matches = False
        for key in keys:
            expected = self._signature(self.template.render(hook, key), key)
            for text in given:
                matches |= hmac.compare_digest(self._shown(text), expected)
        return matches

    def _shown(self, text: bytes) -> bytes:
        """Hex in either case, base64url with its padding or without (RFC 4648 §3.2)."""
        if self.encoding == "base64url" and not text.endswith(b"="):
            return text + b"=" * (-len(text) % 4)
        return text.lower() if self.encoding == "hex" else text

    def _signature(self, message: bytes, key: bytes) -> bytes:
        if self.is_keyed:
            raw = hmac.digest(key, message, self.algorithm)
        else:
            raw = hashlib.new(self.algorithm, message).digest()
        if self.encoding == "hex":
            return raw.hex().encode()
        if self.encoding == "base64url":
            return base64.urlsafe_b64encode(raw)
        return base64.b64encode(raw)


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A public-key signature in base64 over the template; ``read_key`` knows the secret's form."""

    header: str
    template: Template
    read_key: ReadKey
    candidates: Candidates = field(default=prefixed(""))
    freshness: Freshness | None = None

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        keys = [key for secret in endpoint.secrets if (key := self.read_key(secret))]
        if not keys:
            return Verdict(Reason.NO_SECRET, "this endpoint has no usable public key")
        problem = _incomplete(hook, self.header, self.template, self.freshness)
        if problem:
            return problem
        texts = self.candidates(hook.headers[self.header])
        given = [raw for text in texts if (raw := decoded(text, "base64"))]
        if not given:
            return Verdict(Reason.MALFORMED, f"header {self.header} holds no known signature")
        message = self.template.render(hook, b"")
        if any(matches(signature, message) for matches in keys for signature in given):
            return VERIFIED
        return Verdict(Reason.MISMATCH, "the signature belongs to other bytes or another key")


@dataclass(frozen=True, kw_only=True)
class Basic:
    """HTTP Basic; the secret is ``user:password``, split at the first colon only."""

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        secrets = [as_bytes(secret) for secret in endpoint.secrets if ":" in secret]
        if not secrets:
            return Verdict(Reason.NO_SECRET, "this endpoint has no user and password")
        value = hook.headers.get("authorization")
        if not value:
            return Verdict(Reason.MISSING, "header authorization is missing")
        scheme, _, encoded = value.partition(" ")
        given = decoded(encoded.strip(), "base64") if scheme.lower() == "basic" else None
        if given is None or b":" not in given:
            return Verdict(Reason.MALFORMED, "header authorization is not Basic user:password")
        if _equals_any(given, secrets):
            return VERIFIED
        return Verdict(Reason.MISMATCH, "wrong user or password")


@dataclass(frozen=True, kw_only=True)
class Token:
    """A secret header of a fixed value."""

    header: str

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        secrets = [as_bytes(secret) for secret in endpoint.secrets if secret]
        if not secrets:
            return Verdict(Reason.NO_SECRET, "this endpoint has no token")
        given = hook.headers.get(self.header)
        if not given:
            return Verdict(Reason.MISSING, f"header {self.header} is missing")
        if _equals_any(as_bytes(given), secrets):
            return VERIFIED
        return Verdict(Reason.MISMATCH, "wrong token")


@dataclass(frozen=True, kw_only=True)
class FirstPresent:
    """The first scheme whose header is there decides alone: a wrong strong signature never falls
    back to a weaker one.

    Each choice is ``(header, value or None for any, scheme)``.
    """

    choices: tuple[tuple[str, str | None, Verify], ...]

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        seen = False
        for header, value, verify in self.choices:
            given = hook.headers.get(header)
            if given is not None and value in (None, given):
                return verify(hook, endpoint)
            seen = seen or given is not None
        if not any(endpoint.secrets):
            return Verdict(Reason.NO_SECRET, "this endpoint has no secret")
        names = ", ".join(dict.fromkeys(header for header, _, _ in self.choices))
        if seen:
            return Verdict(Reason.MALFORMED, f"unknown version in {names}")
        return Verdict(Reason.MISSING, f"none of these headers is there: {names}")


@dataclass(frozen=True, kw_only=True)
class BySecret:
    """The kind of secret picks the scheme, so a public key is never used as an HMAC key."""

    schemes: Mapping[str, Verify]
    default: Verify

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        if not any(secret.startswith(tuple(self.schemes)) for secret in endpoint.secrets):
            return self.default(hook, endpoint)
        verdicts = [
            verify(hook, _with_secrets(endpoint, secrets))
            for verify, secrets in self._parted(endpoint.secrets)
        ]
        return next((verdict for verdict in verdicts if verdict.ok), verdicts[0])

    def _parted(self, secrets: Sequence[str]) -> list[tuple[Verify, tuple[str, ...]]]:
        """Schemes with their own secrets; the default scheme speaks where there is none."""
        special = [
            (verify, tuple(s for s in secrets if s.startswith(prefix)))
            for prefix, verify in self.schemes.items()
        ]
        plain = tuple(s for s in secrets if not s.startswith(tuple(self.schemes)))
        parted = [(verify, own) for verify, own in [(self.default, plain), *special] if own]
        return parted or [(self.default, ())]


def _with_secrets(endpoint: Endpoint, secrets: tuple[str, ...]) -> Endpoint:
    if secrets == endpoint.secrets:
        return endpoint
    return Endpoint(
        source=endpoint.source, name=endpoint.name, secrets=secrets, options=endpoint.options
    )


def _incomplete(
    hook: Hook, header: str, template: Template, freshness: Freshness | None
) -> Verdict | None:
    """What is missing, malformed or stale before any signature is computed."""
    if header not in hook.headers:
        return Verdict(Reason.MISSING, f"header {header} is missing")
    for name in template.headers:
        if not hook.headers.get(name):
            return Verdict(Reason.MISSING, f"header {name} is missing")
    if freshness:
        verdict = freshness.judge(hook)
        if not verdict.ok:
            return verdict
    return None


def _equals_any(given: bytes, secrets: Sequence[bytes]) -> bool:
    matches = False
    for secret in secrets:
        matches |= hmac.compare_digest(given, secret)
    return matches
