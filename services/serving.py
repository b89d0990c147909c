"""`countersign serve` and `countersign work`: one process of the distributed form.

Each reads its own settings from its environment and nothing else; see `services.processes`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from socket import gethostbyname
from typing import Any

from shared.patience import end_on_sigterm, migrated, patiently
from shared.processes import allow_many_connections, die_with, lasting
from shared.settings import ProcessSettings, given, load_settings, setting


@dataclass(frozen=True, kw_only=True)
class AddressSettings(ProcessSettings):
    """Where a web process listens."""

    host: str = setting("address to listen on, or its name", default="127.0.0.1")
    port: int = setting("port to listen on", default=8000)


@dataclass(frozen=True, kw_only=True)
class PoolSettings(AddressSettings):
    """A web process and how many requests it handles side by side."""

    web_workers: int = setting("web processes", default=2)
    web_threads: int = setting("threads of each web process", default=32)


@dataclass(frozen=True, kw_only=True)
class CrmSettings(AddressSettings):
    """The demo CRM: an outside system with its own database and tokens."""

    crm_file: Path = setting("database of the demo CRM")
    crm_read_token: str = setting("token that only reads", secret=True)
    crm_write_token: str = setting("token that writes", secret=True)
    crm_public_url: str = setting("address of the demo CRM for people")
    crm_webhook_url: str = setting("where it reports each change")
    crm_webhook_secret: str = setting("what it signs that with: whsec_…", secret=True)


def serve(name: str) -> None:
    """Serve the pages and hooks of one service until SIGTERM. Raises `ConfigurationError`."""
    if name == "demo-crm":
        serve_crm(load_settings(CrmSettings))
        return
    with lasting():
        from services.webs import FrameSettings, application, load

        pool, environ = load_settings(PoolSettings), given()
        load_settings(FrameSettings, environ)
        load([name])
    web = service_of(name).web
    end_on_sigterm()
    patiently(migrated(name, load_settings(web.settings, environ).database_url))
    serve_granian(pool, lambda: application({name: environ}))


def work(name: str) -> None:
    """Consume and loop for one service until SIGTERM. Raises `ConfigurationError`."""
    with lasting():
        from shared.running import run_worker

        service = service_of(name)
    settings: Any = load_settings(service.worker.settings)
    end_on_sigterm()
    patiently(migrated(name, settings.database_url))
    run_worker(service)


def service_of(name: str) -> Any:
    """The declaration of a service, imported only where it runs."""
    return import_module(f"services.{name}.service").SERVICE


def serve_granian(
    pool: PoolSettings,
    load: Callable[[], Any],
    *,
    buffering: Callable[[Any, int], Any] | None = None,
) -> None:
    """``load`` builds the application in each web process.

    granian does not buffer bodies: it stands behind a proxy that does, or gets the application
    in a `Buffering`, which ``buffering`` makes of it and of the number of threads.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    allow_many_connections()
    server = os.getpid()

    def load_in_child(*_: object) -> Any:
        # Workers that outlive their server would keep its port from the next one.
        die_with(server)
        return buffering(load(), pool.web_threads) if buffering else load()

    Server(
        "countersign",
        address=gethostbyname(pool.host),  # It takes numbers only.
        port=pool.port,
        interface=Interfaces.RSGI if buffering else Interfaces.WSGI,
        workers=pool.web_workers,
        blocking_threads=1 if buffering else pool.web_threads,
        backlog=2048,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    ).serve(target_loader=load_in_child, wrap_loader=False)


def buffered(application: Any, threads: int) -> Any:
    """The application where no proxy stands in front of it: whole requests only."""
    from services.buffering import Buffering
    from services.webs import largest_body

    largest = partial(largest_body, public_url=application.extensions["door"].public_url)
    return Buffering(application, threads, largest)


def serve_crm(settings: CrmSettings) -> None:
    """The demo CRM until SIGTERM."""
    from services.demo_crm.app import create_app

    app = create_app(
        settings.crm_file,
        read_token=settings.crm_read_token,
        write_token=settings.crm_write_token,
        public_url=settings.crm_public_url,
        webhook_url=settings.crm_webhook_url,
        webhook_secret=settings.crm_webhook_secret,
    )
    serve_waitress(app, settings.host, settings.port, threads=8)


def serve_waitress(app: Any, host: str, port: int, *, threads: int) -> None:
    """Buffers heads and bodies by itself, at half of granian's rate. Until SIGTERM.

    Who sends nothing for some seconds is closed, and a thousand of them do no harm: `select` could
    not look at more than 1,023 and would end the process.
    """
    from waitress.server import create_server

    allow_many_connections()
    server = create_server(
        app,
        host=host,
        port=port,
        threads=threads,
        connection_limit=2000,
        asyncore_use_poll=True,
        channel_timeout=7,
        cleanup_interval=2,
        ident="countersign",
    )
    # Closing it would wait for every connection that somebody keeps open.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.run()
