"""The secrets of endpoints at rest: sealed under one key that lies apart from their file."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import tomllib
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import ConfigurationError
from shared.key_ring import KEY_SIZE, read_ring
from shared.keys import write_secret

KEY_FILE = "endpoints.key"
_NONCE = 12


def make_sealing_key(folder: Path) -> None:
    """Write ``endpoints.key`` (mode 0600) unless it is there."""
    with suppress(FileExistsError):
        write_secret(folder / KEY_FILE, os.urandom(KEY_SIZE))


def holds_sealed(path: Path) -> bool:
    """Whether ``endpoints.toml`` holds a sealed secret; one that cannot be read may hold some."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("endpoint", [])
        return any(row.get("sealed") for row in rows)
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError, TypeError):
        return True


class Seal:
    """Closes and opens secrets. One that is moved to another endpoint does not open."""

    def __init__(self, folder: Path) -> None:
        """Raises `ConfigurationError` where ``endpoints.key`` in ``folder`` cannot be read."""
        keys = read_ring(folder / KEY_FILE)
        self._ciphers = [
            AESGCM(hmac.digest(key, b"countersign endpoints seal", "sha256")) for key in keys
        ]
        self._marking = hmac.digest(keys[0], b"countersign endpoints mark", "sha256")

    def close(self, secret: str, place: str) -> str:
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[0].encrypt(nonce, secret.encode(), place.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: str) -> tuple[str, bool]:
        """The secret, and whether the newest key has sealed it.

        Raises `ConfigurationError` for another key's seal, or another endpoint's.
        """
        with suppress(binascii.Error, ValueError):
            data = base64.urlsafe_b64decode(sealed)
            for cipher in self._ciphers:
                with suppress(InvalidTag):
                    text = cipher.decrypt(data[:_NONCE], data[_NONCE:], place.encode()).decode()
                    return text, cipher is self._ciphers[0]
        raise ConfigurationError(
            f"a sealed secret of {place} does not open: restore {KEY_FILE} from backup, or "
            "remove the endpoint from the file and add it again"
        )

    def mark(self, secret: str) -> str:
        """Eight hex digits that tell secrets apart, and tell nothing about them without the key."""
        return hmac.digest(self._marking, secret.encode(), "sha256").hex()[:8]
