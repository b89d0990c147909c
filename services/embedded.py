"""The process tree of `countersign run`: demo CRM, web pool and one worker for each service.

Children are forked from one parent that has imported everything, so they share its memory and
start at once. In one process tree the walls between services are code and key files only.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from services.audit.service import SERVICE as AUDIT
from services.classifier.service import SERVICE as CLASSIFIER
from services.ingest.service import SERVICE as INGEST
from services.installation import Installation
from services.serving import (
    CrmSettings,
    PoolSettings,
    buffered,
    serve_crm,
    serve_granian,
    serve_waitress,
)
from services.writer.service import SERVICE as WRITER
from shared.bus.connection import connect
from shared.bus.topology import declare
from shared.bus.transports.sqlite import file_of
from shared.bus.transports.sqlite.store import release_owner
from shared.crm.grant_settings import READ, WRITE
from shared.errors import ConfigurationError
from shared.migrations import bring_up
from shared.processes import die_with, show_name
from shared.running import STOP_SECONDS, run_worker
from shared.service import Service

log = structlog.get_logger()
SERVICES: tuple[Service, ...] = (INGEST, CLASSIFIER, WRITER, AUDIT)
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
STEADY_SECONDS = 30.0


@dataclass(kw_only=True)
class Child:
    """One process of the tree: forked, watched and started again when it dies."""

    name: str
    run: Callable[[], None]
    pid: int = 0
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


@dataclass(kw_only=True)
class Supervisor:
    """Starts the children, replaces dead ones, and stops all of them on SIGTERM."""

    home: Installation
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    renewing: bool = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when every child has ended."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGUSR1, self._renew)
        gc.freeze()
        for child in self.children:
            self._start(child)
        while not self.stopping:
            self._replace_dead()
            if self.renewing:
                self._renew_all()
            time.sleep(0.1)
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
            if child.name == "web" and self.home.run.is_loopback:
                _signal(child.pid, signal.SIGHUP)
                continue
            old = child.pid
            _signal(old, signal.SIGTERM)
            while child.pid in {0, old} and not self.stopping:
                self._replace_dead()
                time.sleep(0.05)

    def _start(self, child: Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        child.started = time.monotonic()
        parent = os.getpid()
        child.pid = os.fork()
        if child.pid == 0:
            _become(child, parent)

    def _replace_dead(self) -> None:
        for child in self.children:
            if child.pid and _has_ended(child.pid):
                log.warning("process ended", process=child.name, pid=child.pid)
                _release(self.home, child.pid)
                is_steady = time.monotonic() - child.started > STEADY_SECONDS
                child.pause = FIRST_PAUSE if is_steady else min(child.pause * 2, LONGEST_PAUSE)
                child.due, child.pid = time.monotonic() + child.pause, 0
            elif not child.pid and time.monotonic() >= child.due:
                self._start(child)

    def _stop_all(self) -> None:
        """Intake first, then the workers; whoever hangs is killed."""
        for child in self.children:
            _signal(child.pid, signal.SIGTERM)
        limit = time.monotonic() + STOP_SECONDS + 5
        while any(child.pid and not _has_ended(child.pid) for child in self.children):
            if time.monotonic() > limit:
                for child in self.children:
                    _signal(child.pid, signal.SIGKILL)
            time.sleep(0.05)


def supervise(home: Installation) -> Supervisor:
    """The tree of this installation, not started yet. Databases and queues are ready.

    Raises `ConfigurationError` where a port is taken or a database is not ours.
    """
    for port in (home.run.port, int(home.crm_url.rpartition(":")[2])):
        _refuse_taken_port(home.run.host if port == home.run.port else "127.0.0.1", port)
    prepare_databases(home)
    children = [
        Child(name="web", run=lambda: serve_web(home)),
        *(Child(name=f"{service.name}-worker", run=_worker(home, service)) for service in SERVICES),
        Child(name="demo-crm", run=lambda: serve_demo_crm(home)),
    ]
    return Supervisor(home=home, children=children)


def prepare_databases(home: Installation) -> None:
    """Bring every database to its newest schema and declare the queues."""
    for name in (*(service.name for service in SERVICES), "sessions", READ, WRITE):
        bring_up(home.database(name), name)
    connection = connect(home.bus_url)
    declare(connection)
    connection.release()
    # Nobody of a former tree lives: whatever it held comes back now, not when leases end.
    _release(home, "")


def _release(home: Installation, owner: int | str) -> None:
    """The embedded broker does not see that a process is gone; any other one does."""
    if (file := file_of(home.bus_url)) is not None:
        release_owner(file, owner)


def _worker(home: Installation, service: Service) -> Callable[[], None]:
    return lambda: run_worker(service, home.environment(service.name, "worker"))


def serve_web(home: Installation) -> None:
    """One pool for hooks and pages.

    On loopback granian, with `Buffering` in front of the application; on any other address
    waitress, which buffers heads and bodies by itself and sheds idle connections.
    """
    from services.wiring import web_application

    if home.run.is_loopback:
        pool = PoolSettings(
            host=home.run.host,
            port=home.run.port,
            web_workers=home.run.web_workers,
            web_threads=home.run.web_threads,
        )
        serve_granian(pool, lambda: web_application(home), buffering=buffered)
    else:
        serve_waitress(web_application(home), home.run.host, home.run.port, threads=64)


def serve_demo_crm(home: Installation) -> None:
    """The outside system: its own port, its own database, its own tokens."""
    serve_crm(
        CrmSettings(
            host="127.0.0.1",
            port=int(home.crm_url.rpartition(":")[2]),
            crm_file=home.root / "crm.db",
            crm_read_token=home.token("crm-read"),
            crm_write_token=home.token("crm-write"),
            crm_public_url=home.crm_url,
            crm_webhook_url=f"http://127.0.0.1:{home.run.port}/hooks/demo-crm",
            crm_webhook_secret=home.crm_webhook_secret,
        )
    )


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


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}): "
                "stop what listens there, or choose another with PORT=… (the demo CRM: CRM_PORT=…)"
            ) from error


def environments(home: Installation) -> Mapping[str, Mapping[str, str]]:
    """What each part of the tree gets, by ``service.role``: for the credentials test."""
    return {
        f"{service.name}.{role}": home.environment(service.name, role)
        for service in SERVICES
        for role in ("web", "worker")
        if getattr(service, role) is not None
    }
