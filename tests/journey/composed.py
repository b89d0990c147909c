"""docker-compose.yml without a container engine: each command of it as a plain process.

Hosts, ports and paths are translated by one table, everything else is taken as it stands: the
commands, their environment, the secrets they mount, and the shipped configuration of nginx. The
servers are real ones of this run alone, with the users and passwords that `secrets` makes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import psutil
import requests
from sqlalchemy import create_engine

from tests.compose import CONTAINER_PORT, Compose, copied
from tests.contracts.elasticsearch import search_url
from tests.journey.servers import Servers
from tests.product import ROOT, Product, eventually, free_port

WEBS = ("ingest-web", "writer-web", "audit-web", "demo-crm")
WORKERS = ("ingest-worker", "classifier-worker", "writer-worker", "audit-worker")
# Where a person runs each command: docker compose exec <process> countersign <command>.
PLACES = {
    "demo": "ingest-web",
    "people": "writer-web",
    "sign-out-everyone": "writer-web",
    "erase": "audit-worker",
    "notices": "writer-worker",
    "verify": "audit-worker",
    "resume": "writer-web",
    "backup": "ops",
    "migrate": "ops",
    "reload": "writer-web",
    "keys": "audit-worker",
}


@dataclass(kw_only=True)
class Composed(Product):
    """All processes of docker-compose.yml, started before their servers are there."""

    compose: Compose = field(default_factory=Compose)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in WEBS})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: Servers | None = None
    search: str

    @cached_property
    def image(self) -> Path:
        """The folder that the image has as /app: what the Dockerfile copies, and nothing else."""
        app = self.folder / "app"
        for source, target in copied():
            place = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            (app / target).parent.mkdir(parents=True, exist_ok=True)
            place(ROOT / source, app / target)
        return app

    @property
    def figures_url(self) -> str:
        """The front door shows no figures: whoever collects them asks each process."""
        return f"http://127.0.0.1:{self.ports['audit-web']}"

    def start(self) -> Composed:
        """Secrets first, then every process at once, and the servers only when all are waiting."""
        if self.servers is None:
            self.servers = Servers(folder=self.folder / "servers", secrets=self._host("/secrets"))
        assert self.run("secrets", "secrets").returncode == 0, self.said()
        self._begin("setup", ["setup"])
        for name in (*WEBS, *WORKERS):
            self._begin(name, self.compose.services[name]["command"])
        self._begin_nginx()
        if not self.servers.are_up:
            eventually(self._all_wait, 60, self.said)
            self.servers.start()
        eventually(lambda: self.running["setup"].poll() is not None, 120, self.said)
        assert self.running.pop("setup").returncode == 0, self.said()
        for name in (*WORKERS, *WEBS):
            eventually(partial(self._is_healthy, name), 90, self.said)
        eventually(self._is_open, 30, self.said)
        return self

    def _all_wait(self) -> bool:
        waiting = [name for name in self.running if name not in {"nginx", "demo-crm"}]
        assert all(one.poll() is None for one in self.running.values()), self.said()
        return all("waiting" in self._said_by(name) for name in waiting)

    def _is_healthy(self, name: str) -> bool:
        """As the health check of the compose file asks it."""
        assert self.running[name].poll() is None, f"{name} ended\n{self._said_by(name)}"
        _, python, *words = self.compose.services[name]["healthcheck"]["test"]
        assert python == "python"
        return self._done(name, words).returncode == 0

    def _is_open(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def stop(self) -> int:
        """SIGTERM to all; 0 where every process of ours ended with 0."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(45) for name, process in self.running.items()}
        self.running.clear()
        assert set(codes.values()) <= {0}, codes
        return 0

    def end(self) -> None:
        """Stop what still runs, the servers last."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        if self.servers is not None:
            self.servers.stop()

    def change_passwords(self) -> None:
        """Of database and broker, as deploy/runbooks/rotate-secrets.md says it."""
        assert self.servers is not None
        for words in (["secrets", "--rotate", "database"], ["setup"]):
            assert self.run(words[0], *words).returncode == 0, self.said()
        assert self.run("secrets", "secrets", "--rotate", "broker").returncode == 0, self.said()
        definitions = self.servers.secrets / "rabbitmq" / "definitions.json"
        self.servers.control("import_definitions", str(definitions))

    def cut_all_connections(self) -> None:
        """Everybody has to sign in anew."""
        assert self.servers is not None
        self.servers.control("close_all_connections", "--global", "to see who comes back")
        everybody = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IS NOT NULL"
        )
        engine = create_engine(self.owner())
        with engine.connect() as db:
            db.exec_driver_sql(f"{everybody} AND pid <> pg_backend_pid()")
        engine.dispose()

    def owner(self) -> str:
        """The database as its owner."""
        return (self.folder / "secrets" / "setup" / "database_url").read_text().split()[0]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(PLACES[words[0]], *words)

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """``docker compose exec <name> countersign <words…>``."""
        done = self._done(name, ["-m", "services", *words])
        if done.returncode:
            with (self.folder / f"{name}.log").open("a") as log:
                log.write(done.stdout + done.stderr)
        return done

    def _done(self, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.image,
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def environment(self, name: str) -> dict[str, str]:
        """The environment of one service in the compose file, with this machine's addresses."""
        given = self.compose.environment(name)
        if name in self.ports:
            given |= {"HOST": "127.0.0.1", "PORT": str(self.ports[name])}
        translated = {key: self._translated(name, value) for key, value in given.items()}
        if name == "secrets":
            assert self.servers is not None
            translated |= {**self.servers.addresses, "SEARCH_HOST": self.search}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.image), **translated}

    def _translated(self, name: str, value: str) -> str:
        for host, port in {**self.ports, "nginx": self.port}.items():
            value = re.sub(rf"//{host}:\d+", f"//127.0.0.1:{port}", value)
        value = value.replace("//127.0.0.1:8080", f"//127.0.0.1:{self.port}")
        value = value.replace("//127.0.0.1:8081", f"//127.0.0.1:{self.crm_port}")
        if not value.startswith("/"):
            return value
        if value == "/secrets":
            return str(self._host(value))
        for target, source in sorted(self.compose.mounts(name).items(), reverse=True):
            if value == target or value.startswith(f"{target}/"):
                return f"{self._volume(source)}{value[len(target) :]}"
        return f"{self._host(f'/{name}')}{value}"

    def _volume(self, name: str) -> Path:
        """A named volume as a folder, a file of the repository as itself."""
        if name.startswith("./"):
            return ROOT / name
        secret = name.removesuffix("-secrets")
        return self._host(f"/secrets/{secret}" if secret != name else f"/volumes/{name}")

    def _host(self, path: str) -> Path:
        place = self.folder / path[1:]
        (place if "secrets" in path or "volumes" in path else place / "tmp").mkdir(
            parents=True, exist_ok=True
        )
        return place

    def _begin(self, name: str, words: list[str]) -> None:
        self._spawn(name, [sys.executable, "-m", "services", *words], self.environment(name))

    def _spawn(self, name: str, command: list[str], environ: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=self.image, env=dict(environ), stdout=log, stderr=subprocess.STDOUT
            )

    def _begin_nginx(self) -> None:
        folder = self._host("/nginx")
        listening = {8080: self.port, 8081: self.crm_port}
        conf = nginx_conf(folder / "tmp", self.ports, listening)
        (folder / "nginx.conf").write_text(conf)
        self._spawn("nginx", nginx_command(folder), {"PATH": os.environ["PATH"]})

    def _said_by(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-6000:]

    def said(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def crm_token(self, name: str) -> str:
        return (self.folder / "secrets" / "demo-crm" / f"crm_{name}_token").read_text().strip()

    def children(self) -> list[psutil.Process]:
        return [psutil.Process(one.pid) for one in self.running.values()]


def nginx_conf(temporary: Path, ports: Mapping[str, int], listening: Mapping[int, int]) -> str:
    """The shipped configuration with the ports of this run; names are not asked for."""
    conf = listening_conf(temporary, listening)
    for name, port in ports.items():
        conf, found = re.subn(rf" {name};", f" 127.0.0.1:{port};", conf)
        assert found == 1, name
    return re.sub(rf"(http://\$[a-z]+):{CONTAINER_PORT};", r"\1;", conf)


def listening_conf(temporary: Path, listening: Mapping[int, int]) -> str:
    """The shipped configuration, listening on other ports."""
    conf = (ROOT / "deploy/nginx/nginx.conf").read_text()
    for inside, outside in listening.items():
        conf, found = re.subn(rf"listen {inside};", f"listen 127.0.0.1:{outside};", conf)
        assert found == 1, inside
    return re.sub(r"/tmp/", f"{temporary}/", conf)


def nginx_command(folder: Path) -> list[str]:
    """In its container it is an ordinary user; root of a test must stay what it is."""
    user = "user root; " if os.geteuid() == 0 else ""
    conf = str(folder / "nginx.conf")
    return [nginx(), "-e", "stderr", "-p", str(folder), "-c", conf, "-g", f"{user}daemon off;"]


def nginx() -> str:
    """In CI a machine without nginx fails; elsewhere the tests say so and rest."""
    import pytest

    if found := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        return found
    (pytest.fail if os.environ.get("CI") else pytest.skip)("no nginx: .ci/run installs it")
    raise AssertionError


@contextmanager
def composed(folder: Path) -> Iterator[Composed]:
    with search_url() as url:
        product = Composed(folder=folder, search=url.partition("//")[2])
        try:
            yield product.start()
        finally:
            product.end()
