"""The process tree of `countersign run`: web pool, demo CRM and one worker for each service.

Children are forked from one parent that has imported what they need, so they share its memory and
start at once. The web pool goes first: it takes webhooks while the parent makes the others ready.
In one process tree the walls between services are code and key files only.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from importlib import import_module

from services.installation import Installation
from services.serving import (
    CrmSettings,
    PoolSettings,
    buffered,
    serve_crm,
    serve_granian,
    serve_waitress,
)
from services.supervisor import Child, Supervisor
from shared.crm.grant_settings import READ, WRITE
from shared.domain.topics import SERVICES
from shared.errors import ConfigurationError
from shared.migrations import bring_up, is_newest
from shared.processes import apart, give_way
from shared.service import Service

DATABASES = (*SERVICES, "sessions", READ, WRITE)
SHARED = ("requests", "services.demo_crm.app", "waitress.server")
"""What several of the other processes would each import for itself."""


def supervise(home: Installation) -> Supervisor:
    """The tree of this installation, not started yet. Its databases are ready.

    Raises `ConfigurationError` where a port is taken or a database is not ours.
    """
    from services.webs import WEB_SERVICES, load

    for port in (home.run.port, int(home.crm_url.rpartition(":")[2])):
        _refuse_taken_port(home.run.host if port == home.run.port else "127.0.0.1", port)
    if not all(is_newest(home.database(name), name) for name in DATABASES):
        apart(lambda: _bring_up_all(home))  # What migrating loads would be every child's.
    load(WEB_SERVICES)
    door = Child(
        name="web",
        run=lambda: serve_web(home),
        renewal=signal.SIGHUP if home.run.is_loopback else signal.SIGTERM,
    )
    return Supervisor(door=door, others=lambda: others(home), bury=lambda pid: _release(home, pid))


def others(home: Installation) -> list[Child]:
    """All but the door, in the order of who needs whom; the queues are ready.

    Raises `BrokerUnavailable`.
    """
    from services import declarations

    prepare_queues(home)
    for name in SHARED:
        import_module(name)
    return [
        Child(name="demo-crm", run=lambda: serve_demo_crm(home)),
        *(
            Child(name=f"{service.name}-worker", run=_worker(home, service))
            for service in declarations.SERVICES
        ),
    ]


def prepare_databases(home: Installation) -> None:
    """Bring every database to its newest schema and declare the queues."""
    _bring_up_all(home)
    prepare_queues(home)


def _bring_up_all(home: Installation) -> None:
    for name in DATABASES:
        bring_up(home.database(name), name)


def prepare_queues(home: Installation) -> None:
    """Declare them. Nobody of a former tree lives: whatever it held comes back now, not when
    leases end. Raises `BrokerUnavailable`.
    """
    from shared.bus.connection import connect
    from shared.bus.topology import declare

    connection = connect(home.bus_url)
    declare(connection)
    connection.release()
    _release(home, "")


def _release(home: Installation, owner: int | str) -> None:
    """The embedded broker does not see that a process is gone; any other one does."""
    from shared.bus.transports.sqlite import file_of
    from shared.bus.transports.sqlite.store import release_owner

    if (file := file_of(home.bus_url)) is not None:
        release_owner(file, owner)


def _worker(home: Installation, service: Service) -> Callable[[], None]:
    from shared.running import run_worker

    def run() -> None:
        give_way()  # A backlog can wait; whoever posts a webhook gives up after seconds.
        run_worker(service, home.environment(service.name, "worker"))

    return run


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
