"""Who works in a DATA_DIR: one product at a time, and none where something is unfinished."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigurationError

LOCK = "product.lock"
# Held from the first to the last step of a restore: what lies here is not whole.
UNFINISHED = "unfinished"
# Written when everything was carried to servers: what lies here is no longer the newest.
MOVED = "moved"
PATIENCE = 10.0


def occupy(root: Path, patience: float = PATIENCE) -> int:
    """Be the one product of the folder until this process and all it forks have ended.

    Returns the open file. Raises `ConfigurationError` where a product runs already.
    """
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    limit = time.monotonic() + patience
    while not _locked(descriptor):
        if time.monotonic() > limit:
            os.close(descriptor)
            raise ConfigurationError(
                f"the product runs in {root} (process {owner(root)}): stop it first (SIGTERM)"
            )
        time.sleep(0.1)
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


@contextmanager
def occupied(root: Path) -> Iterator[None]:
    """`occupy` for as long as something is done that a running product would spoil."""
    descriptor = occupy(root, patience=0)
    try:
        yield
    finally:
        os.close(descriptor)


def owner(root: Path) -> int | None:
    """The process id of the product that runs in the folder, if one does."""
    try:
        with (root / LOCK).open("r+") as file:
            if _locked(file.fileno()):
                return None
            return int(file.read() or 0) or None
    except FileNotFoundError:
        return None


@contextmanager
def unfinished(root: Path, what: str) -> Iterator[None]:
    """Nothing starts in the folder until the work has ended well."""
    mark = root / UNFINISHED
    mark.write_text(f"{what}\n", encoding="utf-8")
    yield
    mark.unlink()


def refuse_unfit(root: Path, *, on_servers: bool) -> None:
    """Raises `ConfigurationError` where a start would go on from something that is not whole."""
    if (root / UNFINISHED).exists():
        what = (root / UNFINISHED).read_text(encoding="utf-8").strip()
        raise ConfigurationError(
            f"{root} is not whole: {what} did not end. Empty the folder and begin it again"
        )
    if (root / MOVED).exists() and not on_servers:
        where = (root / MOVED).read_text(encoding="utf-8").strip()
        raise ConfigurationError(
            f"everything in {root} was carried to {where}: start with the DATABASE_URL and "
            f"BROKER_URL of it. To go back to the files as they were then, remove {root / MOVED}"
        )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
