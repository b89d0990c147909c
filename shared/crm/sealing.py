"""Tokens at rest: AES-256-GCM under the key of one side."""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import ConfigurationError

_NONCE_BYTES = 12


class Sealer:
    """``key`` is 32 bytes in hexadecimal. Raises `ConfigurationError` for another."""

    def __init__(self, key: str) -> None:
        try:
            self._cipher = AESGCM(_key(key))
        except ValueError as error:
            raise ConfigurationError("the key of the CRM grants is not 64 hex digits") from error

    def sealed(self, text: str, place: str) -> str:
        """``place`` is bound to it: nobody can move it to another row or column."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(
            nonce + self._cipher.encrypt(nonce, text.encode(), place.encode())
        ).decode()

    def opened(self, sealed: str, place: str) -> str:
        """Raises `ConfigurationError` for what another key, or for another place, has sealed."""
        try:
            data = base64.b64decode(sealed, validate=True)
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest, place.encode()).decode()
        except (ValueError, InvalidTag) as error:
            raise ConfigurationError(
                "the key of the CRM grants does not open them: restore it, or authorise again"
            ) from error


def _key(text: str) -> bytes:
    key = bytes.fromhex(text.strip())
    if len(key) != 32:
        raise ValueError(len(key))
    return key
