"""Checks an exported audit log on its own: one file, standard library and `cryptography` only.

It shares no code with the program that wrote the log: no mistake can hide in both. An export is
a folder with three files, UTF-8, one record a line:

entries.jsonl      the entries in order, {"seq", "at", "topic", "actor", "subject", "chain",
                   "message_id", "cause", "commitment"}, and beside these, not part of the entry:
                   "opened": {"salt": 64 hex digits, "body": {...}}; null once erased; may be left out
                   "leaf": the leaf hash that the log keeps, in hex; may be left out. It proves
                   nothing, but it shows which entry was changed and not only between which seals
checkpoints.jsonl  {"note": C2SP signed note, "at": time of signing}, in the order of signing
log.vkey           the log's verifier keys, one a line (--vkey, from elsewhere, is the safe way)

    commitment = hex SHA-256(salt || JCS(body))         leaf = SHA-256(0x00 || JCS(entry))
    root as in RFC 6962 / RFC 9162                      node = SHA-256(0x01 || left || right)
    JCS = RFC 8785 over strings, whole numbers below 2**53, booleans, null, lists and maps

Exit code 0: whole; 1: tampered with, and the first bad entry is named; 2: nothing can be judged.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = set("seq at topic actor subject chain message_id cause commitment".split())  # noqa: SIM905
EMPTY = sha256(b"").digest()
MALFORMED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
Keys = dict[tuple[str, bytes], Ed25519PublicKey]


def _map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(sorted(members.items(), key=lambda member: member[0].encode("utf-16-be")))


def _whole(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) >= 2**53:
        raise ValueError("a number is too large")
    return int(digits)


# Maps are put in the order of JCS while they are read, so writing them plainly is JCS.
read = json.JSONDecoder(
    object_pairs_hook=_map, parse_int=_whole, parse_float=_whole, parse_constant=_whole
).decode
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def jcs(value: Any) -> bytes:
    """The canonical bytes of a value that `read` gave."""
    return _write(value).encode()


def leaf_of(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def grow(peaks: list[tuple[int, bytes]], leaf: bytes) -> None:
    """Add a leaf to the full subtrees, (height, hash), tallest first."""
    height = 0
    while peaks and peaks[-1][0] == height:
        leaf, height = node(peaks.pop()[1], leaf), height + 1
    peaks.append((height, leaf))


def root_of(peaks: list[tuple[int, bytes]]) -> bytes:
    root = peaks[-1][1] if peaks else EMPTY
    for _, left in reversed(peaks[:-1]):
        root = node(left, root)
    return root


def _above(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    if size == 1 and not path:
        return leaf
    *lower, sibling = path
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return node(_above(leaf, index, half, lower), sibling)
    return node(sibling, _above(leaf, index - half, size - half, lower))


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path proves that the leaf stands at the index. Bad input proves nothing."""
    try:
        sound = 0 <= index < size < 2**63 and all(len(h) == 32 for h in (leaf, root, *path))
        return sound and _above(leaf, index, size, path) == root
    except MALFORMED:
        return False


def _both(old: int, new: int, path: Sequence[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    """Old and new root of a part; ``known`` is the old one as long as the part is leftmost."""
    if old == new:
        (same,) = path if known is None else (known, *path)
        return same, same
    *lower, other = path
    half = 1 << (new - 1).bit_length() - 1
    if old <= half:
        before, after = _both(old, half, lower, known)
        return before, node(after, other)
    before, after = _both(old - half, new - half, lower, None)
    return node(other, before), node(other, after)


def extends(old: int, new: int, was: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the tree only grew since its root ``was`` another."""
    try:
        sound = 0 <= old <= new < 2**63 and all(len(h) == 32 for h in (was, root, *path))
        if sound and old == 0:
            return not path and was == EMPTY and (new > 0) == (root != EMPTY)
        return sound and _both(old, new, path, was) == (was, root)
    except MALFORMED:
        return False


def read_keys(lines: Sequence[str]) -> Keys:
    """Verifier keys by name and key id. Only algorithm 1, Ed25519, is known."""
    keys: Keys = {}
    for line in lines:
        name, key_id, encoded = (*line.split("+", 2), "", "")[:3]
        data = b64decode(encoded, validate=True)
        named = sha256(name.encode() + b"\n" + data).digest()[:4]
        if not re.fullmatch(r"\S+", name) or named.hex() != key_id or data[:1] != b"\x01":
            raise ValueError("a verifier key is malformed")
        keys[name, named] = Ed25519PublicKey.from_public_bytes(data[1:])
    return keys


def open_note(note: str, keys: Keys) -> str:
    """The text of a signed note. One of `MALFORMED` if it is none, or none of the keys signed."""
    text, blank, tail = note.rpartition("\n\n")
    if not blank or tail[-1:] != "\n" or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise ValueError("it is not a signed note")
    trusted = False
    for line in tail[:-1].split("\n"):
        parts = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        signature = b64decode(parts[2], validate=True) if parts else b""
        if not parts or len(signature) < 5:
            raise ValueError("a signature line is malformed")
        if key := keys.get((parts[1], signature[:4])):
            try:
                key.verify(signature[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise ValueError(f"the signature of {parts[1]} is wrong") from None
            trusted = True
    if not trusted:
        raise ValueError("no trusted key of this log signed it")
    return f"{text}\n"


def read_checkpoint(note: str, keys: Keys) -> tuple[int, bytes]:
    """Size and root of a checkpoint, signed by a key of the log it names, or `MALFORMED`."""
    origin = note.partition("\n")[0]
    text = open_note(note, {name: key for name, key in keys.items() if name[0] == origin})
    _, size, encoded, *more = (*text.split("\n"), "")[:-1]
    root = b64decode(encoded, validate=True)
    if len(root) != 32 or not re.fullmatch(r"0|[1-9][0-9]{0,17}", size) or "" in more[:-1]:
        raise ValueError("it is not a checkpoint")
    return int(size), root


def _commits(commitment: str, opened: Any) -> bool:
    try:
        salt = bytes.fromhex(opened["salt"])
        return len(salt) == 32 and sha256(salt + jcs(opened["body"])).hexdigest() == commitment
    except MALFORMED:
        return False


@dataclass
class Log:
    """What is known of the log, fed line by line: first checkpoints, then entries."""

    keys: Keys
    seals: dict[int, list[tuple[str, bytes]]] = field(default_factory=dict)  # by size: whose, root
    ends: Counter[str] = field(default_factory=Counter)  # the largest size sealed, by whose
    agreed: Counter[str] = field(default_factory=Counter)  # the largest size found right, by whose
    bad: list[tuple[int, int, str]] = field(default_factory=list)  # last and first entry, what
    peaks: list[tuple[int, bytes]] = field(default_factory=list)
    intents: dict[str, int] = field(default_factory=dict)
    bodies: Counter[str] = field(default_factory=Counter)
    count: int = 0
    straight: bool = True  # no entry was found out of its place or changed so far

    def seal(self, line: bytes, whose: str) -> None:
        note, end = "", self.ends[whose]
        try:
            note = read(line.decode())["note"]
            size, root = read_checkpoint(note, self.keys)
        except MALFORMED as error:
            claim = re.match(r"[^\n]+\n([0-9]{1,17})\n", str(note))
            if whose == "witness" and not claim:
                raise ValueError("the witness file holds no checkpoint") from error
            last = max(end, int(claim[1]) - 1 if claim else 0)
            self.bad.append((last, end, f"a checkpoint of the {whose} is bad: {error}"))
            return
        if size < end:
            self.bad.append((size, size, f"the {whose} went back from {end} to {size} entries"))
        self.seals.setdefault(size, []).append((whose, root))
        self.ends[whose] = max(end, size)

    def take(self, line: bytes) -> None:
        seq, self.count = self.count, self.count + 1
        try:
            entry = read(line.decode())
            opened, kept = entry.pop("opened", ""), entry.pop("leaf", None)
            leaf = leaf_of(jcs(entry))
            if not entry.keys() >= FIELDS:
                raise ValueError("fields are missing")
        except MALFORMED as error:
            self.straight = self.bad.append((seq, seq, f"it cannot be read: {error}"))
            return
        grow(self.peaks, leaf)
        wrong = type(entry["seq"]) is not int or entry["seq"] != seq
        if self.straight and (wrong or kept not in (None, leaf.hex())):
            what = f"here stands seq {entry['seq']}" if wrong else "its hash is not the one kept"
            self.straight = False
            self.bad.append((seq, seq, what))
        self.bodies["erased" if opened is None else "open" if opened else "closed"] += 1
        if opened and not _commits(entry["commitment"], opened):
            self.bad.append((seq, seq, "its body or salt is not what it is committed to"))
        about = f"{entry['chain']} {entry['subject']}"
        if entry["topic"] == "change.intended":
            self.intents.setdefault(about, seq)
        elif entry["topic"] == "change.applied" and self.intents.get(about, seq) >= self.sealed:
            self.bad.append((seq, seq, "a change was written without a sealed intent before it"))

    def compare(self) -> None:
        for whose, root in self.seals.get(self.count, ()):
            ...
