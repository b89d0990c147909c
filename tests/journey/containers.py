"""docker-compose.yml on the container engine of this machine, as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.elsewhere import OPS
from services.processes import PROCESSES
from tests.compose import CONTAINER_PORT
from tests.journey.composed import PLACES
from tests.product import ROOT, Product

UID = 10001
MADE = "/secrets/made"
ONCE = ("secrets", "setup")
ENTERED = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python")
PORTS = {"nginx": 8080, "postgres": 5432, "rabbitmq": 5672, "elasticsearch": 9200}
# What follows new passwords, so that the server knows them too.
TOLD = {
    "database": [("run", "--rm", "setup")],
    "broker": [
        ("exec", "-T", "rabbitmq", "rabbitmqctl", "import_definitions",
         "/etc/rabbitmq/conf.d/definitions.json"),
    ],
    "search": [
        ("exec", "-T", "elasticsearch", "sh", "-c",
         "elasticsearch-keystore add -x -f bootstrap.password < /run/secrets/password"),
        ("restart", "elasticsearch"),
    ],
}  # fmt: skip
FIGURES = f"""
import os, urllib.request as asking
token = open(os.environ["METRICS_TOKEN_FILE"]).read().strip()
url = f"http://{{os.environ['HOST']}}:{CONTAINER_PORT}/metrics"
request = asking.Request(url, headers={{"Authorization": f"Bearer {{token}}"}})
print(asking.urlopen(request).read().decode())
"""
REACHED = """
import socket
from concurrent.futures import ThreadPoolExecutor
def reached(place):
    try:
        socket.create_connection(place[1:], timeout=2).close()
    except OSError:
        return ""
    return place[0]
places = {places}
print(*{{name for name in ThreadPoolExecutor(len(places)).map(reached, places) if name}})
"""
BUILD_SECONDS = 1800
HEALTHY_SECONDS = 300


@dataclass(kw_only=True)
class Containers(Product):
    """A compose project of its own; its volumes go with it."""

    project: str = "countersign-test"

    def figures(self) -> str:
        """The front door shows none: asked inside, with the token."""
        return self.compose("exec", "-T", "audit-web", "python", "-c", FIGURES).stdout

    def calls(self) -> set[tuple[str, str]]:
        """Who of ours can open a connection to whom: everybody was tried at every address."""
        places = [
            (name, network["IPAddress"], PORTS.get(name, CONTAINER_PORT))
            for name, one in self._inspected().items()
            for network in one["NetworkSettings"]["Networks"].values()
        ]
        return {
            (caller, name)
            for caller in (process.name for process in PROCESSES)
            if caller not in ONCE
            for name in self._python(caller, REACHED.format(places=places)).split()
            if name != caller
        }

    def _python(self, name: str, code: str) -> str:
        """What this code prints in a container of the process."""
        is_running = name != OPS
        way = ("exec", "-T", name, "python") if is_running else (*ENTERED, name)
        return self.compose(*way, "-c", code).stdout

    def _inspected(self) -> dict[str, Any]:
        names = self.compose("ps", "--quiet").stdout.split()
        found = json.loads(self.docker("inspect", *names).stdout)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def owner(self) -> str:
        """The database as its owner, where it can be reached: nowhere on this machine."""
        return self._python(OPS, "print(open('/run/secrets/database_url').read().split()[0])")

    def change_passwords(self) -> None:
        """Of all three servers, as deploy/runbooks/rotate-secrets.md says it."""
        for server, then in TOLD.items():
            self.compose("run", "--rm", "secrets", "secrets", "--rotate", server)
            for words in then:
                self.compose(*words)

    def cut_all_connections(self) -> None:
        """Everybody has to sign in anew."""
        self.compose("restart", "postgres", "rabbitmq")

    def back_up_and_lose_everything(self) -> str:
        """Back up while it works, remove all volumes, restore; what the restore said."""
        backups = self.folder / "backups"
        backups.mkdir()
        os.chown(backups, UID, UID)
        volume = ("-v", f"{backups}:/backups")
        ops = ("run", "--rm", *volume, OPS)
        self.compose("run", "--rm", "--no-deps", *volume, OPS, "backup", "/backups/all.zip")
        self.compose("cp", f"secrets:{MADE}", str(self.folder / "secrets"))
        self.compose("down", "--volumes")
        self.compose("create", "secrets")
        self.compose("cp", f"{self.folder / 'secrets'}/.", f"secrets:{MADE}")
        said = self.compose(*ops, "restore", "/backups/all.zip", seconds=HEALTHY_SECONDS)
        self.compose("up", "--detach", "--wait", seconds=HEALTHY_SECONDS)
        return said.stdout

    def start(self) -> Containers:
        self.compose("build", "--quiet", seconds=BUILD_SECONDS)
        self.compose("up", "--detach", "--wait", "--quiet-pull", seconds=HEALTHY_SECONDS)
        return self

    def stop(self) -> int:
        """0 where every process of ours ended by itself within its grace period."""
        self.compose("stop")
        names = self.compose("ps", "--all", "--quiet").stdout.split()
        states = [one["State"] for one in json.loads(self.docker("inspect", *names).stdout)]
        return sum(one["ExitCode"] == 137 or one["OOMKilled"] for one in states)

    def said(self) -> str:
        return self.compose("logs", "--tail", "20", "--no-color").stdout[-12000:]

    def end(self) -> None:
        self.compose("down", "--volumes")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        if (place := PLACES[words[0]]) == OPS:
            return self.compose("run", "--rm", "-T", "--no-deps", OPS, *words, check=False)
        return self.compose("exec", "-T", place, "countersign", *words, check=False)

    def crm_token(self, name: str) -> str:
        file = f"/run/secrets/crm_{name}_token"
        return self.compose("exec", "-T", "demo-crm", "cat", file).stdout.strip()

    def compose(
        self, *words: str, seconds: int = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.docker("compose", "-p", self.project, *words, seconds=seconds, check=check)

    def docker(
        self, *words: str, seconds: int = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *words],
            cwd=ROOT,
            env=os.environ | {"PORT": str(self.port), "CRM_PORT": str(self.crm_port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert not check or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done


@contextmanager
def containers(folder: Path) -> Iterator[Containers]:
    """Built, started and in the end removed with its volumes."""
    product = Containers(folder=folder)
    try:
        yield product.start()
    finally:
        product.end()
