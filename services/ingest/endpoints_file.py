"""`endpoints.toml`: one row per endpoint, read strictly and written as a whole.

The product writes secrets sealed. Whoever writes the file by hand may put them in clear under
``secrets``: they are sealed at the next start or change.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from services.ingest.hook import DEFAULT_ENDPOINT, Endpoint
from services.ingest.sealing import Seal
from services.ingest.sources import SOURCES
from shared.errors import ConfigurationError
from shared.keys import write_secret

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\Z")
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An endpoint as it stands in the file. ``own`` are secrets in clear, ``files`` name others.

    ``is_due``: at least one secret is not sealed with the newest key yet; ``is_sealed``: one was
    read that is sealed.
    """

    source: str
    name: str = DEFAULT_ENDPOINT
    own: tuple[str, ...] = field(default=(), repr=False)
    files: tuple[str, ...] = ()
    public_url: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    is_due: bool = False
    is_sealed: bool = False

    @property
    def place(self) -> str:
        return f"{self.source}/{self.name}"

    def endpoint(self) -> Endpoint:
        """With what its secret files hold now."""
        held = (secret_in(name) for name in self.files)
        return Endpoint(
            source=self.source,
            name=self.name,
            secrets=tuple(filter(None, (*self.own, *held))),
            public_url=self.public_url,
            options=self.options,
        )


def secret_in(name: str) -> str:
    """A secret file that is not there opens nothing: its endpoint refuses."""
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def read_rows(path: Path, keys: Path) -> dict[Key, Row]:
    """In the order of the file; no file is no endpoint. ``keys`` is the folder of the key.

    Raises `ConfigurationError` naming the place, never a value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path.name} cannot be read as TOML") from error
    rows = [
        _row(row, f"{path.name}, endpoint {place}", keys)
        for place, row in enumerate(table.get("endpoint", []), start=1)
    ]
    return {(row.source, row.name): row for row in rows}


def _row(given: Any, where: str, keys: Path) -> Row:
    source, name = _text(given, "source", where), _text(given, "name", where, DEFAULT_ENDPOINT)
    if source not in SOURCES or not NAME.match(name):
        raise ConfigurationError(f"{where}: unknown source, or a name that is not allowed")
    options = given.get("options", {})
    if not all(isinstance(value, str) for value in options.values()):
        raise ConfigurationError(f"{where}: options must be text")
    clear, sealed = _texts(given, "secrets", where), _texts(given, "sealed", where)
    opened = [Seal(keys).open(one, f"{source}/{name}") for one in sealed]
    return Row(
        source=source,
        name=name,
        own=tuple(filter(None, (*clear, *(secret for secret, _ in opened)))),
        files=tuple(_texts(given, "secret_files", where)),
        public_url=_text(given, "public_url", where, "") or None,
        options=options,
        is_due=bool(clear) or not all(is_newest for _, is_newest in opened),
        is_sealed=bool(sealed),
    )


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


def write_rows(path: Path, rows: Iterable[Row], seal: Seal | None) -> None:
    """All or nothing, every secret sealed, readable by the owner only.

    Without ``seal`` there must be no secret of a row's own.
    """
    text = "".join(f"{line}\n" for row in rows for line in _lines(row, seal))
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        write_secret(temporary, text.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(row: Row, seal: Seal | None) -> Iterator[str]:
    yield "[[endpoint]]"
    yield f"source = {_quoted(row.source)}"
    yield f"name = {_quoted(row.name)}"
    if row.own:
        assert seal is not None, "the caller has looked for secrets"
        yield f"sealed = {_list(seal.close(secret, row.place) for secret in row.own)}"
    if row.files:
        yield f"secret_files = {_list(row.files)}"
    if row.public_url:
        yield f"public_url = {_quoted(row.public_url)}"
    if row.options:
        pairs = (f"{_quoted(key)} = {_quoted(value)}" for key, value in row.options.items())
        yield f"options = {{ {', '.join(pairs)} }}"
    yield ""


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(text) for text in texts)}]"


def _quoted(text: str) -> str:
    """A JSON string is a TOML basic string, but for the delete character that JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
