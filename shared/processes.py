"""What a process tells the kernel and its C library: name, end with its parent, what it may use."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SET_PARENT_DEATH_SIGNAL, _SET_NAME = 1, 15
LONGEST_NAME = 15
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3
ARENAS = 2
_LATER = 5
LARGE = 128 * 1024
OPEN_FILES = 65_536


def show_name(name: str) -> None:
    """Be ``name`` in ``ps`` and ``top``, at most 15 characters of it (Linux only)."""
    if sys.platform == "linux":
        _prctl(_SET_NAME, name.encode()[:LONGEST_NAME])


def die_with(parent: int) -> None:
    """Be killed when the process ``parent``, our own parent, ends in any way (Linux only).

    Whoever must stop cleanly gets a SIGTERM before; a parent that was killed sends none, and its
    orphans would keep ports and queues. Everything here survives a kill at any moment.
    """
    if sys.platform != "linux":
        return
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)  # It ended before we could ask.


def give_way() -> None:
    """Let processes of ordinary priority go first where processor time is short."""
    os.nice(_LATER)


def keep_memory_small() -> None:
    """Give freed memory back: few arenas, and every large block one of its own (glibc only).

    By default each of dozens of threads fills an arena for itself, and after the first large body
    that was freed the next ones lie in them and leave holes. Children inherit it.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_ARENA_MAX, ARENAS)
        library.mallopt(_MMAP_THRESHOLD, LARGE)


@contextmanager
def lasting() -> Iterator[None]:
    """What is imported and made in this block is not garbage, and never looked through for it.

    Looking costs a seventh of a start, and in a forked child it would copy the pages it looks at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def apart(act: Callable[[], object]) -> None:
    """Do it in a process of its own, which takes along what it loaded.

    It must bear being done twice: where it fails there, it is done here, and raises what it raises.
    """
    if (pid := os.fork()) == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        act()


def allow_many_connections() -> None:
    """Open as many files as the machine allows; shells often leave it at 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _prctl(option: int, value: int | bytes) -> None:
    given = ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value)
    ctypes.CDLL(None).prctl(ctypes.c_int(option), given)
