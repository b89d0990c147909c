"""Public keys as senders hand them out: each reader turns a secret's text into a check."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from services.ingest.signed_text import decoded

# (signature, message) → whether the key signed it.
Check = Callable[[bytes, bytes], bool]
ReadKey = Callable[[str], Check | None]

_ARMOUR = "-----"


def ed25519_key(prefix: str) -> ReadKey:
    """``prefix`` and the base64 of the 32 bytes of an Ed25519 public key."""

    @functools.lru_cache(maxsize=256)
    def read(secret: str) -> Check | None:
        # Imported here: a fifth of the start-up time, for the few senders that use public keys.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        raw = decoded(secret.removeprefix(prefix), "base64")
        if raw is None or len(raw) != 32:
            return None
        try:
            return _check(Ed25519PublicKey.from_public_bytes(raw).verify)
        except ValueError:
            return None

    return read


@functools.lru_cache(maxsize=256)
def ecdsa_p256_key(secret: str) -> Check | None:
    """A P-256 public key as base64 of its SPKI, with or without PEM armour; for SHA-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    lines = [line.strip() for line in secret.splitlines() if not line.startswith(_ARMOUR)]
    raw = decoded("".join(lines), "base64")
    if not raw:
        return None
    try:
        key = load_der_public_key(raw)
    except Exception:  # noqa: BLE001 - the library raises four unrelated kinds for a wrong key.
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return None
    return _check(lambda signature, message: key.verify(signature, message, ec.ECDSA(SHA256())))


def _check(verify: Callable[[bytes, bytes], Any]) -> Check:
    from cryptography.exceptions import InvalidSignature

    def matches(signature: bytes, message: bytes) -> bool:
        try:
            verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return matches
