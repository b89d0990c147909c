"""A signature that stands in the body beside what it signs: a time stamp and a token, no more."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.ingest.hook import Endpoint, Hook
from services.ingest.signed_text import (
    VERIFIED,
    Reason,
    Verdict,
    as_bytes,
    judge_stamp,
    utf8_secret,
)
from shared.errors import Rejected

LONGEST_TOKEN = 200
NAMES = ("timestamp", "token", "signature")
_TOKEN = re.compile(rf"[!-~]{{1,{LONGEST_TOKEN}}}\Z")
_HEX = re.compile(r"[0-9a-fA-F]+\Z")
# The texts that came under each of the three names; an entry of ``None`` was not a text.
Given = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, kw_only=True)
class SignedFields:
    """HMAC-SHA256 in hex over ``timestamp`` and ``token``, one after the other.

    The message is not covered, so the token must be the happening's dedup key: it is then stored in
    the commit that accepts it, and no other message comes in under it. ``read`` may raise
    `Rejected`.
    """

    read: Callable[[Hook], Given]
    past: int = 300
    future: int = 60

    def __call__(self, hook: Hook, endpoint: Endpoint) -> Verdict:
        keys = [key for secret in endpoint.secrets if (key := utf8_secret(secret))]
        if not keys:
            return Verdict(Reason.NO_SECRET, "this endpoint has no usable secret")
        try:
            given = self.read(hook)
        except Rejected as error:
            return Verdict(Reason.MALFORMED, str(error))
        texts = {name: _single(given.get(name, ())) for name in NAMES}
        problem = _incomplete(given, texts) or self._stale(texts, hook)
        return problem or _judge(texts, keys)

    def _stale(self, texts: Mapping[str, str], hook: Hook) -> Verdict | None:
        verdict = judge_stamp(
            texts["timestamp"],
            hook.received_at,
            what="field timestamp",
            unit=1,
            past=self.past,
            future=self.future,
        )
        return None if verdict.ok else verdict


def _single(values: Sequence[str | None]) -> str:
    return values[0] or "" if len(values) == 1 else ""


def _incomplete(given: Given, texts: Mapping[str, str]) -> Verdict | None:
    for name in NAMES:
        values = given.get(name, ())
        if not values or list(values) == [""]:
            return Verdict(Reason.MISSING, f"field {name} is missing")
        if len(values) > 1 or values[0] is None:
            return Verdict(Reason.MALFORMED, f"field {name} is not one text")
    if not _TOKEN.match(texts["token"]):
        return Verdict(Reason.MALFORMED, "field token is not a token")
    return None


def _judge(texts: Mapping[str, str], keys: Sequence[bytes]) -> Verdict:
    """Every key is compared in constant time."""
    signed = as_bytes(texts["timestamp"] + texts["token"])
    shown = as_bytes(texts["signature"].lower())
    matches = False
    for key in keys:
        expected = hmac.digest(key, signed, "sha256").hex().encode()
        matches |= hmac.compare_digest(shown, expected)
    if matches:
        return VERIFIED
    if not _HEX.match(texts["signature"]):
        return Verdict(Reason.MALFORMED, "field signature is not hex")
    return Verdict(Reason.MISMATCH, "the signature belongs to another token or another secret")
