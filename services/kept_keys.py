"""The keys in a folder: what an admin may know of each, and how it is made anew."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.audit.checkpoints import announce_checkpoints, rotate_checkpoints
from services.audit.vault import LEDGER_KEY
from services.ingest.sealing import KEY_FILE
from shared.key_ring import read_ring, renew_ring
from shared.keys import announce_key, key_id, load_private, load_publics, rotate_key

_FINGERPRINT = b"countersign fingerprint of a key"

# The folder is whole after each: public halves first, and what was there goes on being of use.
RENEW: Mapping[str, Callable[[Path], object]] = {
    "decisions": lambda folder: rotate_key(folder, "decisions"),
    "checkpoints": rotate_checkpoints,
    "ledger": lambda folder: renew_ring(folder / LEDGER_KEY),
    "endpoints": lambda folder: renew_ring(folder / KEY_FILE),
}
ANNOUNCE: Mapping[str, Callable[[Path], object]] = {
    "decisions": lambda folder: announce_key(folder, "decisions"),
    "checkpoints": announce_checkpoints,
}


@dataclass(frozen=True, kw_only=True)
class KeptKey:
    """``since`` is the day on which its file was written; empty for an older key in the file.

    ``fingerprint`` of a secret is a keyed hash: it tells keys apart and nothing else.
    """

    name: str
    fingerprint: str
    does: str
    since: str = ""


def kept_keys(folder: Path) -> Iterator[KeptKey]:
    """Every key in the folder, the newest of a name first. Raises `ConfigurationError`."""
    for name in ("decisions", "checkpoints"):
        private = folder / f"{name}.ed25519"
        signs = key_id(load_private(private).public_key())
        for id_ in load_publics(folder, name):
            does = "signs" if id_ == signs else "is checked with"
            since = _day(private) if id_ == signs else ""
            yield KeptKey(name=name, fingerprint=id_, does=does, since=since)
    for name, file in (("ledger", LEDGER_KEY), ("endpoints", KEY_FILE)):
        if (folder / file).exists():
            for place, key in enumerate(read_ring(folder / file)):
                does, since = ("opens", "") if place else ("closes and opens", _day(folder / file))
                yield KeptKey(name=name, fingerprint=_of(key), does=does, since=since)
    for path in sorted((*folder.glob("*.token"), *folder.glob("crm-*-grants.key"))):
        does = "is shown" if path.suffix == ".token" else "closes and opens"
        yield KeptKey(
            name=path.stem, fingerprint=_of(path.read_bytes()), does=does, since=_day(path)
        )


def _of(secret: bytes) -> str:
    return hmac.digest(secret, _FINGERPRINT, "sha256").hex()[:16]


def _day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
