"""The configured endpoints: `endpoints.toml`, re-read when it changes, written atomically.

Secrets stand in it in clear, since signatures need them: the file is for its owner only (0600).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any

from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.sources import SOURCES
from shared.errors import ConfigurationError, Conflict, NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\Z")
KEPT_SECRETS = 2
Key = tuple[str, str]


class Endpoints:
    """A change of the file, or of a secret file it names, counts from the next request on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._found: Mapping[Key, Endpoint] = {}
        self._watched: tuple[Path, ...] = (path,)

    def find(self, source: str, name: str) -> Endpoint | None:
        """The endpoint, or ``None``. Raises `ConfigurationError` for a file that is no good."""
        return self._current().get((source, name))

    def all(self) -> list[Endpoint]:
        """In the order of the file."""
        return list(self._current().values())

    def add(
        self,
        source: str,
        name: str = DEFAULT_ENDPOINT,
        *,
        secrets: Sequence[str] = (),
        public_url: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """A new endpoint, with a fresh secret unless some are given.

        Raises `NotFound` for an unknown source, `Conflict` for an endpoint that is there.
        """
        if source not in SOURCES:
            raise NotFound(f"There is no source {source}; there are: {', '.join(SOURCES)}.")
        if not _NAME.match(name):
            raise Conflict("A name has small letters, digits and hyphens only.")
        endpoint = Endpoint(
            source=source,
            name=name,
            secrets=tuple(secrets) or (new_secret(source),),
            public_url=public_url,
            options=dict(options or {}),
        )
        with self._changing() as endpoints:
            if (source, name) in endpoints:
                raise Conflict(f"{endpoint.path} is there already; rotate its secret instead.")
            endpoints[source, name] = endpoint
        return endpoint

    def rotate(
        self,
        source: str,
        name: str = DEFAULT_ENDPOINT,
        *,
        secret: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """A new first secret; the one before stays valid until the next rotation. ``options``
        stand in for those it had.

        Raises `NotFound`.
        """
        with self._changing() as endpoints:
            old = endpoints.get((source, name))
            if old is None:
                raise NotFound(f"There is no endpoint {name} of {source}.")
            kept = (secret or new_secret(source), *old.secrets)[:KEPT_SECRETS]
            chosen = old.options if options is None else dict(options)
            endpoints[source, name] = replace(old, secrets=kept, options=chosen)
            return endpoints[source, name]

    @contextmanager
    def _changing(self) -> Iterator[dict[Key, Endpoint]]:
        """Alone among processes: read, change, write."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            endpoints = dict(self._current())
            yield endpoints
            _write(self._path, endpoints.values())

    def _current(self) -> Mapping[Key, Endpoint]:
        seen = tuple(_stamp(path) for path in self._watched)
        if seen != self._seen:
            with self._lock:
                self._found, files = _read(self._path)
                self._watched = (self._path, *files)
                self._seen = tuple(_stamp(path) for path in self._watched)
        return self._found


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


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - once per request, and a path object costs more.
    except OSError:
        return (str(path), 0, 0)
    return (str(path), found.st_mtime_ns, found.st_ino)


def _read(path: Path) -> tuple[dict[Key, Endpoint], list[Path]]:
    """The endpoints, and the secret files they name. No file is no endpoint."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path.name} cannot be read as TOML") from error
    found: dict[Key, Endpoint] = {}
    files: list[Path] = []
    for place, row in enumerate(table.get("endpoint", []), start=1):
        endpoint = _endpoint(row, f"{path.name}, endpoint {place}", files)
        found[endpoint.source, endpoint.name] = endpoint
    return found, files


def _endpoint(row: Any, where: str, files: list[Path]) -> Endpoint:
    source, name = _text(row, "source", where), _text(row, "name", where, DEFAULT_ENDPOINT)
    if source not in SOURCES or not _NAME.match(name):
        raise ConfigurationError(f"{where}: unknown source, or a name that is not allowed")
    named = [Path(text) for text in _texts(row, "secret_files", where)]
    files.extend(named)
    held = [text for path in named if (text := _secret_in(path))]
    options = row.get("options", {})
    if not all(isinstance(value, str) for value in options.values()):
        raise ConfigurationError(f"{where}: options must be text")
    return Endpoint(
        source=source,
        name=name,
        secrets=tuple(filter(None, [*_texts(row, "secrets", where), *held])),
        public_url=_text(row, "public_url", where, "") or None,
        options=options,
    )


def _secret_in(path: Path) -> str:
    """A secret file that is not there opens nothing: its endpoint refuses."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _text(row: Any, key: str, where: str, default: str | None = None) -> str:
    value = row.get(key, default)
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {key} must be text")
    return value


def _texts(row: Any, key: str, where: str) -> Sequence[str]:
    value = row.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{where}: {key} must be a list of texts")
    return value


def _write(path: Path, endpoints: Iterable[Endpoint]) -> None:
    """All or nothing, readable by the owner only. Secret files are named again, not copied."""
    known = _secret_files(path)
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("".join(_toml(endpoint, known) for endpoint in endpoints))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _secret_files(path: Path) -> dict[Key, list[str]]:
    if not path.exists():
        return {}
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("endpoint", [])
    return {
        (row["source"], row.get("name", DEFAULT_ENDPOINT)): row.get("secret_files", [])
        for row in rows
    }


def _toml(endpoint: Endpoint, secret_files: Mapping[Key, list[str]]) -> str:
    files = secret_files.get((endpoint.source, endpoint.name), [])
    held = {_secret_in(Path(name)) for name in files}
    lines = [
        "[[endpoint]]",
        f"source = {_quoted(endpoint.source)}",
        f"name = {_quoted(endpoint.name)}",
        f"secrets = {_list(secret for secret in endpoint.secrets if secret not in held)}",
    ]
    if files:
        lines.append(f"secret_files = {_list(files)}")
    if endpoint.public_url:
        lines.append(f"public_url = {_quoted(endpoint.public_url)}")
    pairs = ", ".join(
        f"{_quoted(key)} = {_quoted(value)}" for key, value in endpoint.options.items()
    )
    if pairs:
        lines.append(f"options = {{ {pairs} }}")
    return "\n".join(lines) + "\n\n"


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(text) for text in texts)}]"


def _quoted(text: str) -> str:
    """A JSON string is a TOML basic string, but for the delete character that JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
