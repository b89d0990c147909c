"""What is signed and when: verdicts, time stamps, templates of signed bytes, secrets' forms."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from services.ingest.hook import Hook


class Reason(StrEnum):
    """The classes of refusal; ``verified`` is none."""

    VERIFIED = "verified"
    MISMATCH = "mismatch"
    MALFORMED = "malformed"
    MISSING = "missing"
    STALE = "stale"
    POLICY = "policy"
    NO_SECRET = "no-secret"  # noqa: S105 - the name of a refusal.


@dataclass(frozen=True)
class Verdict:
    """``detail`` says what is wrong without repeating anything that came in."""

    reason: Reason
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.reason is Reason.VERIFIED


VERIFIED = Verdict(Reason.VERIFIED)
SecretDecoder = Callable[[str], bytes | None]
Candidates = Callable[[str], Sequence[str]]

_DIGITS = re.compile(r"[0-9]{1,16}\Z")
_SLOT = re.compile(r"\{(method|url|body|secret|header:[a-z0-9-]+)\}")
# HubSpot, Validating requests: these twelve are decoded before signing, no others.
_ESCAPES = re.compile("%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """A time stamp header of digits only; exactly ``past`` or ``future`` seconds still pass.

    ``unit`` is how many of its units make one second: 1, or 1000 for milliseconds.
    """

    header: str
    unit: int = 1
    past: int = 300
    future: int = 60

    def judge(self, hook: Hook) -> Verdict:
        return judge_stamp(
            hook.headers.get(self.header),
            hook.received_at,
            what=f"header {self.header}",
            unit=self.unit,
            past=self.past,
            future=self.future,
        )


@dataclass(frozen=True, kw_only=True)
class Template:
    """The bytes to sign, from literals and ``{method} {url} {body} {secret} {header:<name>}``.

    With ``decodes_url`` the twelve escapes that HubSpot names are decoded in the URL, no other.
    """

    text: str
    decodes_url: bool = False

    @cached_property
    def _pieces(self) -> tuple[tuple[bool, str], ...]:
        """``(is a slot, text)``, in order."""
        pieces = _SLOT.split(self.text)
        return tuple((place % 2 == 1, piece) for place, piece in enumerate(pieces) if piece)

    @cached_property
    def headers(self) -> tuple[str, ...]:
        """The headers that are part of what is signed."""
        slots = (text for is_slot, text in self._pieces if is_slot)
        return tuple(slot.removeprefix("header:") for slot in slots if slot.startswith("header:"))

    def render(self, hook: Hook, secret: bytes) -> bytes:
        return b"".join(
            [
                self._value(text, hook, secret) if is_slot else text.encode()
                for is_slot, text in self._pieces
            ]
        )

    def _value(self, slot: str, hook: Hook, secret: bytes) -> bytes:
        if slot == "body":
            return hook.body
        if slot == "method":
            return as_bytes(hook.method)
        if slot == "secret":
            return secret
        if slot == "url":
            return as_bytes(_decode_listed(hook.url) if self.decodes_url else hook.url)
        return as_bytes(hook.headers.get(slot.removeprefix("header:"), ""))


def judge_stamp(
    stamp: str | None, received_at: datetime, *, what: str, unit: int, past: int, future: int
) -> Verdict:
    """The verdict on one time stamp, wherever it stood; ``what`` names it in words."""
    if not stamp:
        return Verdict(Reason.MISSING, f"{what} is missing")
    if not _DIGITS.match(stamp):
        return Verdict(Reason.MALFORMED, f"{what} is not a number")
    return judge_age(received_at.timestamp() - int(stamp) / unit, what, past=past, future=future)


def judge_age(age: float, what: str, *, past: int, future: int) -> Verdict:
    """``age`` in seconds; exactly ``past`` or ``future`` of them still pass."""
    if age > past:
        return Verdict(Reason.STALE, f"{what} is older than {past} s")
    if -age > future:
        return Verdict(Reason.STALE, f"{what} is in the future")
    return VERIFIED


def prefixed(prefix: str) -> Candidates:
    """A header with one signature behind a fixed prefix; none without the prefix."""
    return lambda value: [value[len(prefix) :]] if value.startswith(prefix) else []


def versioned(version: str) -> Candidates:
    """A space-separated list of ``version,signature``; other versions are passed over."""
    mark = f"{version},"
    return lambda value: [item[len(mark) :] for item in value.split(" ") if item.startswith(mark)]


@functools.lru_cache(maxsize=256)
def utf8_secret(secret: str) -> bytes | None:
    """The secret as it was typed."""
    return as_bytes(secret) or None


@functools.lru_cache(maxsize=256)
def whsec_secret(secret: str) -> bytes | None:
    """``whsec_`` and base64, padded or not, with or without its prefix; 24 to 64 bytes."""
    key = decoded(secret.removeprefix("whsec_"), "base64")
    return key if key and 16 <= len(key) <= 128 else None


def _decode_listed(url: str) -> str:
    return _ESCAPES.sub(lambda match: chr(int(match.group()[1:], 16)), url)


def as_bytes(text: str) -> bytes:
    """UTF-8, and never an error: what cannot be encoded cannot match either."""
    return text.encode("utf-8", "backslashreplace")


def decoded(text: str, encoding: str) -> bytes | None:
    """The bytes of strict hex or base64 (padding may be left out), else ``None``.

    Base64 has unused bits in its last character: another spelling of the same bytes is refused.
    """
    try:
        if encoding == "hex":
            return binascii.unhexlify(text)
        padded = text + "=" * (-len(text) % 4)
        if encoding == "base64url":
            padded = padded.replace("-", "+").replace("_", "/")
        raw = base64.b64decode(padded, validate=True)
        return raw if base64.b64encode(raw).decode() == padded else None
    except (ValueError, UnicodeError):
        return None
