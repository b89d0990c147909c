"""The configured mailboxes: `mailboxes.toml`, read again when it changes."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\Z")
_MARK = re.compile(r"(?:\\(?:Seen|Flagged)|[A-Za-z$][A-Za-z0-9_.-]{0,60})\Z")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,250}\Z")
SHORTEST_PAUSE, LONGEST_PAUSE = 5, 3600
_TEXTS = frozenset({"name", "host", "user", "folder", "tls", "mark", "move_to", "trusted_host"})
_PATHS = frozenset({"ca_file", "password_file"})
_NUMBERS = frozenset({"port", "every_seconds"})
_FILE = "the file"


class Tls(StrEnum):
    """How the connection is kept from strangers' eyes; none at all only on this machine."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


PORTS = {Tls.IMPLICIT: 993, Tls.STARTTLS: 143, Tls.NONE: 143}


@dataclass(frozen=True, kw_only=True)
class Mailbox:
    """One folder of one account.

    ``mark`` is the keyword or flag that a mail gets once it is stored, where the server allows it;
    with ``move_to`` it goes to that folder as well. ``trusted_host`` is the name under which the
    receiving mail server writes ``Authentication-Results``. ``stamp`` changes with the settings.
    """

    name: str
    host: str
    user: str
    password: str = field(repr=False)
    tls: Tls = Tls.IMPLICIT
    port: int = 993
    ca_file: Path | None = None
    folder: str = "INBOX"
    every_seconds: int = 60
    mark: str = "Countersign"
    move_to: str = ""
    trusted_host: str = ""
    stamp: str = ""

    @property
    def place(self) -> str:
        """What its position belongs to."""
        return f"{self.user}@{self.host}/{self.folder}"


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """An entry that cannot be used, and why, by the names of its settings and never by value."""

    name: str
    why: str


class Mailboxes:
    """A change of the file, or of a password file it names, counts from the next look on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def all(self) -> list[Mailbox | Faulty]:
        """In the order of the file; no file is no mailbox."""
        if self._path is None:
            return []
        try:
            text = self._path.read_text(encoding="utf-8")
            rows = tomllib.loads(text).get("mailbox", [])
        except FileNotFoundError:
            return []
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            return [_unreadable(self._path, error)]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return [Faulty(name=self._path.name, why="mailbox must be written as [[mailbox]]")]
        found = [_one(row, place, self._path) for place, row in enumerate(rows, start=1)]
        return _without_twins(found)


def _unreadable(path: Path, error: Exception) -> Faulty:
    reason = error.strerror if isinstance(error, OSError) else "it is not TOML"
    return Faulty(name=path.name, why=f"{path.name} cannot be read: {reason}")


def _without_twins(found: list[Mailbox | Faulty]) -> list[Mailbox | Faulty]:
    """Two of one name would take turns with one position."""
    counts = Counter(one.name for one in found)
    return [
        Faulty(name=one.name, why="the name is given twice") if counts[one.name] > 1 else one
        for one in {one.name: one for one in found}.values()
    ]


def _one(row: Mapping[str, Any], place: int, path: Path) -> Mailbox | Faulty:
    given = row.get("name")
    is_named = isinstance(given, str) and _NAME.match(given)
    name = str(given) if is_named else f"mailbox-{place}"
    if not is_named:
        return Faulty(name=name, why="name must have small letters, digits and hyphens only")
    try:
        return _mailbox(row, path)
    except ValueError as error:
        return Faulty(name=name, why=str(error))


def _mailbox(row: Mapping[str, Any], path: Path) -> Mailbox:
    """Raises `ValueError` naming the setting that is wrong."""
    unknown = sorted(set(row) - _TEXTS - _PATHS - _NUMBERS - {"password"})
    if unknown:
        raise ValueError(f"unknown setting: {', '.join(unknown)}")
    for name in _TEXTS & row.keys():
        is_empty = row[name] == "" and name in {"move_to", "trusted_host"}
        if not isinstance(row[name], str) or not (is_empty or _PLAIN.match(row[name])):
            raise ValueError(f"{name} must be a text of one line")
    missing = [name for name in ("host", "user") if name not in row]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    values: dict[str, Any] = {name: row[name] for name in _TEXTS & row.keys()}
    values |= {name: _path(row, name, path) for name in {"ca_file"} & row.keys()}
    values["tls"] = _tls(row)
    values["port"] = _number(row, "port", PORTS[values["tls"]], 1, 65535)
    values["every_seconds"] = _number(row, "every_seconds", 60, SHORTEST_PAUSE, LONGEST_PAUSE)
    if not _MARK.match(values.get("mark", "x")):
        raise ValueError("mark must be a keyword of one word, \\Seen or \\Flagged")
    password, stamp = _password(row, path)
    known = {one.name for one in fields(Mailbox)}
    assert values.keys() <= known, "each setting is a field"
    settings = repr(sorted((name, value) for name, value in row.items() if name != "password"))
    return Mailbox(**values, password=password, stamp=f"{settings} {stamp}")


def _tls(row: Mapping[str, Any]) -> Tls:
    given = row.get("tls", Tls.IMPLICIT)
    if given not in set(Tls):
        raise ValueError(f"tls must be one of: {', '.join(Tls)}")
    if given == Tls.NONE and not _is_this_machine(row["host"]):
        raise ValueError("tls none is for this machine only: set implicit or starttls")
    return Tls(given)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _number(row: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = row.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def _path(row: Mapping[str, Any], name: str, beside: Path) -> Path:
    if not isinstance(row[name], str) or not row[name]:
        raise ValueError(f"{name} must be the name of a file")
    return beside.parent / str(row[name])


def _password(row: Mapping[str, Any], beside: Path) -> tuple[str, str]:
    """The password, and what changes when it does: the time of the file it stands in."""
    if ("password" in row) == ("password_file" in row):
        raise ValueError("no password: give password_file (or password), and one of them only")
    file = _path(row, "password_file", beside) if "password_file" in row else beside
    try:
        stamp = file.stat().st_mtime_ns
        password = file.read_text(encoding="utf-8").strip() if file != beside else row["password"]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("no password: password_file cannot be read") from error
    if not isinstance(password, str) or not password or "\n" in password:
        raise ValueError("no password: it must be one line of text")
    return password, str(stamp)
