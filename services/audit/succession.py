"""Which key seals the log after which: a change is a note that the old key and the new one sign.

It lies beside the keys, and the first seal of the new key is preceded by an entry that holds it.
So a key that was merely put there seals nothing: see deploy/decisions/0038.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.notes import sign_note, vkey_of
from shared.errors import BadPayload, ConfigurationError, Rejected, StoreUnavailable
from shared.keys import replace_file
from shared.proof import VerifierKey, open_note, parse_vkey

CHANGES = "checkpoints.changes"
KIND = "key change"


@dataclass(frozen=True, kw_only=True)
class KeyChange:
    """``note`` is what both keys have signed."""

    old: VerifierKey
    new: VerifierKey
    note: str


def sign_change(name: str, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> KeyChange:
    """From here on ``new`` seals the log ``name``. The text cannot be taken for a checkpoint."""
    before, after = vkey_of(name, old), vkey_of(name, new)
    text = f"{name}\n{KIND}\n{before.text()}\n{after.text()}\n"
    return KeyChange(old=before, new=after, note=sign_note(text, name, old, new))


def read_change(note: str) -> KeyChange:
    """Raises `BadPayload` for what is none, `BadSignature` where one of the two did not sign."""
    lines = note.partition("\n\n")[0].split("\n")
    if len(lines) != 4 or lines[1] != KIND:
        raise BadPayload("not a change of the log's key")
    old, new = (parse_vkey(line) for line in lines[2:])
    if {old.name, new.name} != {lines[0]}:
        raise BadPayload("a change between two logs")
    for vkey in (old, new):
        open_note(note, [vkey])
    return KeyChange(old=old, new=new, note=note)


def load_changes(folder: Path) -> tuple[KeyChange, ...]:
    """In the order they were made; no file is none. Raises `ConfigurationError`."""
    try:
        lines = (folder / CHANGES).read_text(encoding="utf-8").splitlines()
        return tuple(read_change(json.loads(line)["note"]) for line in lines)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError, Rejected) as error:
        raise ConfigurationError(f"{CHANGES} is damaged: restore it from backup") from error


def keep_change(folder: Path, change: KeyChange) -> None:
    """Add it to the file, which is replaced as a whole."""
    kept = [*load_changes(folder), change]
    lines = "".join(json.dumps({"note": one.note}, ensure_ascii=False) + "\n" for one in kept)
    replace_file(folder / CHANGES, lines.encode())


def way(
    changes: Sequence[KeyChange], before: frozenset[bytes], new: VerifierKey
) -> list[KeyChange]:
    """The changes that lead from a key with one of the ids ``before`` to ``new``, in order.

    Raises `StoreUnavailable` where none do: whoever has that key may not seal this log.
    """
    by_new = {change.new: change for change in changes}
    found = list[KeyChange]()
    while new.key_id not in before:
        change = by_new.pop(new, None)
        if change is None:
            raise StoreUnavailable(
                "the log was sealed with another key, and nothing that it has signed leads to the "
                "one that lies here: put the keys of your copy back"
            )
        found.append(change)
        new = change.old
    return found[::-1]
