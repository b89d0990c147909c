"""Ed25519 keys as PEM files: made at first start, readable by their owner alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from shared.errors import ConfigurationError


def make_key(folder: Path, name: str) -> None:
    """Write ``<name>.ed25519`` (mode 0600) and ``<name>.pub`` unless they are there."""
    private = folder / f"{name}.ed25519"
    if private.exists():
        return
    key = Ed25519PrivateKey.generate()
    write_secret(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


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
    """Raises `ConfigurationError` naming the file that is missing or no Ed25519 key."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no readable key in {path.name}: restore it from backup"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{path.name} is not an Ed25519 key")
    return key


def load_publics(folder: Path, name: str) -> dict[str, Ed25519PublicKey]:
    """All public keys ``<name>*.pub`` by key id: old ones stay, so old signatures verify."""
    keys = [load_public(path) for path in sorted(folder.glob(f"{name}*.pub"))]
    return {key_id(key): key for key in keys}


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
