"""What an admin may know of the keys of an installation: which there are, what each does, since
when. A fingerprint of a secret is a keyed hash: it tells keys apart and nothing else.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.audit.vault import LEDGER_KEY
from services.ingest.sealing import KEY_FILE
from shared.key_ring import read_ring
from shared.keys import key_id, load_private, load_publics

_FINGERPRINT = b"countersign fingerprint of a key"


@dataclass(frozen=True, kw_only=True)
class KeptKey:
    """``since`` is the day on which its file was written; empty for an older key in the file."""

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
