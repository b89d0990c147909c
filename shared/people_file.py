"""The file of people: strict reading, and replacing it as a whole under a lock."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate

from shared.domain.schema import ID, Instant, Many, Noun, describe, dump, schema_of
from shared.errors import ConfigurationError
from shared.roles import ROLES

ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
HEADER = """\
# The people of this installation: the only truth about who they are and what they may do.
# Written by `countersign people …` and the People page; edits by hand act at the next request.
version = 1
"""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A one-time sign-in link; ``hash`` is the SHA-256 of its secret."""

    hash: str
    expires: datetime


@dataclass(frozen=True, kw_only=True)
class Token:
    """An API token; ``hash`` is the SHA-256 of its 256-bit secret."""

    id: str
    name: str
    hash: str
    created: datetime
    expires: datetime


@dataclass(frozen=True, kw_only=True)
class Account:
    """One person as stored.

    ``aliases`` are other ids that are the same human being. Sessions older than ``signed_out_at``
    are void, so a disabled person's old ones stay dead after enabling.
    """

    id: str
    name: str
    email: str | None = None
    roles: tuple[str, ...] = ()
    disabled: bool = False
    signed_out_at: datetime | None = None
    aliases: tuple[str, ...] = ()
    password: str | None = None
    links: tuple[Link, ...] = ()
    tokens: tuple[Token, ...] = ()


class LinkSchema(Noun):
    noun = Link
    hash = fields.String(required=True)
    expires = Instant(required=True)


class TokenSchema(Noun):
    noun = Token
    id = fields.String(required=True, validate=ID)
    name = fields.String(required=True, validate=ID)
    hash = fields.String(required=True)
    created = Instant(required=True)
    expires = Instant(required=True)


class AccountSchema(Noun):
    noun = Account
    id = fields.String(required=True, validate=validate.Regexp(ID_PATTERN))
    name = fields.String(required=True, validate=ID)
    email = fields.String(allow_none=True)
    roles = Many(fields.String(validate=validate.OneOf(ROLES)))
    disabled = fields.Boolean(truthy={True}, falsy={False})
    signed_out_at = Instant(allow_none=True)
    aliases = Many(fields.String(validate=ID))
    password = fields.String(allow_none=True)
    links = Many(fields.Nested(LinkSchema))
    tokens = Many(fields.Nested(TokenSchema))


Accounts = tuple[Account, ...]


@dataclass
class PeopleFile:
    """Reads anew whenever the file on disk is another one; writers wait for each other."""

    path: Path
    _stamp: tuple[int, int, int] | None = field(default=None, init=False)
    _accounts: Accounts = field(default=(), init=False)

    def read(self) -> Accounts:
        """All people; none when there is no file. Raises `ConfigurationError` for a broken one."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            # The stamp is older than the bytes: a write in between is seen at the next request.
            self._accounts = parse(self.path.read_bytes(), self.path.name)
            self._stamp = stamp
        return self._accounts

    def replace(
        self, change: Callable[[Accounts], Accounts], announce: Callable[[], None] | None = None
    ) -> None:
        """Put what ``change`` makes of the newest state in its place, at once and durably.

        ``announce`` runs when the new file is on disk under another name and just before it
        takes effect, so nothing takes effect that could not be announced.
        """
        with self._locked():
            text = HEADER + "".join(_block(account) for account in change(self.read()))
            parse(text.encode(), self.path.name)
            temporary = self.path.with_name(f".{self.path.name}.new")
            temporary.unlink(missing_ok=True)
            _write(temporary, text)
            if announce is not None:
                announce()
            temporary.rename(self.path)
            _sync_folder(self.path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Across threads and processes: each caller opens the lock file for itself."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path.name} cannot be changed: make its folder writable"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def parse(data: bytes, name: str) -> Accounts:
    """The accounts of the file's bytes. Raises `ConfigurationError` without any value of it."""
    try:
        document = tomllib.loads(data.decode())
        accounts = tuple(schema_of(AccountSchema).load(document.get("people", []), many=True))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} is no valid TOML: {_place(error)}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {describe(error)}") from error
    if document.get("version") != 1:
        raise ConfigurationError(f"{name}: version must be 1")
    if len({account.id for account in accounts}) != len(accounts):
        raise ConfigurationError(f"{name}: two people have the same id")
    return accounts


def _place(error: Exception) -> str:
    """``at line 3, column 7``: where, not what stands there."""
    return "(at " + str(error).rpartition("(at ")[2] if "(at " in str(error) else "not UTF-8"


def _block(account: Account) -> str:
    data = dump(AccountSchema, account)
    lines = [f"{key} = {_toml(value)}" for key, value in data.items() if value not in (None, [])]
    return "\n[[people]]\n" + "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """JSON's strings, booleans and lists are TOML's too, save DEL; tables are written in-line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
