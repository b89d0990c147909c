"""Keys that close and open: 32 bytes each in one file, the newest first.

The newest closes. The others stay and only open: backups of before hold what they closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from shared.errors import ConfigurationError
from shared.keys import Reread, replace_file

KEY_SIZE = 32
Ring = tuple[bytes, ...]


def read_ring(path: Path) -> Ring:
    """Raises `ConfigurationError` where the file is missing or holds no whole keys."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"no readable {path.name}: restore it from backup") from error
    keys = tuple(data[at : at + KEY_SIZE] for at in range(0, len(data), KEY_SIZE))
    if not keys or len(keys[-1]) != KEY_SIZE:
        raise ConfigurationError(
            f"{path.name} must hold {KEY_SIZE} bytes for each key: restore it from backup"
        )
    return keys


def open_ring(path: Path) -> Callable[[], Ring]:
    """The keys, which are read anew whenever the file is another one. Raises as `read_ring`."""
    return Reread(path, read_ring)


def renew_ring(path: Path) -> None:
    """A new key before the others, at once and for all who read the file."""
    replace_file(path, b"".join((os.urandom(KEY_SIZE), *read_ring(path))))
