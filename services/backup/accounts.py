"""CRM accounts and grants: a backup keeps the outline of an account, and no secret and no grant.

A grant of a backup would be used a second time, which ends it; so a person authorises again. Moved
to servers, where the old place does not start any more, grants go along.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select

from services.installation import Installation
from shared.crm import FLOWS
from shared.crm.accounts import FILE_ENDING
from shared.crm.grant_settings import READ, WRITE
from shared.crm.grants import GRANTS
from shared.db import open_database, reading, writing
from shared.errors import ConfigurationError

FILES = {side: f"crms.{side}.toml" for side in ("read", "write")}
OUTLINES = {side: f"crms.{side}.outline.toml" for side in FILES}
# What is known to tell nothing that lets anybody in. Any other value is left out.
PLAIN = frozenset(
    {"vendor", "sandbox_of", "version", "region", "environment", "objects", "change_field"}
    | {"calls", "find_days", "lead_request", "private_address", "custom_fields"}
)


def outline(text: str, name: str) -> str:
    """The accounts of a file as TOML, with ``# option =`` for each value that is left out.

    A file that is no TOML has none.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        tables = {}
    head = f"# What a backup keeps of {name}: fill in what is missing, and give it that name.\n"
    lines = (line for account, table in tables.items() for line in _lines(account, table))
    return head + "".join(f"{line}\n" for line in lines)


def _lines(account: str, table: Any) -> Iterator[str]:
    yield f"\n[{_text(account)}]"
    for option, value in table.items() if isinstance(table, Mapping) else ():
        shown = f"{_text(option)} ="
        yield f"{shown} {_text(value)}" if _is_plain(option, value) else f"# {shown}"


def _text(value: str | int) -> str:
    """A JSON value is one of TOML, but for the delete character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_plain(option: str, value: Any) -> bool:
    """Addresses may hold a password or a token, but for a bare host."""
    if not isinstance(value, str | int):
        return False
    if option in PLAIN or option.endswith(FILE_ENDING):
        return True
    if not option.endswith("url"):
        return False
    try:
        parts = urlsplit(str(value))
    except ValueError:
        return False
    return parts.netloc == (parts.hostname or "") and not (parts.path.strip("/") or parts.query)


def outlines(home: Installation) -> dict[str, bytes]:
    """The outlines of this installation by file name; none of a file that is not there."""
    found = {}
    for side, name in FILES.items():
        path = home.root / name
        if path.exists():
            text = outline(path.read_text(encoding="utf-8", errors="replace"), name)
            found[OUTLINES[side]] = text.encode()
    return found


def to_do(root: Path) -> list[str]:
    """What a person does about CRM accounts after a restore, by the outlines that came with it."""
    said = []
    for side, name in OUTLINES.items():
        path = root / name
        if not path.exists():
            continue
        said.append(f"CRM accounts: fill in {path} and call it {FILES[side]}.")
        for account, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if table.get("vendor", account) in FLOWS:
                option = " --write" if side == "write" else ""
                said.append(f"Let the app in again: countersign crm authorize {account}{option}")
    return said


def carry_grants(home: Installation, target: Installation) -> int:
    """Move the grants of both sides to other databases, which hold none; returns how many.

    The old place loses them when the new one has them, and not before.
    """
    carried = 0
    for name in (READ, WRITE):
        if not (home.root / f"{name}.db").exists():
            continue
        old, new = (open_database(one.database(name), pooled=False) for one in (home, target))
        with reading(old) as db:
            rows = [dict(row) for row in db.execute(select(GRANTS)).mappings()]
        with writing(new) as db:
            if db.execute(select(GRANTS.c.account).limit(1)).first():
                raise ConfigurationError(f"{name} on the servers holds grants already")
            if rows:
                db.execute(insert(GRANTS), rows)
        with writing(old) as db:
            db.execute(delete(GRANTS))
        old.dispose()
        new.dispose()
        carried += len(rows)
    return carried
