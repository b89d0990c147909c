"""A RabbitMQ node that one test module has for itself, to do to it what would disturb others."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "deploy" / "dev"


@dataclass(frozen=True, kw_only=True)
class Node:
    """``environ`` is what `deploy/dev/rabbitmq.sh` knows it by."""

    url: str
    environ: dict[str, str]

    def control(self, *words: str) -> None:
        """``rabbitmqctl words…``."""
        script = f'. {DEV}/rabbitmq.sh; rabbitmq_env; "$(rabbitmq_bin)/rabbitmqctl" -q "$@"'
        _run("bash", "-euc", script, "rabbitmqctl", *words, environ=self.environ)


@contextmanager
def own_node(folder: Path) -> Iterator[Node]:
    """Started in ``folder`` and stopped. Where it is not installed the test is skipped, not in CI."""
    if not os.environ.get("CI") and not Path("/usr/lib/rabbitmq").exists():
        pytest.skip("RabbitMQ is not installed: deploy/dev/services start rabbitmq")
    port, management = _ports()
    environ = {
        **os.environ,
        "SERVICES_DIR": str(folder),
        "RABBITMQ_PORT": str(port),
        "RABBITMQ_MANAGEMENT_PORT": str(management),
    }
    _run(str(DEV / "services"), "start", "rabbitmq", environ=environ)
    try:
        yield Node(url=f"pika://guest:guest@127.0.0.1:{port}/%2F", environ=environ)
    finally:
        _run(str(DEV / "services"), "stop", "rabbitmq", environ=environ)


def _ports() -> tuple[int, int]:
    """Of AMQP and of management; the script derives two more from the first."""
    for port in random.sample(range(6000, 9000), 100):
        if all(map(_is_free, (port, port + 1, port + 20_000, port + 20_001))):
            return port, port + 1
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _run(*words: str, environ: dict[str, str]) -> None:
    # Into a file: a pipe would stay open as long as the server that inherits it.
    with (Path(environ["SERVICES_DIR"]) / "said").open("ab") as said:
        subprocess.run(words, env=environ, check=True, timeout=120, stdout=said, stderr=said)
