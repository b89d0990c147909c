"""Starting a declared service: its worker process, whoever started it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from typing import Any

from shared.bus.wake import notify
from shared.errors import ConfigurationError
from shared.heartbeat import Heart, forget
from shared.lease import Lease
from shared.listening import Listening
from shared.looping import Looping
from shared.service import Service
from shared.settings import load_settings
from shared.worker import Consuming

STOP_SECONDS = 30


def run_worker(service: Service, environ: Mapping[str, str] | None = None) -> None:
    """Consume and loop until SIGTERM or SIGINT, then finish what is in hand."""
    worker = service.worker
    if worker is None:
        raise ConfigurationError(f"{service.name} has no worker")
    settings: Any = load_settings(worker.settings, environ)
    deps = worker.wire(settings)
    stop = threading.Event()
    forget(settings.wake_dir, service.name)
    loops = [
        Looping(
            name=f"{service.name}.{loop.name}",
            loop=loop,
            deps=deps,
            lease=Lease(
                engine=deps.engine,
                table=service.tables.tables["leases"],
                name=loop.name,
                clock=deps.clock,
            ),
            wake_dir=settings.wake_dir,
            stop=stop,
        )
        for loop in worker.loops
    ]

    def end(*_: object) -> None:
        stop.set()
        for looping in loops:
            notify(settings.wake_dir, looping.name)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    Listening(
        engine=deps.engine,
        wake_dir=settings.wake_dir,
        loops=frozenset(looping.name for looping in loops),
        stop=stop,
    ).start()
    threads = [looping.start() for looping in loops]
    if worker.handlers:
        Consuming(
            name=service.name,
            worker=worker,
            deps=deps,
            broker_url=settings.broker_url,
            stop=stop,
            heart=Heart(settings.wake_dir, f"{service.name}.consumer"),
        ).run()
    else:
        stop.wait()
    for thread in threads:
        thread.join(STOP_SECONDS)
