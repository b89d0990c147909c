"""A lock among the threads and processes of one machine that waits in the kernel.

SQLite's own busy handler sleeps and tries again, up to a tenth of a second each time: writers that
take turns here first wait ten times less. See deploy/decisions/0014.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

from shared.errors import StoreUnavailable

PATIENCE = 30.0


class ProcessLock:
    """Held by one thread of one process at a time; the kernel lets go of it when its holder dies.

    Raises `StoreUnavailable` where the file cannot be used, or this process's own threads do not
    let go of it. Not reentrant.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._pid = 0
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        if not self._threads.acquire(timeout=PATIENCE):
            raise StoreUnavailable("another thread writes for too long")
        try:
            fcntl.flock(self._descriptor(), fcntl.LOCK_EX)
        except OSError as error:
            self._threads.release()
            raise StoreUnavailable("the lock file cannot be used") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def _descriptor(self) -> int:
        """Opened by the process that uses it: a child would share its parent's turn."""
        if self._file is None or self._pid != os.getpid():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._file, self._pid = os.open(self._path, flags, 0o600), os.getpid()
        return self._file

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None and self._pid == os.getpid():
            os.close(self._file)
        self._file = None
