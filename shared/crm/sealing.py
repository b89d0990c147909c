"""Tokens at rest: AES-256-GCM under the key of one side, which can be changed in two steps."""

from __future__ import annotations

import base64
import os
import secrets
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import ConfigurationError

_NONCE_BYTES = 12
_KEY_BYTES = 32
ANNOUNCED = "+"


class Sealer:
    """``keys`` are 32 bytes in hexadecimal each, between spaces: the first seals, all open.

    One with a plus sign is announced: it opens already what others may seal with it before long.
    Raises `ConfigurationError` for others.
    """

    def __init__(self, keys: str) -> None:
        try:
            self._ciphers = [AESGCM(_key(word)) for word in keys.split()]
        except ValueError as error:
            raise ConfigurationError("the key of the CRM grants is not 64 hex digits") from error
        if not self._ciphers:
            raise ConfigurationError("the key of the CRM grants is empty")

    def sealed(self, text: str, place: str) -> str:
        """``place`` is bound to it: nobody can move it to another row or column."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(
            nonce + self._ciphers[0].encrypt(nonce, text.encode(), place.encode())
        ).decode()

    def opened(self, sealed: str, place: str) -> str:
        """Raises `ConfigurationError` for what another key, or for another place, has sealed."""
        with suppress(ValueError):
            data = base64.b64decode(sealed, validate=True)
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            for cipher in self._ciphers:
                with suppress(InvalidTag):
                    return cipher.decrypt(nonce, rest, place.encode()).decode()
        raise ConfigurationError(
            "the key of the CRM grants does not open them: restore it, or authorise again"
        )


def next_keys(keys: str) -> str:
    """One step of changing the key: first another is announced, then it seals.

    Between the steps every process has to be given the first step's keys: none can open what it
    has no key for.
    """
    words = keys.split()
    announced = [word[1:] for word in words if word.startswith(ANNOUNCED)]
    if announced:
        return " ".join((announced[0], words[0]))
    return f"{words[0]} {ANNOUNCED}{secrets.token_hex(_KEY_BYTES)}"


def _key(text: str) -> bytes:
    key = bytes.fromhex(text.removeprefix(ANNOUNCED))
    if len(key) != _KEY_BYTES:
        raise ValueError(len(key))
    return key
