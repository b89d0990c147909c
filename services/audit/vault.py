"""What keeps personal data erasable: a key per chain under one master key, and keyed hashes."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import StoreUnavailable
from shared.key_ring import Ring, open_ring

LEDGER_KEY = "ledger.key"
SALT_SIZE = 32
_NONCE = 12


@dataclass(frozen=True, kw_only=True)
class Vault:
    """Everything done with ``ledger.key``, whose keys never leave the process.

    ``masters`` gives them, the newest first: it wraps the key of each chain. Persons and searches
    are hashed with the first one that ever was, since what is hashed cannot be hashed anew.
    """

    masters: Callable[[], Ring] = field(repr=False)

    def wrap(self, chain: str, key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + _wrapping(self.masters()[0]).encrypt(nonce, key, chain.encode())

    def unwrap(self, chain: str, wrapped: bytes) -> AESGCM:
        """The cipher of a chain. Raises `StoreUnavailable` for another master key's wrapping."""
        return AESGCM(self._opened(chain, wrapped)[0])

    def rewrapped(self, chain: str, wrapped: bytes) -> bytes | None:
        """Wrapped with the newest master key; ``None`` where it is already. Raises as `unwrap`."""
        key, is_newest = self._opened(chain, wrapped)
        return None if is_newest else self.wrap(chain, key)

    def _opened(self, chain: str, wrapped: bytes) -> tuple[bytes, bool]:
        masters = self.masters()
        for master in masters:
            with suppress(InvalidTag):
                key = _wrapping(master).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], chain.encode())
                return key, master == masters[0]
        raise StoreUnavailable("ledger.key does not belong to this ledger")

    def persons(self, contact_keys: Iterable[str]) -> tuple[bytes, ...]:
        """The hashes under which contact keys (``e=…``, ``t=…``) are kept."""
        key = self._first(b"person")
        return tuple(hmac.digest(key, one.encode(), "sha256")[:16] for one in contact_keys)

    def query(self, text: str) -> str:
        """The hash of a search, in hex: equal searches are seen to be equal, and no more."""
        return hmac.digest(self._first(b"query"), text.encode(errors="replace"), "sha256").hex()

    def _first(self, purpose: bytes) -> bytes:
        return _derived(self.masters()[-1], purpose)


@lru_cache(maxsize=64)
def _wrapping(master: bytes) -> AESGCM:
    return AESGCM(_derived(master, b"wrap"))


@lru_cache(maxsize=64)
def _derived(master: bytes, purpose: bytes) -> bytes:
    return hmac.digest(master, b"countersign ledger " + purpose, "sha256")


def load_vault(folder: Path) -> Vault:
    """From ``ledger.key``; a new key in it counts at once. Raises `ConfigurationError`."""
    return Vault(masters=open_ring(folder / LEDGER_KEY))


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
