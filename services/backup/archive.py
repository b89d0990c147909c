"""A backup on disk: one zip file of members, each with its digest in the manifest that ends it."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import BadPayload, ConfigurationError

MANIFEST = "manifest.json"
PIECE = 1 << 20
DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What reading raises where a byte is not what it was."""
Put = Callable[[bytes], None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """``size`` is in bytes, ``sha256`` hex; both of what was put in, not of its packed form."""

    size: int
    sha256: str


class ArchiveWriter:
    """Writes members one after the other, of any length, and the manifest last.

    Until `finish` the file has another name: what bears the right name is whole.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise ConfigurationError(f"{path} is there already: give the backup another name")
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._part.unlink(missing_ok=True)
        try:
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self.members: dict[str, Member] = {}

    @contextmanager
    def member(self, name: str) -> Iterator[Put]:
        """Put its bytes through the yielded function, piece by piece."""
        digest, size = hashlib.sha256(), 0
        with self._zip.open(name, "w", force_zip64=True) as target:

            def put(data: bytes) -> None:
                nonlocal size
                digest.update(data)
                size += len(data)
                target.write(data)

            yield put
        self.members[name] = Member(size=size, sha256=digest.hexdigest())

    def finish(self, manifest: bytes) -> None:
        """Durable under its own name when it returns."""
        with self._zip.open(MANIFEST, "w") as target:
            target.write(manifest)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)

    def give_up(self) -> None:
        with suppress(ValueError, OSError):  # A member that was cut off; a disk that is full.
            self._zip.close()
        self._file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """A writer; what was begun goes when it fails. Raises `ConfigurationError`."""
    writer = ArchiveWriter(path)
    try:
        yield writer
    except BaseException:
        writer.give_up()
        raise


class Archive:
    """A finished backup. Raises `BadPayload` for a file that is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            self.manifest = self._zip.read(MANIFEST)
        except (KeyError, *DAMAGE) as error:
            raise BadPayload(f"{path} is no backup, or not a whole one") from error
        self.names = [name for name in self._zip.namelist() if name != MANIFEST]

    def check(self, members: dict[str, Member], told: Callable[[int], None]) -> None:
        """Read everything once. Raises `BadPayload` naming the first member that is not right."""
        if sorted(self.names) != sorted(members):
            raise BadPayload("the backup does not hold what its manifest names")
        for name, wanted in members.items():
            digest, size = hashlib.sha256(), 0
            try:
                with self._zip.open(name) as member:
                    while piece := member.read(PIECE):
                        digest.update(piece)
                        size += len(piece)
            except DAMAGE as error:
                raise BadPayload(f"{name} in the backup is damaged") from error
            if (size, digest.hexdigest()) != (wanted.size, wanted.sha256):
                raise BadPayload(f"{name} in the backup is not what the manifest says")
            told(size)

    def lines(self, name: str) -> Iterator[str]:
        with self._zip.open(name) as member:
            yield from io.TextIOWrapper(member, encoding="utf-8", newline="\n")

    def read(self, name: str) -> bytes:
        return self._zip.read(name)

    def close(self) -> None:
        self._zip.close()
