"""What keeps personal data erasable: a key per chain under one master key, and keyed hashes."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import ConfigurationError, StoreUnavailable

KEY_SIZE = 32
SALT_SIZE = 32
_NONCE = 12


@dataclass(frozen=True, kw_only=True)
class Vault:
    """Everything done with the master key. ``master`` is 32 bytes and never leaves the process."""

    master: bytes = field(repr=False)
    _wrapping: AESGCM = field(init=False, repr=False)
    _persons: bytes = field(init=False, repr=False)
    _queries: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.master) != KEY_SIZE:
            raise ConfigurationError("ledger.key must hold 32 bytes: restore it from backup")
        object.__setattr__(self, "_wrapping", AESGCM(self._derived(b"wrap")))
        object.__setattr__(self, "_persons", self._derived(b"person"))
        object.__setattr__(self, "_queries", self._derived(b"query"))

    def _derived(self, purpose: bytes) -> bytes:
        return hmac.digest(self.master, b"countersign ledger " + purpose, "sha256")

    def wrap(self, chain: str, key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._wrapping.encrypt(nonce, key, chain.encode())

    def unwrap(self, chain: str, wrapped: bytes) -> AESGCM:
        """The cipher of a chain. Raises `StoreUnavailable` for another master key's wrapping."""
        try:
            key = self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], chain.encode())
        except InvalidTag as error:
            raise StoreUnavailable("ledger.key does not belong to this ledger") from error
        return AESGCM(key)

    def person(self, contact_key: str) -> bytes:
        """The hash under which a contact key (``e=…``, ``t=…``) is kept."""
        return hmac.digest(self._persons, contact_key.encode(), "sha256")[:16]

    def query(self, text: str) -> str:
        """The hash of a search, in hex: equal searches are seen to be equal, and no more."""
        return hmac.digest(self._queries, text.encode(errors="replace"), "sha256").hex()


def load_vault(folder: Path) -> Vault:
    """From ``ledger.key``. Raises `ConfigurationError` where it cannot be read."""
    try:
        return Vault(master=(folder / "ledger.key").read_bytes())
    except OSError as error:
        raise ConfigurationError("no readable ledger.key: restore it from backup") from error


def seal(cipher: AESGCM, seq: int, salt: bytes, body: bytes, nonce: bytes) -> bytes:
    """Salt and body, bound to their place in the ledger."""
    return nonce + cipher.encrypt(nonce, salt + body, seq.to_bytes(8, "big"))


def unseal(cipher: AESGCM, seq: int, sealed: bytes) -> tuple[bytes, bytes]:
    """Salt and body. Raises `StoreUnavailable` where the sealed bytes were altered."""
    try:
        plain = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], seq.to_bytes(8, "big"))
    except InvalidTag as error:
        raise StoreUnavailable(f"the body of entry {seq} cannot be opened") from error
    return plain[:SALT_SIZE], plain[SALT_SIZE:]
