"""What a backup says of itself: what it holds, how far it reaches, and which keys belong to it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields
from sqlalchemy import Connection, func, select

from services.audit.checkpoints import last_checkpoint
from services.audit.ledger import edge_of
from services.audit.vault import LEDGER_KEY
from services.backup.archive import Member
from services.ingest.store import accepted
from shared.domain.schema import Instant, Many, Noun, Whole, dump, load
from shared.errors import BadPayload
from shared.key_ring import read_ring
from shared.keys import key_id, load_public, load_publics

FORMAT = 1
FINGERPRINT = b"countersign backup: which ledger key"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The last thing that the backup knows: ``last_event`` of ``accepted`` ones, and the log.

    ``root`` is hex, ``checkpoint`` the newest signed note, ``None`` where nothing was sealed yet.
    """

    accepted: int
    last_event: Mapping[str, Any] | None
    entries: int
    root: str
    checkpoint: str | None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``revisions`` are those of the schemas by service, ``tables`` rows and digest by name.

    ``messages`` waited at the broker; ``unheard`` names those whose text could not be had.
    ``stood_still`` is how long nobody could write, in milliseconds.
    """

    format: int
    made_at: datetime
    revisions: Mapping[str, str]
    tables: Mapping[str, Mapping[str, Any]]
    members: Mapping[str, Member]
    keys: Mapping[str, str]
    with_keys: bool
    reach: Reach
    messages: int
    unheard: tuple[str, ...]
    missing_files: int
    stood_still: int

    def text(self) -> bytes:
        """The bytes that end the backup."""
        return json.dumps(dump(ManifestSchema, self), indent=1).encode()

    @property
    def rows(self) -> int:
        return sum(table["rows"] for table in self.tables.values())


class MemberSchema(Noun):
    noun = Member
    size = Whole(required=True)
    sha256 = fields.String(required=True)


class ReachSchema(Noun):
    noun = Reach
    accepted = Whole(required=True)
    last_event = fields.Dict(required=True, allow_none=True)
    entries = Whole(required=True)
    root = fields.String(required=True)
    checkpoint = fields.String(required=True, allow_none=True)


class TableSchema(Schema):
    rows = Whole(required=True)
    digest = fields.String(required=True)


class ManifestSchema(Noun):
    noun = Manifest
    format = Whole(required=True)
    made_at = Instant(required=True)
    revisions = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    tables = fields.Dict(keys=fields.String(), values=fields.Nested(TableSchema), required=True)
    members = fields.Dict(keys=fields.String(), values=fields.Nested(MemberSchema), required=True)
    keys = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    with_keys = fields.Boolean(required=True, truthy={True}, falsy={False})
    reach = fields.Nested(ReachSchema, required=True)
    messages = Whole(required=True)
    unheard = Many(fields.String(), required=True)
    missing_files = Whole(required=True)
    stood_still = Whole(required=True)


def read_manifest(data: bytes) -> Manifest:
    """Raises `BadPayload` for what is none, and for one of a newer form."""
    try:
        plain = json.loads(data)
    except ValueError as error:
        raise BadPayload("the manifest of the backup is damaged") from error
    if isinstance(plain, dict) and plain.get("format") != FORMAT:
        raise BadPayload("the backup was made by a newer version: restore it with that one")
    manifest: Manifest = load(ManifestSchema, plain)
    return manifest


def reach_of(ingest: Connection, audit: Connection) -> Reach:
    """How far these two databases reach."""
    last = ingest.execute(select(accepted).order_by(accepted.c.seq.desc()).limit(1)).first()
    frontier = edge_of(audit).frontier
    sealed = last_checkpoint(audit)
    return Reach(
        accepted=ingest.scalar(select(func.count()).select_from(accepted)) or 0,
        last_event=None if last is None else event_line(last),
        entries=frontier.size,
        root=frontier.root().hex(),
        checkpoint=sealed.note if sealed else None,
    )


def event_line(row: Any) -> dict[str, str]:
    """What names an accepted event without telling what is in it."""
    names = ("id", "source", "endpoint", "type", "received_at")
    return {name: str(getattr(row, name)) for name in names}


def is_known_key(folder: Path, name: str, wanted: str) -> bool:
    """Whether the folder has this key, or its public half, also where it was rotated meanwhile.

    Raises `ConfigurationError` where the folder holds no keys.
    """
    if name == "ledger":
        return wanted in map(_fingerprint, read_ring(folder / LEDGER_KEY))
    return wanted in load_publics(folder, name)


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, FINGERPRINT, hashlib.sha256).hex()[:32]


def fingerprints(folder: Path) -> dict[str, str]:
    """What tells the three signing and sealing keys of a folder from any others.

    Raises `ConfigurationError` where one cannot be read.
    """
    return {
        "decisions": key_id(load_public(folder / "decisions.pub")),
        "checkpoints": key_id(load_public(folder / "checkpoints.pub")),
        "ledger": _fingerprint(read_ring(folder / LEDGER_KEY)[0]),
    }
