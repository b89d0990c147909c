"""Ed25519 keys as PEM files: made at first start, readable by their owner alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from shared.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")
_PEM = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----", re.DOTALL)


def make_key(folder: Path, name: str) -> None:
    """Write ``<name>.ed25519`` (mode 0600) and ``<name>.pub`` unless they are there."""
    private = folder / f"{name}.ed25519"
    if private.exists():
        return
    key = Ed25519PrivateKey.generate()
    write_secret(private, _private_pem(key))
    (folder / f"{name}.pub").write_bytes(_public_pem(key.public_key()))


def rotate_key(folder: Path, name: str) -> str:
    """Replace the signing key ``name`` by the next one; returns the new key id."""
    key = next_key(folder, name)
    replace_key(folder, name, key)
    return key_id(key.public_key())


def next_key(folder: Path, name: str) -> Ed25519PrivateKey:
    """The one that was announced, or else a new one."""
    announced = folder / f"{name}.next"
    return load_private(announced) if announced.exists() else Ed25519PrivateKey.generate()


def announce_key(folder: Path, name: str) -> Ed25519PublicKey:
    """Make the next signing key, and its public half known, while the one in use signs on.

    For whoever is told of it in other ways, and later, than it begins to sign.
    """
    announced = folder / f"{name}.next"
    if not announced.exists():
        write_secret(announced, _private_pem(Ed25519PrivateKey.generate()))
    key = load_private(announced).public_key()
    current, *others = load_publics(folder, name).values()
    keep_publics(folder / f"{name}.pub", [current, key, *others])
    return key


def replace_key(folder: Path, name: str, key: Ed25519PrivateKey) -> None:
    """Put ``key`` in the place of the signing key ``name``; the old private key is gone then.

    ``<name>.pub`` holds every public key, the newest first, and the new one before anything is
    signed with it: whoever reads in between can check every signature that there is.
    """
    keep_publics(folder / f"{name}.pub", [key.public_key(), *load_publics(folder, name).values()])
    replace_file(folder / f"{name}.ed25519", _private_pem(key))
    (folder / f"{name}.next").unlink(missing_ok=True)


def keep_publics(path: Path, keys: Iterable[Ed25519PublicKey]) -> None:
    """A file of public keys, each once, replaced as a whole."""
    replace_file(path, b"".join(dict.fromkeys(_public_pem(key) for key in keys)))


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def replace_file(path: Path, data: bytes) -> None:
    """Whole and at once, readable by its owner alone."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    write_secret(new, data)
    new.rename(path)


def stamp_of(path: Path) -> tuple[int, int]:
    """Tells whether a file, or what lies in a folder, is another than before."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


class Reread(Generic[T]):
    """What ``read`` made of ``path``, made anew whenever the file or folder is another one.

    The first reading raises what ``read`` raises; a later one that fails is tried again, so it
    raises `StoreUnavailable`.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path, self._read = path, read
        self._seen, self._found = stamp_of(path), read(path)

    def __call__(self) -> T:
        seen = stamp_of(self._path)
        if seen != self._seen:
            # The stamp is older than the bytes: a change in between is seen the next time.
            try:
                self._found = self._read(self._path)
            except ConfigurationError as error:
                raise StoreUnavailable(str(error)) from error
            self._seen = seen
        return self._found


def write_secret(path: Path, data: bytes) -> None:
    """A new file only its owner can read, on disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load_private(path: Path) -> Ed25519PrivateKey:
    """Raises `ConfigurationError` naming the file that is missing or no Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no readable key in {path.name}: restore it from backup"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path.name} is not an Ed25519 key")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """The newest in the file. Raises `ConfigurationError` as `load_publics` does."""
    return _publics_in(path)[0]


def load_publics(folder: Path, name: str, suffix: str = ".pub") -> dict[str, Ed25519PublicKey]:
    """All public keys in ``<name>.pub`` by key id, the newest first: old signatures verify.

    Raises `ConfigurationError` naming the file that is missing or holds no Ed25519 keys.
    """
    return {key_id(key): key for key in _publics_in(folder / f"{name}{suffix}")}


def _publics_in(path: Path) -> list[Ed25519PublicKey]:
    try:
        found = [load_pem_public_key(block) for block in _PEM.findall(path.read_bytes())]
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no readable key in {path.name}: restore it from backup"
        ) from error
    keys = [key for key in found if isinstance(key, Ed25519PublicKey)]
    if not keys or len(keys) != len(found):
        raise ConfigurationError(f"{path.name} holds no Ed25519 keys, or others")
    return keys


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
