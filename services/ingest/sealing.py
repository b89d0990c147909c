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
from shared.keys import write_secret

KEY_FILE = "endpoints.key"
_SIZE, _NONCE = 32, 12


def make_sealing_key(folder: Path) -> None:
    """Write ``endpoints.key`` (mode 0600) unless it is there."""
    with suppress(FileExistsError):
        write_secret(folder / KEY_FILE, os.urandom(_SIZE))


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
        try:
            key = (folder / KEY_FILE).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"no readable {KEY_FILE}: restore it from backup") from error
        if len(key) != _SIZE:
            raise ConfigurationError(f"{KEY_FILE} must hold {_SIZE} bytes: restore it from backup")
        self._cipher = AESGCM(hmac.digest(key, b"countersign endpoints seal", "sha256"))
        self._marking = hmac.digest(key, b"countersign endpoints mark", "sha256")

    def close(self, secret: str, place: str) -> str:
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, secret.encode(), place.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: str) -> str:
        """Raises `ConfigurationError` for another key's seal, or another endpoint's."""
        try:
            data = base64.urlsafe_b64decode(sealed)
            return self._cipher.decrypt(data[:_NONCE], data[_NONCE:], place.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError) as error:
            raise ConfigurationError(
                f"a sealed secret of {place} does not open: restore {KEY_FILE} from backup, or "
                "remove the endpoint from the file and add it again"
            ) from error

    def mark(self, secret: str) -> str:
        """Eight hex digits that tell secrets apart, and tell nothing about them without the key."""
        return hmac.digest(self._marking, secret.encode(), "sha256").hex()[:8]
