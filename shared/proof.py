"""Checking what the log proves, without I/O: tree hashes, inclusion, signed notes, checkpoints.

The log makes these things in `services/audit`; whoever relies on them checks them here. Formats:
RFC 6962 and RFC 9162 with SHA-256, c2sp.org/signed-note, c2sp.org/tlog-checkpoint. Everything that
comes from outside is parsed strictly; what does not fit is `BadPayload`, what no known key signed
is `BadSignature`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.errors import BadPayload, BadSignature

HASH_SIZE = 32

# The algorithm byte of the format; another one (ML-DSA-44 cosignatures) may follow.
ED25519 = 0x01

_MAX_NOTE = 1_000_000
_MAX_SIGNATURES = 64
_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    *, leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> bool:
    """Whether the path leads from the leaf at ``index`` to the root (RFC 9162 2.1.3.2).

    It never raises: whatever is not whole numbers and 32-byte hashes proves nothing.
    """
    if not (are_sizes(index, size) and are_hashes(leaf_hash, root, path) and index < size):
        return False
    node, at, last = leaf_hash, index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """A public key under its name: ``name+<hex key id>+base64(algorithm byte || key)``."""

    name: str
    public_key: bytes
    algorithm: int = ED25519

    @property
    def key_id(self) -> bytes:
        """Four bytes that name the key on a signature line."""
        named = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return hashlib.sha256(named).digest()[:4]

    def text(self) -> str:
        key = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def verifies(self, signature: bytes, text: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_vkey(text: str) -> VerifierKey:
    """A verifier key from its one line. Raises `BadPayload`, also for other algorithms."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    require_name(name)
    data = _base64(encoded, what="verifier key")
    if len(data) != 33 or data[0] != ED25519:
        raise BadPayload("not a verifier key for Ed25519")
    key = VerifierKey(name=name, public_key=data[1:], algorithm=data[0])
    if key.key_id.hex() != key_id:
        raise BadPayload("the key id does not belong to this verifier key")
    return key


def open_note(note: str, vkeys: Sequence[VerifierKey]) -> str:
    """The text of a note that at least one of the keys signed.

    Signatures of unknown keys are ignored. Raises `BadPayload` for what is not a note, and
    `BadSignature` where a known key's signature is wrong or no known key signed.
    """
    text, lines = _split_note(note)
    known = {(key.name, key.key_id): key for key in vkeys}
    signed = False
    for line in lines:
        name, signature = _signature(line)
        key = known.get((name, signature[:4]))
        if key is None:
            continue
        if not key.verifies(signature[4:], text.encode()):
            raise BadSignature(f"the signature of {name} is wrong")
        signed = True
    if not signed:
        raise BadSignature("no known key signed this note")
    return text


def key_ids(note: str) -> frozenset[bytes]:
    """The ids of the keys that say they signed the note; nothing is checked.

    Raises `BadPayload` for what is not a note.
    """
    return frozenset(_signature(line)[1][:4] for line in _split_note(note)[1])


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a log says of itself: its name, the number of its entries, and their 32-byte root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """A checkpoint from the text of a note; extension lines are passed over.

        Raises `BadPayload` for anything but origin, decimal size below 10**19 and base64 root.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise BadPayload("a checkpoint has three lines or more, none empty")
        origin, size, encoded = lines[:3]
        if not _SIZE.fullmatch(size):
            raise BadPayload("the size of a checkpoint is a plain decimal number")
        root = _base64(encoded, what="root")
        if len(root) != 32:
            raise BadPayload("the root of a checkpoint is 32 bytes")
        return cls(origin=origin, size=int(size), root=root)


def open_checkpoint(note: str, vkeys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note, signed by a key whose name is the checkpoint's origin.

    Raises `BadPayload` and `BadSignature` as `open_note` and `Checkpoint.parse` do.
    """
    origin = note.partition("\n")[0]
    return Checkpoint.parse(open_note(note, [key for key in vkeys if key.name == origin]))


def are_sizes(*values: int) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def are_hashes(first: bytes, second: bytes, path: Sequence[bytes]) -> bool:
    if not isinstance(path, list | tuple):
        return False
    return all(isinstance(h, bytes) and len(h) == HASH_SIZE for h in (first, second, *path))


def require_name(name: str) -> None:
    if not _NAME.fullmatch(name) or _CONTROL.search(name):
        raise BadPayload("a key name is not empty and holds no spaces and no plus sign")
    _utf8(name)


def _split_note(note: str) -> tuple[str, list[str]]:
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n") or len(note) > _MAX_NOTE:
        raise BadPayload("not a signed note")
    lines = signatures[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise BadPayload(f"more than {_MAX_SIGNATURES} signatures")
    note_text(note)
    note_text(text + "\n")
    return text + "\n", lines


def note_text(text: str) -> bytes:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise BadPayload("the text of a note ends in a newline and holds no control characters")
    return _utf8(text)


def _signature(line: str) -> tuple[str, bytes]:
    """Key name, and key id followed by the signature."""
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise BadPayload("not a signature line")
    data = _base64(match[2], what="signature")
    if len(data) < 5:
        raise BadPayload("a signature line holds a key id and a signature")
    return match[1], data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadPayload("not UTF-8") from error


def _base64(text: str, *, what: str) -> bytes:
    """Standard base64 in its one canonical spelling, so that no two texts mean one value."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPayload(f"the {what} is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise BadPayload(f"the {what} is not canonical base64")
    return data
