"""docker-compose.yml on the container engine of this machine, as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.compose import CONTAINER_PORT
from tests.journey.composed import PLACES
from tests.product import ROOT, Product

BUILD_SECONDS = 1800
HEALTHY_SECONDS = 300


@dataclass(kw_only=True)
class Containers(Product):
    """A compose project of its own; its volumes go with it."""

    project: str = "countersign-test"

    def figures(self) -> str:
        """The front door shows none: asked inside, where no token is needed."""
        url = f"http://127.0.0.1:{CONTAINER_PORT}/metrics"
        code = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        return self.compose("exec", "-T", "audit-web", "python", "-c", code).stdout

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

    def end(self) -> None:
        self.compose("down", "--volumes")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.compose("exec", "-T", PLACES[words[0]], "countersign", *words, check=False)

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
