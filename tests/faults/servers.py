"""Real servers that may be killed: instances of our own on other ports, started when asked for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.contracts.elasticsearch import SERVER
from tests.contracts.postgresql import POSTGRESQL
from tests.contracts.rabbitmq import MANAGEMENT, URL
from tests.product import ROOT, eventually

START_SECONDS = 150
PID_FILES = {
    "rabbitmq": "pid",
    "postgresql": "data/postmaster.pid",
    "elasticsearch": "data/pid",
}


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where a column finds its servers."""

    rabbitmq: str = URL
    management: str = MANAGEMENT
    postgresql: str = POSTGRESQL
    elasticsearch: str = SERVER


@dataclass(frozen=True, kw_only=True)
class Servers:
    """A RabbitMQ, a PostgreSQL and an Elasticsearch in ``folder``; nobody else uses them."""

    folder: Path
    rabbitmq_port: int
    management_port: int
    postgresql_port: int
    elasticsearch_port: int

    @property
    def addresses(self) -> Addresses:
        local = "127.0.0.1"
        return Addresses(
            rabbitmq=f"pika://guest:guest@{local}:{self.rabbitmq_port}/%2F",
            management=f"http://{local}:{self.management_port}",
            postgresql=f"postgresql+psycopg://postgres@{local}:{self.postgresql_port}/postgres",
            elasticsearch=f"http://{local}:{self.elasticsearch_port}",
        )

    def start(self, *names: str) -> None:
        """Those that do not run. A server that was killed may need a second call."""
        limit = time.monotonic() + START_SECONDS
        while (done := self._script("start", *names)).returncode:
            assert time.monotonic() < limit, done.stdout + done.stderr
            time.sleep(0.5)

    def stop(self, *names: str) -> None:
        self._script("stop", *names)

    def kill(self, name: str) -> int:
        """The server's main process, as `kill -9`; returns its id when it is gone."""
        pid = self._pid(name)
        victim = psutil.Process(pid)
        victim.send_signal(signal.SIGKILL)
        with contextlib.suppress(psutil.NoSuchProcess):
            eventually(lambda: victim.status() == psutil.STATUS_ZOMBIE, 10)
        return pid

    def kill_backend(self, pick: int) -> int:
        """One of PostgreSQL's own processes that serve a client: it then restarts by itself."""
        postmaster = psutil.Process(self._pid("postgresql"))
        backends = []
        for child in postmaster.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "127.0.0.1" in " ".join(child.cmdline()):
                    backends.append(child)
        victim = backends[pick % len(backends)]
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
        return victim.pid

    def rabbitmqctl(self, *words: str) -> str:
        """A command to the broker, in the words of `rabbitmqctl`."""
        done = subprocess.run(
            ["bash", "-c", _CONTROL, "rabbitmqctl", *words],
            cwd=ROOT,
            env=self._environ(),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def _pid(self, name: str) -> int:
        return int((self.folder / name / PID_FILES[name]).read_text().split()[0])

    def _script(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["deploy/dev/services", *words],
            cwd=ROOT,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "SERVICES_DIR": str(self.folder),
            "RABBITMQ_PORT": str(self.rabbitmq_port),
            "RABBITMQ_MANAGEMENT_PORT": str(self.management_port),
            "POSTGRESQL_PORT": str(self.postgresql_port),
            "ELASTICSEARCH_PORT": str(self.elasticsearch_port),
        }


_CONTROL = '. deploy/dev/rabbitmq.sh; rabbitmq_env; exec "$(rabbitmq_bin)/rabbitmqctl" -q "$@"'
# Two runs side by side: the second names a folder of its own and ports so many higher.
_SHIFT = int(os.environ.get("FAULTS_PORTS_SHIFT", "0"))
OWN = Servers(
    folder=Path(os.environ.get("FAULTS_SERVICES", "/tmp/faults-services")),
    rabbitmq_port=5693 + _SHIFT,
    management_port=15693 + _SHIFT,
    postgresql_port=55492 + _SHIFT,
    elasticsearch_port=59292 + _SHIFT,
)
# Those that other tests use as well: nobody kills them.
SHARED = Addresses()
