"""The configured endpoints, re-read whenever their file, or a secret file it names, changes."""

from __future__ import annotations

import base64
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe

from services.ingest.endpoints_file import NAME, Key, Row, read_rows, secret_in, write_rows
from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.sealing import KEY_FILE, Seal, make_sealing_key
from services.ingest.sources import SOURCES
from shared.errors import BadPayload, ConfigurationError, Conflict, NotFound
from shared.key_ring import renew_ring

KEPT_SECRETS = 2


@dataclass(frozen=True, kw_only=True)
class Held:
    """One secret as pages may show it: its mark, and the file it comes from if it has one."""

    mark: str
    file: str | None = None


class Endpoints:
    """A change of the file, or of a secret file it names, counts from the next request on."""

    def __init__(self, path: Path, keys: Path | None = None) -> None:
        """``keys`` is the folder of ``endpoints.key``; beside the file where it is left out."""
        self._path = path
        self._keys = keys or path.parent / "keys"
        self._lock = threading.Lock()
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._rows: Mapping[Key, Row] = {}
        self._found: Mapping[Key, Endpoint] = {}
        self._watched: tuple[str, ...] = (str(path),)

    def find(self, source: str, name: str) -> Endpoint | None:
        """The endpoint, or ``None``. Raises `ConfigurationError` for a file that is no good."""
        return self._current().get((source, name))

    def all(self) -> list[Endpoint]:
        """In the order of the file."""
        return list(self._current().values())

    def secrets(self, source: str, name: str) -> list[Held]:
        """Every secret that opens the endpoint now, by its mark."""
        self._current()
        row = self._rows.get((source, name))
        if row is None:
            return []
        return self._held(row, self._rows.values())

    def add(
        self,
        source: str,
        name: str = DEFAULT_ENDPOINT,
        *,
        secrets: Sequence[str] | None = None,
        secret_files: Sequence[str] = (),
        public_url: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """A new endpoint, with a fresh secret where ``secrets`` is left out.

        Raises `NotFound` for an unknown source, `Conflict` for an endpoint that is there,
        `BadPayload` for a name that cannot be.
        """
        if source not in SOURCES:
            raise NotFound(f"There is no source {source}; there are: {', '.join(SOURCES)}.")
        if not NAME.match(name):
            raise BadPayload("A name has at most 61 small letters, digits and hyphens.")
        row = Row(
            source=source,
            name=name,
            own=(new_secret(source),) if secrets is None else tuple(filter(None, secrets)),
            files=tuple(secret_files),
            public_url=public_url,
            options=dict(options or {}),
        )
        with self._changing() as rows:
            if (source, name) in rows:
                path = row.endpoint().path
                raise Conflict(f"{path} is there already; rotate its secret instead.")
            rows[source, name] = row
        return row.endpoint()

    def rotate(
        self,
        source: str,
        name: str = DEFAULT_ENDPOINT,
        *,
        secret: str | None = None,
        newest: str | None = None,
    ) -> Endpoint:
        """A new first secret; the one before stays valid until it is dropped, or the next rotation.
        One that is held already becomes the first, and is not held twice.

        ``newest`` is the mark of the first secret as the caller saw it, empty for none. Raises
        `NotFound`, and `Conflict` where another is the first by now.
        """
        with self._changing() as rows:
            old = _existing(rows, source, name)
            first = next((one.mark for one in self._held(old, rows.values())), "")
            if newest is not None and newest != first:
                raise Conflict(
                    "The secrets have changed since this page was opened, perhaps by this very "
                    "form. One that nobody has noted down can be dropped there."
                )
            held = dict.fromkeys((secret or new_secret(source), *old.own))
            rows[source, name] = replace(old, own=tuple(held)[:KEPT_SECRETS])
            return rows[source, name].endpoint()

    def drop(self, source: str, name: str, mark: str) -> None:
        """The secret with this mark opens nothing more; that of a file is named no more.

        Raises `NotFound`.
        """
        with self._changing() as rows:
            old = _existing(rows, source, name)
            seal = self._seal(rows.values())
            own = tuple(one for one in old.own if seal.mark(one) != mark)
            files = tuple(one for one in old.files if seal.mark(secret_in(one)) != mark)
            if (own, files) == (old.own, old.files):
                raise NotFound(f"There is no secret {mark}.")
            rows[source, name] = replace(old, own=own, files=files)

    def configure(
        self, source: str, name: str, *, options: Mapping[str, str], public_url: str | None
    ) -> None:
        """Other options and another address in the place of those. Raises `NotFound`."""
        with self._changing() as rows:
            old = _existing(rows, source, name)
            rows[source, name] = replace(old, options=dict(options), public_url=public_url)

    def remove(self, source: str, name: str) -> None:
        """The address answers 404 from now on. Raises `NotFound`."""
        with self._changing() as rows:
            _existing(rows, source, name)
            del rows[source, name]

    def seal(self) -> None:
        """Seal what stands in clear in the file, or is sealed with an older key, if anything is."""
        if any(row.is_due for row in read_rows(self._path, self._keys).values()):
            with self._changing():
                pass

    def rotate_key(self) -> None:
        """A new key in ``endpoints.key``, and every secret sealed with it; each stays what it was.

        Whoever reads in between opens either form. Raises `ConfigurationError`.
        """
        with self._changing():
            renew_ring(self._keys / KEY_FILE)

    @contextmanager
    def _changing(self) -> Iterator[dict[Key, Row]]:
        """Alone among processes: read, change, write."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            rows = read_rows(self._path, self._keys)
            yield rows
            is_secret = any(row.own for row in rows.values())
            seal = self._seal(rows.values()) if is_secret else None
            write_rows(self._path, rows.values(), seal)

    def _held(self, row: Row, rows: Iterable[Row]) -> list[Held]:
        if not row.own and not row.files:
            return []
        seal = self._seal(rows)
        held = [Held(mark=seal.mark(secret)) for secret in row.own]
        from_files = [(file, secret_in(file)) for file in row.files]
        return held + [Held(mark=seal.mark(text), file=file) for file, text in from_files if text]

    def _seal(self, rows: Iterable[Row]) -> Seal:
        """With the key, which is made when the first secret needs it. Where one of ``rows`` was
        sealed a missing key is a lost one: a new one would hide that, and open nothing.

        Raises `ConfigurationError`.
        """
        if not any(row.is_sealed for row in rows):
            self._make_key()
        return Seal(self._keys)

    def _make_key(self) -> None:
        try:
            self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_sealing_key(self._keys)
        except OSError as error:
            raise ConfigurationError(f"{KEY_FILE} is missing: `countersign secrets`") from error

    def _current(self) -> Mapping[Key, Endpoint]:
        seen = tuple(_stamp(path) for path in self._watched)
        if seen != self._seen:
            with self._lock:
                # Stamps are taken before the bytes: a change in between is seen the next time.
                first = _stamp(str(self._path))
                self._rows = read_rows(self._path, self._keys)
                files = [file for row in self._rows.values() for file in row.files]
                stamps = (first, *map(_stamp, files))
                self._found = {key: row.endpoint() for key, row in self._rows.items()}
                self._watched, self._seen = (str(self._path), *files), stamps
        return self._found


def _existing(rows: Mapping[Key, Row], source: str, name: str) -> Row:
    row = rows.get((source, name))
    if row is None:
        raise NotFound(f"There is no endpoint {name} of {source}.")
    return row


def new_name(source: str) -> str:
    """The usual name, or an unguessable one where the address is what keeps strangers out."""
    is_secret = SOURCES[source].setup.has_secret_path
    return f"k-{token_hex(16)}" if is_secret else DEFAULT_ENDPOINT


def new_secret(source: str) -> str:
    """A fresh secret in the form that the source's sender takes."""
    form = SOURCES[source].setup.form
    if form.startswith("whsec_"):
        return f"whsec_{base64.b64encode(token_bytes(32)).decode()}"
    if form == "user:password":
        return f"countersign:{token_urlsafe(24)}"
    if form.startswith("00D"):
        return f"00D{token_hex(6)}AAA"
    return token_urlsafe(32)


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - once per request, and a path object costs more.
    except OSError:
        return (path, 0, 0)
    return (path, found.st_mtime_ns, found.st_ino)
