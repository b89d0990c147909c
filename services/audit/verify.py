"""Checks the folder of an exported log; imports nothing of ours, so no mistake hides in both.

entries.jsonl      the entries in order: {"seq" from 0, "at", "topic", "actor", "subject", "chain",
                   "message_id", "cause", "commitment"}; beside these, and no part of the entry:
                   "opened": {"salt": 64 hex digits, "body": {...}}, null once erased, or left out;
                   "leaf": hex, the hash the log keeps: no proof, it helps to name a changed entry
checkpoints.jsonl  {"note": a C2SP signed note, "at": time of signing}, in the order of signing
log.vkey           the log's verifier keys, one a line; --vkey, from elsewhere, is the safe way
                   to say which of them is trusted: one that has sealed something is enough, since
                   an entry "key.changed" holds a note by which the old key and the new one agree
    commitment = hex SHA-256(salt || JCS(body))         leaf = SHA-256(0x00 || JCS(entry))
    root as in RFC 6962 / RFC 9162                      node = SHA-256(0x01 || left || right)
    JCS = RFC 8785 over strings, whole numbers below 2**53, booleans, null, lists and maps
A single file is a proof, one JSON object: {"entry", "proof": [hex], "checkpoint": note} that the
entry is in the log, or {"old": note, "new": note, "proof": [hex]} that it only grew in between.
Exit code 0: whole; 1: tampered with, the first bad entry is named; 2: nothing can be judged.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, RawTextHelpFormatter
from base64 import b64decode
from collections import Counter
from contextlib import suppress
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
Seal = tuple[int, bytes]  # Size and root.


def _map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    units = None if "".join(members).isascii() else lambda name: name.encode("utf-16-be")
    return {name: members[name] for name in sorted(members, key=units)}


def _whole(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) >= 2**53:
        raise ValueError("a number is too large")
    return int(digits)


# Maps are put in the order of JCS while they are read, so writing them plainly is JCS.
read = json.JSONDecoder(
    object_pairs_hook=_map, parse_int=_whole, parse_float=_whole, parse_constant=_whole
).decode
write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def leaf_of(text: str) -> bytes:
    return sha256(b"\x00" + text.encode()).digest()


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


def _climb(at: int, size: int, path: list[bytes], known: bytes | None, leaf: bool) -> list[bytes]:
    """The root of a part of the tree, up to the entry and up to the end; ``known`` is below it."""
    if size == 1 or (at + 1 == size and not leaf):
        (start,) = path if known is None else (known, *path)
        return [start, start]
    *lower, other = path
    half = 1 << (size - 1).bit_length() - 1
    if at < half:
        before, after = _climb(at, half, lower, known, leaf)
        return [before, node(after, other)]
    known = known if leaf else None  # To the right of it, the old root is no part of the new one.
    return [node(other, part) for part in _climb(at - half, size - half, lower, known, leaf)]


def included(leaf: bytes, at: int, seal: Seal, path: list[bytes]) -> bool:
    """Whether the leaf is proved to stand there. A malformed path may raise one of `MALFORMED`."""
    size, root = seal
    sound = 0 <= at < size < 2**63 and all(len(part) == 32 for part in (leaf, root, *path))
    return sound and _climb(at, size, path, leaf, leaf=True)[1] == root


def extends(old: Seal, new: Seal, path: list[bytes]) -> bool:
    """Whether the log is proved to only have grown. As `included` for malformed paths."""
    (size, root), (new_size, new_root) = old, new
    sound = size <= new_size < 2**63 and all(len(part) == 32 for part in (root, new_root, *path))
    if size <= 0 or not sound:
        return sound and size == 0 and not path and root == EMPTY and (new_size > 0 or new == old)
    return _climb(size - 1, new_size, path, root, leaf=False) == [root, new_root]


def read_keys(lines: list[str]) -> Keys:
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


def open_note(note: str, keys: Keys) -> tuple[str, set[bytes]]:
    """Text and signers of a signed note. One of `MALFORMED` if it is none, or no key signed it."""
    text, _, tail = note.rpartition("\n\n")
    if not re.fullmatch(r"[^\x00-\x09\x0b-\x1f]+\n\n(— [^\s+\x00-\x1f]+ [\w+/=]+\n)+", note):
        raise ValueError("it is not a signed note")
    signers = set()
    for line in tail[:-1].split("\n"):
        _, name, encoded = line.split(" ")
        signature = b64decode(encoded, validate=True)
        if key := keys.get((name, signature[:4])):
            try:
                key.verify(signature[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise ValueError(f"the signature of {name} is wrong") from None
            signers.add(key.public_bytes_raw())
    if not signers:
        raise ValueError("no trusted key of this log signed it")
    return f"{text}\n", signers


def read_change(note: str) -> list[bytes]:
    """The old key and the new one, which both signed it, or `MALFORMED`."""
    origin, what, *vkeys = note.partition("\n\n")[0].split("\n")
    keys = read_keys(vkeys)
    changed = [key.public_bytes_raw() for (name, _), key in keys.items() if name == origin]
    if what != "key change" or len(changed) != 2 or set(changed) != open_note(note, keys)[1]:
        raise ValueError("it changes no key")
    return changed


def read_checkpoint(note: str, keys: Keys) -> tuple[Seal, set[bytes]]:
    """Size and root of a checkpoint, and which keys of the log it names signed, or `MALFORMED`."""
    origin = note.partition("\n")[0]
    text, signers = open_note(note, {name: key for name, key in keys.items() if name[0] == origin})
    _, size, encoded, *more = text.split("\n")
    root = b64decode(encoded, validate=True)
    if len(root) != 32 or not re.fullmatch(r"0|[1-9][0-9]{0,17}", size) or "" in more[:-1]:
        raise ValueError("it is not a checkpoint")
    return (int(size), root), signers


@dataclass
class Log:
    """What is known of a log that is fed line by line: first checkpoints, then entries."""

    keys: Keys
    pinned: set[bytes]  # keys that are trusted: one of them must have sealed something
    seals: dict[int, list[tuple[str, bytes, set[bytes]]]] = field(default_factory=dict)  # by size
    ends: Counter[str] = field(default_factory=Counter)  # the largest size sealed, by whose
    agreed: Counter[str] = field(default_factory=Counter)  # the largest size found right, by whose
    bad: list[tuple[int, int, str]] = field(default_factory=list)  # last and first entry, what
    peaks: list[tuple[int, bytes]] = field(default_factory=list)
    intents: dict[str, int] = field(default_factory=dict)
    bodies: Counter[str] = field(default_factory=Counter)
    turn: bytes | None = None  # the key that seals at this point
    trusted: bool = False
    count: int = 0
    sealed: int = 0  # the size of the log's latest checkpoint on the way
    straight: bool = True  # until an entry is found changed or out of its place

    def seal(self, line: str, whose: str) -> None:
        note, end = "", self.ends[whose]
        try:
            note = read(line)["note"]
            (size, root), signers = read_checkpoint(note, self.keys)
            if size < end:
                raise ValueError(f"it goes back to {size} entries after {end}")
            self.seals.setdefault(size, []).append((whose, root, signers))
            self.ends[whose] = size
        except MALFORMED as error:
            claim = re.match(r"[^\n]+\n([0-9]{1,17})\n", str(note))
            if whose == "witness" and not claim:
                raise ValueError("the witness file holds no checkpoint") from error
            first, after = sorted((end, int(claim[1]) if claim else end))
            self.bad.append((max(first, after - 1), first, f"a {whose} checkpoint is bad: {error}"))

    def take(self, line: bytes) -> None:
        seq, self.count = self.count, self.count + 1
        try:
            entry = read(line.decode())
            if type(entry["seq"]) is not int or not entry.keys() >= FIELDS:
                raise ValueError("it is no entry")
            opened, kept = entry.pop("opened", ""), entry.pop("leaf", None)
            grow(self.peaks, leaf := leaf_of(write(entry)))
            salt = bytes.fromhex(opened["salt"]) if opened else b""
            body = write(opened["body"]).encode() if opened else b""
        except MALFORMED as error:
            self.bad.append((seq, seq, f"it cannot be read: {error}"))
            self.straight = False
            return
        if self.straight and (entry["seq"] != seq or kept not in (None, leaf.hex())):
            moved = f"in its place stands seq {entry['seq']}"
            what = moved if entry["seq"] != seq else "it was changed: the log keeps another hash"
            self.bad.append((seq, seq - (entry["seq"] == seq - 1), what))
            self.straight = False
        self.bodies["open" if opened else "erased" if opened is None else "not exported"] += 1
        if opened and (len(salt) != 32 or sha256(salt + body).hexdigest() != entry["commitment"]):
            self.bad.append((seq, seq, "its body or salt is not what it is committed to"))
        if opened and entry["topic"] == "key.changed":
            with suppress(*MALFORMED):  # What the key of this turn did not sign changes nothing.
                old, new = read_change(opened["body"]["note"])
                self.turn = new if self.turn == old else self.turn
        change = f"{entry['chain']} {entry['subject']}"
        if entry["topic"] == "change.intended":
            self.intents.setdefault(change, seq)
        elif entry["topic"] == "change.applied" and self.intents.get(change, seq) >= self.sealed:
            self.bad.append((seq, seq, "a change was written without a sealed intent before it"))

    def compare(self) -> None:
        here = root_of(self.peaks)
        seals = self.seals.get(self.count, ())
        for whose, root, by in sorted(seals, key=lambda seal: (seal[1] == here, *seal[:2])):
            if whose == "log":
                self.sealed, self.turn = self.count, self.turn or min(by & self.pinned or by)
            in_turn = self.turn is None or self.turn in by
            if self.straight and root == here and in_turn:
                self.agreed[whose] = self.count
                self.trusted |= self.turn in self.pinned
            elif self.straight:
                what = f"not what the {whose} sealed; own seals fit to {self.agreed['log']}"
                what = what if in_turn else f"the {whose} is sealed by a key that it never got"
                self.bad.append((max(self.count - 1, 0), self.agreed[whose], what))
                self.straight = False

    def verdict(self) -> tuple[int, str]:
        for whose, end in self.ends.items():
            if min(self.count, self.ends["log"]) < end:
                last = min(self.count, end - 1)
                first = self.agreed["log"] if self.straight else last
                self.bad.append((last, first, f"missing: the {whose} sealed {end} entries"))
        if self.agreed["log"] and not self.trusted:
            self.bad.append((self.count - 1, 0, "no key that is trusted has sealed anything"))
        if self.bad:
            last, *_ = min(self.bad)
            start = min(first for _, first, _ in self.bad if first <= last)
            told = [(last, start, "this was found, in order:"), *sorted(self.bad)[:20]]
            lines = [f"seq {b}{f' to {a}' if a > b else ''}: {what}" for a, b, what in told]
            return 1, "TAMPERED. First bad entry: " + "\n".join(lines)
        bodies = ", ".join(f"{number} {state}" for state, number in self.bodies.items()) or "none"
        witness = self.ends.get("witness", "none, so a roll-back of the whole log would not show")
        sealed = f"sealed: {self.ends['log']}; not yet sealed: {self.count - self.ends['log']}"
        return 0, f"OK. Entries: {self.count}; {sealed}; bodies: {bodies}; witness: {witness}."


def judge(paths: list[Path], witness: Path | None, keys: Keys, pinned: Keys) -> tuple[int, str]:
    log = Log(keys | pinned, {key.public_bytes_raw() for key in pinned.values()})
    for whose, path in ("witness", witness), ("log", paths[1]):
        text = path.read_text("utf-8") if path else ""
        for record in text.splitlines() if text[:1] in ("", "{") else [write({"note": text})]:
            log.seal(record, whose)
        if path and not log.ends and not log.bad:
            raise ValueError(f"{path} holds no checkpoint")
    log.compare()
    with paths[0].open("rb") as lines:
        for line in lines:
            log.take(line)
            if log.count in log.seals:
                log.compare()
            if log.count % 100_000 == 0:
                sys.stderr.write(f"{log.count} entries read\n")
    return log.verdict()


def judge_proof(claim: dict[str, Any], keys: Keys) -> tuple[int, str]:
    path = [bytes.fromhex(part) for part in claim["proof"]]
    if "old" in claim:
        old, new = (read_checkpoint(claim[note], keys)[0] for note in ("old", "new"))
        proved = extends(old, new, path)
    else:
        leaf, (seal, _) = leaf_of(write(claim["entry"])), read_checkpoint(claim["checkpoint"], keys)
        proved = included(leaf, claim["entry"]["seq"], seal, path)
    return (0, "OK. It is proved.") if proved else (1, "TAMPERED. The proof is wrong.")


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("export", nargs="+", type=Path, help="a folder, its two files, or a proof")
    parser.add_argument("--vkey", action="append", help="the log's verifier key, from a safe place")
    parser.add_argument("--witness", type=Path, help="checkpoints kept elsewhere: a note, or lines")
    options = parser.parse_args(argv)
    paths = options.export
    if paths[0].is_dir():
        paths = [paths[0] / "entries.jsonl", paths[0] / "checkpoints.jsonl"]
    try:
        beside = paths[0].parent / "log.vkey"
        known = beside.read_text("utf-8").splitlines() if beside.exists() else []
        keys, pinned = read_keys(known), read_keys(options.vkey or known)
        if not pinned:
            raise ValueError("no verifier key: give one with --vkey")
        if len(paths) == 1:
            code, verdict = judge_proof(read(paths[0].read_text("utf-8")), pinned)
        else:
            code, verdict = judge(paths, options.witness, keys, pinned)
    except (OSError, *MALFORMED) as error:
        code, verdict = 2, f"Nothing can be judged: {error}"
    sys.stdout.write(f"{verdict}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
