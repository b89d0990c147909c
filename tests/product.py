"""The real product as its own process tree, driven from outside as a stranger would."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

ROOT = Path(__file__).parents[1]
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Product:
    """One installation in ``folder``. ``start`` and ``stop`` may be called again and again."""

    folder: Path
    port: int = field(default_factory=free_port)
    crm_port: int = field(default_factory=free_port)
    extra: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    # What runs it; a test may bring a main program of its own around the same tree.
    main: Sequence[str] = ("services", "run")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def crm_url(self) -> str:
        return f"http://127.0.0.1:{self.crm_port}"

    @property
    def figures_url(self) -> str:
        """Where `/metrics` of the log is read."""
        return self.url

    def figures(self) -> str:
        """`/metrics` of the log."""
        return requests.get(f"{self.figures_url}/metrics", timeout=10).text

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(self.folder / "data"),
            "PORT": str(self.port),
            "CRM_PORT": str(self.crm_port),
            **self.extra,
        }

    def start(self) -> Product:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            (self.folder / "out.log").open("ab") as out,
            (self.folder / "err.log").open("ab") as err,
        ):
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.main],
                cwd=ROOT,
                env=self.environ,
                stdout=out,
                stderr=err,
            )
        try:
            eventually(self._is_ready, START_SECONDS, self.said)
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        try:
            return (
                requests.get(f"{self.url}/readyz", timeout=2).ok
                and requests.get(f"{self.crm_url}/", timeout=2).ok
            )
        except requests.RequestException:
            return False

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(45)

    def said(self) -> str:
        return "\n".join(
            (self.folder / name).read_text()[-4000:] for name in ("out.log", "err.log")
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``countersign words…`` in this installation."""
        return subprocess.run(
            [sys.executable, "-m", "services", *words],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def link(self) -> str:
        """The newest one-time sign-in link of the admin."""
        said = self.command("people", "link", "admin")
        found = re.search(r"http\S+/sign-in/\S+", said.stdout)
        assert found, said
        return found.group(0)

    def children(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def client(self) -> Client:
        return Client(self)

    def home(self, **settings: Any) -> Any:
        """The `Installation`, for whoever looks into its files and databases."""
        from services.installation import Installation, RunSettings

        run = RunSettings(port=self.port, crm_port=self.crm_port, **settings)
        return Installation(root=self.folder / "data", run=run)

    def secrets(self) -> Mapping[str, str]:
        from services.wiring import demo_secrets

        return demo_secrets(self.home())

    def crm_token(self, name: str) -> str:
        return (self.folder / "data" / "keys" / f"crm-{name}.token").read_text().strip()

    def crm(self, path: str) -> Any:
        """What the demo CRM answers to whoever holds the read token."""
        headers = {"Authorization": f"Bearer {self.crm_token('read')}"}
        return requests.get(f"{self.crm_url}{path}", headers=headers, timeout=5).json()


class Client:
    """A signed-in person with an API token of their own."""

    def __init__(self, product: Product, token: str | None = None) -> None:
        self.url = product.url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token or self._token(product)}"

    def _token(self, product: Product) -> str:
        said = product.command("people", "token", "admin", "--called", "tests")
        found = re.search(r"cs_\S+", said.stdout)
        assert found, said
        return found.group(0)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.session.get(self.url + path, params=params, timeout=20)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer.json()

    def post(self, path: str, **body: Any) -> requests.Response:
        return self.session.post(self.url + path, json=body, timeout=20)


@contextmanager
def running(
    folder: Path, *, main: Sequence[str] = ("services", "run"), **extra: str
) -> Iterator[Product]:
    """``run`` is the module that starts it, with its words."""
    product = Product(folder=folder, extra=extra, main=main).start()
    try:
        yield product
    finally:
        if product.process is not None and product.process.poll() is None:
            product.stop()


def somebody_is_faster(product: Product, row: Any) -> None:
    """The first field of this card, a phone number, gets another value in the CRM by hand."""
    answer = requests.patch(
        f"{product.crm_url}/api/{row['record'].removeprefix('demo/')}",
        json={
            "fields": {row["fields"][0]["field"]: "+12025550100"},
            "change_id": f"by-hand-{row['id']}",
        },
        headers={"Authorization": f"Bearer {product.crm_token('write')}"},
        timeout=5,
    )
    assert answer.ok, answer.text


def eventually(holds: Callable[[], Any], seconds: float = 20, why: Callable[[], str] = str) -> Any:
    """What ``holds`` returns as soon as it is true."""
    limit = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < limit, why()
        time.sleep(0.05)
    return result
