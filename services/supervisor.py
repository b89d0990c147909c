"""One parent that forks the processes of `countersign run`, watches and replaces them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from shared.errors import ConfigurationError
from shared.processes import die_with, show_name

log = structlog.get_logger()
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
STEADY_SECONDS = 30.0
# A worker has 30 seconds for what is in hand.
STOP_SECONDS = 35


@dataclass(kw_only=True)
class Child:
    """One process of the tree: forked, watched and started again when it dies.

    ``renewal`` is what makes it begin anew; it ends on SIGTERM and is started again.
    """

    name: str
    run: Callable[[], None]
    renewal: signal.Signals = signal.SIGTERM
    pid: int = 0
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


@dataclass(kw_only=True)
class Supervisor:
    """Starts the children, replaces dead ones, and stops all of them on SIGTERM.

    ``door`` is forked first: it needs no other. ``others`` makes the rest of them meanwhile, with
    whatever they share. ``bury`` is told the pid of each that has died.
    """

    door: Child
    others: Callable[[], Sequence[Child]]
    bury: Callable[[int], None]
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    renewing: bool = False

    def open(self) -> None:
        """Fork the door. What follows until `run` goes on beside it."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGUSR1, self._renew)
        self._add(self.door)

    def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when every child has ended.

        Raises what ``others`` raises, when the door is closed again.
        """
        if not self.door.pid:
            self.open()
        try:
            for child in () if self.stopping else self.others():
                self._add(child)
            while not self.stopping:
                self._replace_dead()
                if self.renewing:
                    self._renew_all()
                time.sleep(0.1)
        finally:
            self._stop_all()

    def _end(self, *_: object) -> None:
        self.stopping = True

    def _renew(self, *_: object) -> None:
        self.renewing = True

    def _renew_all(self) -> None:
        """One after the other, with the secrets of now; a worker finishes what is in hand.

        granian starts each new web process before it ends the old one.
        """
        self.renewing = False
        for child in self.children:
            log.info("begins anew", process=child.name)
            old = child.pid
            _signal(old, child.renewal)
            if child.renewal is not signal.SIGTERM:
                continue
            while child.pid in {0, old} and not self.stopping:
                self._replace_dead()
                time.sleep(0.05)

    def _add(self, child: Child) -> None:
        self.children.append(child)
        self._start(child)

    def _start(self, child: Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        child.started = time.monotonic()
        parent = os.getpid()
        gc.freeze()
        child.pid = os.fork()
        if child.pid == 0:
            _become(child, parent)

    def _replace_dead(self) -> None:
        for child in self.children:
            if child.pid and _has_ended(child.pid):
                log.warning("process ended", process=child.name, pid=child.pid)
                self.bury(child.pid)
                is_steady = time.monotonic() - child.started > STEADY_SECONDS
                child.pause = FIRST_PAUSE if is_steady else min(child.pause * 2, LONGEST_PAUSE)
                child.due, child.pid = time.monotonic() + child.pause, 0
            elif not child.pid and time.monotonic() >= child.due:
                self._start(child)

    def _stop_all(self) -> None:
        """Intake first, then the workers; whoever hangs is killed."""
        for child in self.children:
            _signal(child.pid, signal.SIGTERM)
        limit = time.monotonic() + STOP_SECONDS
        while any(child.pid and not _has_ended(child.pid) for child in self.children):
            if time.monotonic() > limit:
                for child in self.children:
                    _signal(child.pid, signal.SIGKILL)
            time.sleep(0.05)


def _become(child: Child, parent: int) -> None:
    """The forked child's whole life; it never returns into the parent's code."""
    code = 1
    try:
        show_name(child.name)
        die_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The supervisor alone answers Ctrl-C.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # As it alone lets others begin anew.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        child.run()
        code = 0
    except ConfigurationError as error:
        log.error("cannot start", process=child.name, error=str(error))  # noqa: TRY400
    except BaseException:
        log.exception("process failed", process=child.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _signal(pid: int, number: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
